//! Commands about page frames: `buddyinfo`, `zoneinfo`, `frames`.

use core::fmt;

use rhumb_frames::Frames;
use rhumb_machine::{Machine, Pfn};
use rhumb_monitor::{Address, Arguments, Command, CommandError, Complete, Output};

use super::{Kernel, movable};
use crate::machine::{KernelMachine, MACHINE};
use crate::mm;
use crate::smp::work;
use crate::stress;

/// Physical addresses have 52 bits at most.
const FRAME_NUMBER_BITS: u32 = 52 - 12;

pub const COMMANDS: &[Command<Kernel>] = &[
    Command {
        name: "buddyinfo",
        usage: "",
        summary: "free blocks by order, as /proc/buddyinfo shows them",
        help: "One line a zone; the columns are orders 0 (4 KiB) to 18 (1 GiB). Frames in per-CPU caches are not among them.",
        complete: Complete::Nothing,
        run: buddyinfo,
    },
    Command {
        name: "zoneinfo",
        usage: "",
        summary: "zones and watermarks, as /proc/zoneinfo shows them",
        help: "",
        complete: Complete::Nothing,
        run: zoneinfo,
    },
    Command {
        name: "frames",
        usage: "FRAME | stress SECONDS | compact | movable [1-in-N|free|stress SECONDS]",
        summary: "what is known of a frame; compaction; stress tests of all CPUs",
        help: "FRAME is a frame number in hexadecimal, or phys:ADDRESS: where it is, who holds it, what its descriptor says.\n\
               'frames stress SECONDS' allocates and frees blocks of\n\
               all orders on every CPU, hands some to other CPUs to free, and checks that no two holders share a frame\n\
               and that none is lost.\n\
               'frames compact' moves movable frames together until nothing is left that is worth it.\n\
               'frames movable 1-in-N' takes all free memory and keeps one frame in N, movable and with known contents: no\n\
               block is whole then. 'frames movable' reads them all, 'frames movable free' gives them back.\n\
               'frames movable stress SECONDS' has all CPUs allocate, read and free such blocks while they are moved.",
        complete: Complete::Words(&["stress", "compact", "movable"]),
        run: frames,
    },
];

pub(super) fn allocator() -> Result<&'static Frames<KernelMachine>, CommandError> {
    mm::frames::frames().ok_or_else(|| CommandError::failed("there is no frame allocator: boot says why"))
}

/// Prints a report that is a [`fmt::Display`].
fn print(out: &mut dyn Output, report: impl fmt::Display) -> Result<(), CommandError> {
    write!(out, "{report}");
    Ok(())
}

/// What CPUs keep to themselves counts as free, and is to be seen as such.
pub(super) fn drain_all(frames: &Frames<KernelMachine>) {
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        frames.drain(guard.pinned());
    });
}

fn buddyinfo(_: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let frames = allocator()?;
    drain_all(frames);
    print(out, frames.buddyinfo())
}

fn zoneinfo(_: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    print(out, allocator()?.zoneinfo())
}

fn frames(
    kernel: &mut Kernel,
    mut arguments: Arguments<'_>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    let frames = allocator()?;
    let mut ahead = arguments;
    match ahead.word("frame")? {
        "stress" => {
            let seconds = ahead.number_to("seconds", 86_400)?;
            ahead.end()?;
            return stress::frames(frames, seconds, out).map_err(CommandError::failed);
        }
        "compact" => return movable::compact(ahead, frames, out),
        "movable" => return movable::movable(ahead, frames, out),
        _ => {}
    }
    let pfn = match arguments.address("frame")? {
        Address::Physical(phys) => phys.pfn(),
        Address::Virtual(number) if number.get() >> FRAME_NUMBER_BITS != 0 => {
            let number = number.get();
            return Err(CommandError::failed(format_args!(
                "{number:#x} is past all numbers of frames; an address is written phys:{number:x}"
            )));
        }
        Address::Virtual(number) => Pfn::new(number.get()),
    };
    arguments.end()?;
    let known = mm::frames::known(pfn).ok_or_else(|| {
        CommandError::failed(format_args!("frame {pfn} is not RAM that the allocator manages"))
    })?;
    print(out, &known)?;
    if !known.is_owned()
        && let Some(why) = mm::frames::taken_at_boot(kernel.boot, pfn)
    {
        writeln!(out, "  taken at boot: {why}");
    }
    Ok(())
}
