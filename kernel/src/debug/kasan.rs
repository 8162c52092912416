//! The command `kasan`.

use rhumb_monitor::{Arguments, Command, CommandError, Complete, Human, Output};

use super::Kernel;
use crate::cpu::kasan::watched;
use crate::mm::place::place_of;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "kasan",
    usage: "",
    summary: "what the checker of memory accesses watches",
    help: "",
    complete: Complete::Nothing,
    run,
}];

fn run(_: &mut Kernel, arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    for range in watched() {
        writeln!(out, "{range} {:>10}  {}", Human(range.bytes()), place_of(range.start()).name());
    }
    if watched().is_empty() { Err(CommandError::failed("nothing is watched")) } else { Ok(()) }
}
