//! The command `bpf`.

use core::fmt;

use rhumb_bpf::show::Shown;
use rhumb_machine::Counted;
use rhumb_monitor::{
    Arguments, Candidates, Column, Command, CommandError, Complete, Human, Output, Table, write_lines,
};

use super::Kernel;
use crate::bpf::{self, BpfError, KernelNames, Loaded};
use crate::cpu::trace::Event;
use crate::platform::ram_disk;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "bpf",
    usage: "load NAME [HEX]|attach NAME [EVENT]|detach NAME [EVENT]|unload NAME|maps [NAME]|list|events",
    summary: "programs that count at the kernel's events",
    help: "load NAME [HEX]      loads and verifies NAME.bpf of the RAM disk, or raw instructions in HEX.\n\
           attach NAME [EVENT]  has its programs run, each at the event that its section names; with EVENT\n\
           \x20                    the one that is for it.\n\
           detach NAME [EVENT]  ends that; it waits until no CPU runs the program.\n\
           unload NAME          frees the object, with its maps. It must be detached.\n\
           maps [NAME]          shows what has been counted.\n\
           list, events         the programs, how often they ran, and where; the events that there are.\n\
           What splits the direct map? bpf load splits; bpf attach splits; ...; bpf maps. docs/bpf.md says\n\
           how to write a program.",
    complete: Complete::With(complete),
    run,
}];

/// The end of the names of programs' files.
const SUFFIX: &str = ".bpf";
const ACTIONS: &[&str] = &["load", "attach", "detach", "list", "maps", "unload", "events"];

fn complete(_: &Kernel, mut before: Arguments<'_>, candidates: &mut Candidates<'_>) {
    let (action, name) = (before.word("action"), before.word("name"));
    match (action, name) {
        (Err(_), _) => ACTIONS.iter().for_each(|action| candidates.offer(action)),
        (Ok("load"), Err(_)) => ram_disk::files().for_each(|file| {
            if let Some(name) = file.name.strip_suffix(SUFFIX) {
                candidates.offer(name);
            }
        }),
        (Ok("attach" | "detach"), Ok(_)) if before.is_empty() => {
            Event::NAMES.iter().for_each(|name| candidates.offer(name));
        }
        (Ok("attach" | "detach" | "maps" | "unload"), Err(_)) => {
            bpf::for_each(|loaded| candidates.offer(loaded.object().name().as_str()));
        }
        _ => {}
    }
}

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    match arguments.one_of("action", ACTIONS)? {
        "load" => load(arguments, out),
        "attach" => attach(arguments, out),
        "detach" => detach(arguments, out),
        "maps" => maps(arguments, out),
        "unload" => {
            let name = arguments.word("name")?;
            arguments.end()?;
            bpf::unload(name).map_err(|error| failed(name, error))
        }
        "events" => {
            arguments.end()?;
            Event::NAMES.iter().for_each(|name| writeln!(out, "{name}"));
            Ok(())
        }
        _ => list(arguments, out),
    }
}

fn failed(name: &str, error: BpfError) -> CommandError {
    match error {
        // It names the program or the map itself, and is long.
        BpfError::Load(error) => CommandError::failed(error),
        error => CommandError::failed(format_args!("{name}: {error}")),
    }
}

fn load(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let mut name = arguments.word("name")?;
    let digits = arguments.optional(|words| words.word("instructions"))?;
    arguments.end()?;
    match digits {
        None => {
            name = name.strip_suffix(SUFFIX).unwrap_or(name);
            ram_disk::check().map_err(CommandError::failed)?;
            let file = ram_disk::files().find(|file| file.name.strip_suffix(SUFFIX) == Some(name));
            let file = file.ok_or_else(|| {
                CommandError::failed(format_args!("the RAM disk has no file '{name}{SUFFIX}'"))
            })?;
            bpf::load(name, file.bytes)
        }
        Some(digits) => {
            let mut bytes = arrayvec::ArrayVec::<u8, 256>::new();
            for pair in digits.as_bytes().chunks(2) {
                let byte = core::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
                let byte = byte.filter(|_| pair.len() == 2);
                let byte =
                    byte.ok_or_else(|| CommandError::failed("instructions are pairs of hexadecimal digits"))?;
                bytes
                    .try_push(byte)
                    .map_err(|_| CommandError::failed("at most 32 instructions can be typed"))?;
            }
            bpf::load(name, &bytes)
        }
    }
    .map_err(|error| failed(name, error))?;
    bpf::with(name, |loaded| {
        let object = loaded.object();
        writeln!(
            out,
            "{name}: {} verified, {} in {}",
            Counted(object.programs().len(), "program"),
            Human(object.bytes() as u64),
            Counted(object.maps().len(), "map")
        );
    })
    .map_err(|error| failed(name, error))
}

fn event(arguments: &mut Arguments<'_>) -> Result<Option<Event>, CommandError> {
    let name = arguments.optional(|words| words.one_of("event", &Event::NAMES))?;
    Ok(name.and_then(Event::named))
}

fn attach(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let name = arguments.word("name")?;
    let event = event(&mut arguments)?;
    arguments.end()?;
    let count = bpf::attach(name, event).map_err(|error| failed(name, error))?;
    writeln!(out, "{name}: {} attached", Counted(count, "program"));
    Ok(())
}

fn detach(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let name = arguments.word("name")?;
    let event = event(&mut arguments)?;
    arguments.end()?;
    let count = bpf::detach(name, event).map_err(|error| failed(name, error))?;
    writeln!(out, "{name}: {} detached", Counted(count, "program"));
    Ok(())
}

fn list(arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    // Names have up to 31 characters, and most have few.
    let (mut object_width, mut program_width) = (0, 0);
    bpf::for_each(|loaded| {
        let object = loaded.object();
        object_width = object_width.max(object.name().as_str().len());
        for program in object.programs() {
            program_width = program_width.max(program.name().as_str().len());
        }
    });
    let columns = [
        Column::left("object", object_width),
        Column::left("program", program_width),
        Column::right("instructions", 0),
        Column::right("runs", 10),
        Column::left("attached to", 0),
    ];
    let mut faults = 0;
    let mut table = Table::new(out, &columns);
    bpf::for_each(|loaded| {
        faults += loaded.faults();
        let object = loaded.object();
        for (index, program) in object.programs().iter().enumerate() {
            let events = Events(loaded, index);
            let runs = loaded.runs_of(index);
            table.row(&[object.name(), program.name(), &program.instructions(), &runs, &events]);
        }
    });
    writeln!(out, "{} missed, {} at run time", Counted(bpf::missed(), "event"), Counted(faults, "fault"));
    Ok(())
}

/// The events that a program is attached to.
struct Events<'a>(&'a Loaded, usize);

impl fmt::Display for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for event in bpf::attachments(self.0, self.1) {
            write!(f, "{separator}{}", event.name())?;
            separator = ", ";
        }
        f.write_str(if separator.is_empty() { "-" } else { "" })
    }
}

fn maps(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let name = arguments.optional(|words| words.word("name"))?;
    arguments.end()?;
    let mut show = |loaded: &Loaded| {
        let mut maps = loaded.object().maps().iter();
        maps.try_for_each(|map| write_lines(out, Shown { map, names: &KernelNames }))
    };
    match name {
        Some(name) => bpf::with(name, show).map_err(|error| failed(name, error))?,
        None => {
            let mut shown = Ok(());
            bpf::for_each(|loaded| shown = shown.and_then(|()| show(loaded)));
            shown
        }
    }
}
