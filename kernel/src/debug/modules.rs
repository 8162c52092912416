//! `modules`, `insmod`, `rmmod`: loadable modules.

use rhumb_modules::Part;
use rhumb_monitor::{Arguments, Candidates, Command, CommandError, Complete, Output};

use super::Kernel;
use crate::mm::owners::{self, Name};
use crate::modules::{self, ENDING, ModuleError};
use crate::platform::ram_disk;

pub const COMMANDS: &[Command<Kernel>] = &[
    Command {
        name: "modules",
        usage: "",
        summary: "loaded modules",
        help: "Bytes of code, of read-only data and of data; running commands and holds of the module, which keep it from\n\
               being unloaded; and on whose behalf it was loaded.",
        complete: Complete::Nothing,
        run: modules,
    },
    Command {
        name: "insmod",
        usage: "NAME",
        summary: "load a module from the RAM disk",
        help: "'ls' lists the RAM disk's files; those that end in .ko are modules.",
        complete: Complete::With(offer_files),
        run: insmod,
    },
    Command {
        name: "rmmod",
        usage: "NAME",
        summary: "unload a module",
        help: "A module that is in use stays: the command fails and does not wait.",
        complete: Complete::With(|_, arguments, names| {
            if arguments.is_empty() {
                modules::list().iter().for_each(|module| names.offer(&module.name));
            }
        }),
        run: rmmod,
    },
];

fn offer_files(_: &Kernel, arguments: Arguments<'_>, names: &mut Candidates<'_>) {
    if arguments.is_empty() {
        names.offer_all(ram_disk::files().filter_map(|file| file.name.strip_suffix(ENDING)));
    }
}

fn modules(_: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    writeln!(out, "{:<16} {:>8} {:>9} {:>8} {:>6}  owner", "module", "code", "read-only", "data", "users");
    for module in modules::list() {
        let [code, read_only, data] = Part::ALL.map(|part| module.bytes[part.index()]);
        let owner = Name(module.owner.in_frames());
        writeln!(
            out,
            "{:<16} {code:>8} {read_only:>9} {data:>8} {:>6}  {owner}",
            module.name,
            module.users.saturating_add(module.holds)
        );
    }
    Ok(())
}

fn insmod(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let name = arguments.word("NAME")?;
    arguments.end()?;
    modules::load(name, owners::MONITOR, out).map_err(|error| failed(name, error))
}

fn rmmod(_: &mut Kernel, mut arguments: Arguments<'_>, _: &mut dyn Output) -> Result<(), CommandError> {
    let name = arguments.word("NAME")?;
    arguments.end()?;
    modules::unload(name).map_err(|error| failed(name, error))
}

/// Names the module in an error: one line of the prompt may be about several modules.
fn failed(name: &str, error: ModuleError) -> CommandError {
    CommandError::failed(format_args!("{}: {error}", name.strip_suffix(ENDING).unwrap_or(name)))
}
