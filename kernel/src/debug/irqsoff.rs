//! The command `irqsoff`.

use core::panic::Location;

use arrayvec::ArrayVec;
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use super::Kernel;
use crate::cpu::irqsoff::IS_BUILT_IN;
use crate::cpu::{area, clock};

/// Lines that the command prints.
const SHOWN: usize = 20;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "irqsoff",
    usage: "[reset]",
    summary: "the longest stretches with interrupts off, by place",
    help: "Each line: the longest stretch in ns, how many there were, the CPU of the longest, and the line that turned\n\
           interrupts off (of a lock: that takes it). 'reset' begins anew. Takes a kernel built with --irqsoff.",
    complete: Complete::Words(&["reset"]),
    run,
}];

/// The stretches of one place on all CPUs.
struct Row {
    line: &'static Location<'static>,
    longest: u64,
    times: u64,
    cpu: usize,
}

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let reset = arguments.optional(|words| words.one_of("action", &["reset"]))?.is_some();
    arguments.end()?;
    if !IS_BUILT_IN {
        return Err(CommandError::failed("this kernel traces nothing: build it with --irqsoff"));
    }
    if reset {
        area::all().for_each(|area| area.irqs_off.reset());
        return Ok(());
    }
    let mut rows = ArrayVec::<Row, 128>::new();
    let mut unplaced = 0;
    for area in area::all() {
        unplaced += area.irqs_off.unplaced();
        for place in area.irqs_off.places() {
            let Some(line) = place.line() else { continue };
            let (longest, times) = (place.longest(), place.times());
            let row = Row { line, longest, times, cpu: area.id().index() };
            // The same line can be several constants, one for each unit of code.
            match rows.iter_mut().find(|known| known.line == line) {
                Some(known) if known.longest >= longest => known.times += times,
                Some(known) => *known = Row { times: known.times + times, ..row },
                None if times > 0 => {
                    unplaced += rows.try_push(row).err().map_or(0, |full| full.element().times)
                }
                None => {}
            }
        }
    }
    rows.sort_unstable_by_key(|row| core::cmp::Reverse(row.longest));
    writeln!(out, "  longest ns      times  CPU  place");
    for row in rows.iter().take(SHOWN) {
        let ns = clock::ticks_to_ns(row.longest);
        writeln!(out, "{ns:>12} {:>10} {:>4}  {}:{}", row.times, row.cpu, row.line.file(), row.line.line());
    }
    if unplaced > 0 {
        writeln!(out, "({unplaced} stretches of more places than there is room for)");
    }
    Ok(())
}
