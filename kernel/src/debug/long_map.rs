//! `longmap`: pages past the direct map's end that are mapped for long, and mappings made by hand.

use arrayvec::ArrayVec;
use rhumb_frames::Request;
use rhumb_machine::{Counted, Machine, impossible};
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use super::Kernel;
use super::frames::allocator;
use crate::cpu::clock;
use crate::cpu::lock::IrqMutex;
use crate::cpu::machine::MACHINE;
use crate::mm::long_map::{self, KernelLongMap, Mapping};
use crate::mm::owners::{self, Name};

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "longmap",
    usage: "[map N|unmap]",
    summary: "pages past the direct map's end that are mapped for long",
    help: "Counts, what each owner holds, and each mapping: its frame, its owner, how long it has lasted, the CPU, and the\n\
           place in the source. 'longmap map N' maps N pages by hand, 256 at most; 'longmap unmap' ends these.",
    complete: Complete::Words(&["map", "unmap"]),
    run,
}];

/// Mappings that a person can hold.
const MOST: usize = 256;

/// The mappings that were made by hand.
static HELD: IrqMutex<ArrayVec<Mapping, MOST>> = IrqMutex::new(ArrayVec::new_const());

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let map = long_map::long_map().ok_or_else(|| CommandError::failed("there are no long mappings"))?;
    match arguments.optional(|words| words.one_of("what", &["map", "unmap"]))? {
        Some("map") => {
            let count = arguments.number_to("pages", MOST as u64)?;
            arguments.end()?;
            add_all(count as usize)?;
        }
        Some(_) => {
            arguments.end()?;
            end_all_but(0);
        }
        None => arguments.end()?,
    }
    show(map, out)
}

/// Maps `count` pages, or none.
fn add_all(count: usize) -> Result<(), CommandError> {
    let held = HELD.lock().len();
    if count > MOST - held {
        return Err(CommandError::failed(format_args!(
            "at most {MOST} pages can be mapped by hand, and {held} are already"
        )));
    }
    (0..count).try_for_each(|_| add()).inspect_err(|_| end_all_but(held))
}

/// Ends the mappings made by hand, except the first `kept`.
fn end_all_but(kept: usize) {
    // The lock is released before the mapping ends.
    while let Some(mapping) = {
        let mut held = HELD.lock();
        if held.len() > kept { held.pop() } else { None }
    } {
        drop(mapping);
    }
}

fn add() -> Result<(), CommandError> {
    let frames = allocator()?;
    let guard = MACHINE.pin();
    let frame = frames.alloc_anywhere(guard.pinned(), Request::FRAME).map_err(CommandError::failed)?;
    match long_map::map(frame, owners::MONITOR) {
        Ok(mapping) => {
            let pushed = HELD.lock().try_push(mapping);
            if pushed.is_err() {
                impossible!("there was room, and one person types at a time");
            }
            Ok(())
        }
        Err(refused) => {
            frames.free(guard.pinned(), refused.frame);
            Err(CommandError::failed(refused.error))
        }
    }
}

fn show(map: &KernelLongMap, out: &mut dyn Output) -> Result<(), CommandError> {
    let counters = map.counters();
    writeln!(
        out,
        "long mappings: {} of {} held, {} at most; {} made, {}, {} refused",
        counters.held,
        Counted(counters.slots as u64, "slot"),
        counters.most_held,
        counters.mapped,
        Counted(counters.flushes, "flush"),
        counters.refused
    );
    if counters.slots == 0 {
        let held = HELD.lock().len();
        writeln!(out, "  the direct map shows all RAM, so mappings need no slots; {held} by hand");
    }
    for owner in owners::all() {
        let held = map.held_by(owner.in_frames());
        if held > 0 {
            writeln!(out, "  {}: {}", owner.name(), Counted(held as u64, "page"));
        }
    }
    let now_ns = clock::now_ns();
    for holding in map.holdings() {
        if out.interrupted() {
            return Err(CommandError::Interrupted);
        }
        let record = holding.record;
        writeln!(
            out,
            "  slot {:>3}: frame {} by {}, for {} ms, on CPU {}, {}",
            holding.slot,
            record.pfn,
            Name(record.owner),
            now_ns.saturating_sub(record.since_ns) / 1_000_000,
            record.cpu,
            record.place
        );
    }
    map.validate().map_err(CommandError::failed)
}
