//! `dmesg`: the log.

use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use super::Kernel;
use crate::platform::logging;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "dmesg",
    usage: "[-x]",
    summary: "the kernel's log",
    help: "With -x, each line also says CPU, level and where it comes from.",
    complete: Complete::Words(&["-x"]),
    run: dmesg,
}];

fn dmesg(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let detailed = arguments.optional(|words| words.one_of("option", &["-x"]))?.is_some();
    arguments.end()?;
    for record in logging::records() {
        if out.interrupted() {
            return Err(CommandError::Interrupted);
        }
        if detailed { writeln!(out, "{record:#}") } else { writeln!(out, "{record}") }
    }
    match logging::lost() {
        0 => {}
        lost => writeln!(out, "({lost} older records were overwritten)"),
    }
    Ok(())
}
