//! Stress tests: all CPUs at once, for as long as asked, each step checked.
//!
//! | module | what is under stress |
//! |---|---|
//! | [`frames`] | the frame allocator |
//! | [`movable`] | movable blocks, which are read while compaction moves them |
//! | [`objects`] | object caches |
//! | [`direct_map`] | changes of the direct map |
//! | [`long_map`] | long mappings of pages past the map's end |
//! | [`pageable`] | pageable memory, more than there is memory |
//! | [`threads`] | threads, their waits, mutexes and ends |
//! | [`unmapped`] | the pool of frames out of the map, and windows |

mod direct_map;
mod frames;
mod long_map;
mod movable;
mod objects;
mod pageable;
mod threads;
mod unmapped;

use rhumb_frames::Frames;
use rhumb_machine::Machine;
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::work;
use crate::debug::Kernel;
use crate::debug::directmap::pool;
use crate::debug::frames::allocator;
use crate::debug::objects::{self as object_commands, reclaim_everywhere};
use crate::mm;

const WHAT: &[&str] = &["frames", "movable", "slabs", "directmap", "pool", "longmap", "pageable", "threads"];

pub const COMMAND: Command<Kernel> = Command {
    name: "stress",
    usage: "frames|movable|slabs|directmap|pool|longmap|pageable|threads SECONDS",
    summary: "stress tests of all CPUs",
    help: "frames     allocates and frees blocks of all orders on every CPU, hands some to other CPUs to free, and checks\n\
           \x20          that no two holders share a frame and that none is lost\n\
           movable    allocates, reads and frees movable blocks while they are moved\n\
           slabs      allocates, checks, resizes and frees objects of all sizes, hands some to other CPUs to free, and\n\
           \x20          checks that no two holders share an object and that all memory returns\n\
           directmap  changes, restores, reads, writes and faults at once; each access is checked\n\
           pool       takes frames out of the map, uses them through windows, and gives them back\n\
           longmap    maps pages past the map's end for long, looks at them on all CPUs, and unmaps them\n\
           pageable   fills, reads and frees pageable memory, more than there is memory, and checks all contents\n\
           threads    starts threads of all policies that compute, sleep, wait, lock and allocate, and joins them\n\
           Also: 'frames stress', 'frames movable stress', 'slabs stress', 'directmap stress', 'directmap pool stress'.",
    complete: Complete::Words(WHAT),
    run,
};

/// The longest test, in seconds: a day.
const LONGEST: u64 = 86_400;

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let what = arguments.one_of("what", WHAT)?;
    let seconds = arguments.number_to("seconds", LONGEST)?;
    arguments.end()?;
    let outcome = match what {
        "frames" => frames::frames(allocator()?, seconds, out),
        "movable" => movable::movable(allocator()?, seconds, out),
        "slabs" => objects::objects(object_commands::allocator()?, seconds, out),
        "directmap" => direct_map::direct_map(seconds, out),
        "longmap" => long_map::long_map(allocator()?, seconds, out),
        "threads" => threads::threads(seconds, out),
        "pageable" => pageable::pageable(allocator()?, seconds, out),
        _ => unmapped::unmapped(seconds, out),
    };
    outcome.map_err(|failure| CommandError::failed(failure.reason()))?;
    if what == "pool" { pool::show(out) } else { Ok(()) }
}

/// Counts the free frames, with what caches of frames and of objects hold for later given back first: else that would
/// come back during a test, or be taken.
fn free_frames(frames: &Frames<KernelMachine>) -> u64 {
    if let Some(slabs) = mm::objects::slabs() {
        reclaim_everywhere(slabs);
    }
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        frames.drain(guard.pinned());
    });
    // The tables above areas of the kernel map stay.
    frames.free_frames() + mm::kernel_map::map().map_or(0, |map| map.report().upper_tables)
}
