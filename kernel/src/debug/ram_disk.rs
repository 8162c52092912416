//! `ls`: the files of the initial RAM disk.

use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use super::Kernel;
use crate::platform::ram_disk::{self, File};

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "ls",
    usage: "[NAME]",
    summary: "files of the initial RAM disk",
    help: "Their sizes in bytes, and their names. 'insmod' loads those that are modules.",
    complete: Complete::With(|_, arguments, names| {
        if arguments.is_empty() {
            names.offer_all(ram_disk::files().map(|file| file.name));
        }
    }),
    run: ls,
}];

fn ls(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let name = arguments.optional(|words| words.word("NAME"))?;
    arguments.end()?;
    ram_disk::check().map_err(CommandError::failed)?;
    let show = |out: &mut dyn Output, file: File| writeln!(out, "{:>9} {}", file.bytes.len(), file.name);
    match name {
        None => ram_disk::files().for_each(|file| show(out, file)),
        Some(name) => match ram_disk::file(name) {
            Some(file) => show(out, file),
            None => return Err(CommandError::failed(format_args!("the RAM disk has no file '{name}'"))),
        },
    }
    Ok(())
}
