//! Commands about page frames: `buddyinfo`, `zoneinfo`, `frames`.

use core::fmt;

use rhumb_frames::{Frames, Mobility};
use rhumb_machine::{Counted, Machine, Pfn};
use rhumb_monitor::{Address, Arguments, Command, CommandError, Complete, Output};

use super::Kernel;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::work;
use crate::mm::{self, movable};

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
        help: "Figures are frames. 'protection': how many frames of this zone are kept back from requests whose highest\n\
               zone is DMA, DMA32, Normal or HighMem, in this order.",
        complete: Complete::Nothing,
        run: zoneinfo,
    },
    Command {
        name: "frames",
        usage: "FRAME | compact",
        summary: "what is known of a frame; compaction",
        help: "FRAME is a frame number in hexadecimal, or phys:ADDRESS: its place, its holder, its descriptor.\n\
               'frames compact' moves movable frames together until nothing is left that is worth it.",
        complete: Complete::Words(&["compact"]),
        run: frames,
    },
];

pub fn allocator() -> Result<&'static Frames<KernelMachine>, CommandError> {
    mm::frames::frames().ok_or_else(|| CommandError::failed("there is no frame allocator: boot says why"))
}

/// Prints a report that is a [`fmt::Display`].
fn print(out: &mut dyn Output, report: impl fmt::Display) -> Result<(), CommandError> {
    write!(out, "{report}");
    Ok(())
}

/// Drains the caches of all CPUs, because the frames in them count as free and are to be seen as such.
pub fn drain_all(frames: &Frames<KernelMachine>) {
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        frames.drain(guard.pinned());
    });
}

fn buddyinfo(_: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let frames = allocator()?;
    drain_all(frames);
    for zone in frames.zones() {
        write!(out, "Node {}, zone {:>8} ", zone.node, zone.zone);
        zone.free_by_order.iter().for_each(|count| write!(out, "{count:>7}"));
        writeln!(out);
    }
    Ok(())
}

fn zoneinfo(_: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    for zone in allocator()?.zones() {
        writeln!(out, "Node {}, zone {:>8}", zone.node, zone.zone);
        writeln!(out, "  pages free     {}", zone.levels.free);
        writeln!(out, "        min      {}", zone.levels.min);
        writeln!(out, "        low      {}", zone.levels.low);
        writeln!(out, "        high     {}", zone.levels.high);
        writeln!(out, "        present  {}", zone.present);
        let [dma, dma32, normal, high] = zone.protection;
        writeln!(out, "        protection: ({dma}, {dma32}, {normal}, {high})");
        writeln!(out, "        cached   {}", zone.cached);
        for kind in Mobility::ALL {
            let (blocks, free) = (zone.blocks_by_kind[kind as usize], zone.free_by_kind[kind as usize]);
            writeln!(out, "  {kind:<12} blocks {blocks:>8}  free in them {free:>8}");
        }
    }
    Ok(())
}

fn frames(
    kernel: &mut Kernel,
    mut arguments: Arguments<'_>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    let frames = allocator()?;
    let mut ahead = arguments;
    if ahead.word("frame")? == "compact" {
        return compact(ahead, frames, out);
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
    let known = mm::known::known(pfn).ok_or_else(|| {
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

/// `frames compact`.
fn compact(
    arguments: Arguments<'_>,
    frames: &Frames<KernelMachine>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    arguments.end()?;
    drain_all(frames);
    let done = {
        let guard = MACHINE.pin();
        movable::compact_all(guard.pinned())
    };
    writeln!(
        out,
        "compaction: {} of 2 MiB made whole, {} moved, {} not to be emptied; whole now: {}",
        Counted(done.blocks, "block"),
        Counted(done.moved, "frame"),
        Counted(done.stuck, "block"),
        frames.free_large_blocks()
    );
    Ok(())
}
