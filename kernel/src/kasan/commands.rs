//! The command `kasan`.

use rhumb_monitor::{Arguments, Command, CommandError, Complete, Human, Output};

use super::{faults, watched};
use crate::mm::layout;
use crate::monitor::Kernel;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "kasan",
    usage: "[frame-read|frame-write|frame-copy|global|stack|scope]",
    summary: "what the checker of memory accesses watches; a forbidden access, to see its report",
    help: "frame-read   reads a frame that has been given back\n\
           frame-write  writes to one\n\
           frame-copy   copies from one\n\
           global       reads the byte behind a global\n\
           stack        reads the byte behind an array on the stack\n\
           scope        reads a variable that has gone out of scope",
    complete: Complete::Words(&faults::NAMES),
    run,
}];

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let Some(kind) = arguments.optional(|words| words.one_of("kind", &faults::NAMES))? else {
        for range in watched() {
            writeln!(out, "{range} {:>10}  {}", Human(range.bytes()), layout::place_of(range.start()).name());
        }
        return if watched().is_empty() { Err(CommandError::failed("nothing is watched")) } else { Ok(()) };
    };
    arguments.end()?;
    faults::FAULTS.iter().filter(|fault| fault.name == kind).for_each(|fault| (fault.commit)());
    Err(CommandError::failed(format_args!("the checker let '{kind}' pass")))
}
