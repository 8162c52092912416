//! Commands about page frames: `buddyinfo`, `zoneinfo`, `frames`.

use core::fmt;

use rhumb_frames::{Description, Frames, Owner};
use rhumb_machine::{Machine, PhysAddr};
use rhumb_monitor::{Address, Arguments, Command, CommandError, Complete, Human, Output};

use super::Kernel;
use crate::boot::Boot;
use crate::machine::{KernelMachine, MACHINE};
use crate::mm;
use crate::mm::owners::Name;
use crate::smp::work;
use crate::stress;

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
        usage: "FRAME | stress SECONDS",
        summary: "what is known of a frame; a stress test of all CPUs",
        help: "FRAME is a frame number in hexadecimal, or phys:ADDRESS: where it is, who holds it, what its descriptor says.\n\
               'frames stress SECONDS' allocates and frees blocks of\n\
               all orders on every CPU, hands some to other CPUs to free, and checks that no two holders share a frame\n\
               and that none is lost.",
        complete: Complete::Words(&["stress"]),
        run: frames,
    },
];

fn allocator() -> Result<&'static Frames<KernelMachine>, CommandError> {
    mm::frames::frames().ok_or_else(|| CommandError::failed("there is no frame allocator: boot says why"))
}

/// Prints a report that is a [`fmt::Display`].
fn print(out: &mut dyn Output, report: impl fmt::Display) -> Result<(), CommandError> {
    write!(out, "{report}");
    Ok(())
}

/// What CPUs keep to themselves counts as free, and is to be seen as such.
fn drain_all(frames: &Frames<KernelMachine>) {
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
    if ahead.word("frame")? == "stress" {
        let seconds = ahead.number_to("seconds", 86_400)?;
        ahead.end()?;
        return stress::frames(frames, seconds, out).map_err(CommandError::failed);
    }
    let pfn = match arguments.address("frame")? {
        Address::Physical(phys) => phys.pfn(),
        Address::Virtual(number) => PhysAddr::new(number.get() << 12).pfn(),
    };
    arguments.end()?;
    let known = frames.describe(pfn).ok_or_else(|| {
        CommandError::failed(format_args!("frame {pfn} is not RAM that the allocator manages"))
    })?;
    writeln!(out, "frame {pfn}: physical {} to {}", pfn.addr(), pfn.plus(1).addr());
    writeln!(out, "  direct map {}", MACHINE.direct(pfn.addr()));
    writeln!(out, "  node {}, zone {}, in a 2-MiB block of kind {}", known.node, known.zone, known.kind);
    writeln!(out, "  {}", Place(known.place));
    write_holder(kernel.boot, out, &known);
    Ok(())
}

/// Who holds the frame, and what its descriptor says.
fn write_holder(boot: &Boot, out: &mut dyn Output, known: &Description) {
    if let Some((start, order)) = known.block {
        let bytes = Human(order.bytes());
        writeln!(out, "  part of a block of order {order} ({bytes}) from frame {start}");
    }
    if known.owner != Owner::NONE {
        writeln!(out, "  held by {}, page type {}", Name(known.owner), known.page_type);
        writeln!(
            out,
            "  references {} beyond the first; private word {:#x}",
            known.references, known.private
        );
    } else if let Some(why) = mm::frames::taken_at_boot(boot, known.pfn) {
        writeln!(out, "  taken at boot: {why}");
    }
    let history = known.history;
    if history.allocations > 0 {
        writeln!(
            out,
            "  allocated {} times, last by CPU {}; last freed by CPU {}",
            history.allocations, history.allocated_by, history.freed_by
        );
    }
}

/// Where a frame is, in words.
struct Place(rhumb_frames::Place);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rhumb_frames::Place::{Cached, Free, InUse, InUseLarge};
        match self.0 {
            Free(order) => write!(f, "free, in a run of order {order} ({})", Human(order.bytes())),
            Cached(cpu) => write!(f, "free, in the cache of CPU {cpu}"),
            InUse => f.write_str("in use"),
            InUseLarge(order) => write!(f, "in use, in a block of order {order} ({})", Human(order.bytes())),
        }
    }
}
