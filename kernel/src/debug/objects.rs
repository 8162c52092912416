//! Commands about objects: `slabinfo`, `slabs`.

use core::task::Poll;

use rhumb_machine::{Counted, Machine};
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Human, Output, Table};
use rhumb_slab::{Reclaiming, Slabs};

use super::Kernel;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::work;
use crate::mm::kernel_map;
use crate::mm::objects::{Site, slabs as allocator_if_up};

pub const COMMANDS: &[Command<Kernel>] = &[
    Command {
        name: "slabinfo",
        usage: "",
        summary: "object caches, as /proc/slabinfo shows them",
        help: "The limit is how many objects a magazine holds now, sharedavail how many are free in magazines.",
        complete: Complete::Nothing,
        run: slabinfo,
    },
    Command {
        name: "slabs",
        usage: "[reclaim | leaks]",
        summary: "what object caches hold and waste; giving it back",
        help: "Without a word: each cache that holds memory, what of it is in use, and what reclaim got from it.\n\
               'slabs reclaim' gives back unused memory, on every CPU.\n\
               'slabs leaks' names the users of objects, in caches that keep them (boot with slab_debug=U).",
        complete: Complete::Words(&["reclaim", "leaks"]),
        run: slabs,
    },
];

pub fn allocator() -> Result<&'static Slabs<KernelMachine>, CommandError> {
    allocator_if_up().ok_or_else(|| CommandError::failed("there are no object caches: boot says why"))
}

fn slabinfo(_: &mut Kernel, arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    writeln!(out, "slabinfo - version: 2.1");
    writeln!(
        out,
        "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> \
         <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>"
    );
    allocator()?.for_each_report(|cache| {
        let rounds = cache.magazine_rounds;
        writeln!(
            out,
            "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4} : tunables {:>4} {:>4} {:>4} : slabdata {:>6} {:>6} {:>6}",
            cache.name,
            cache.active_objects,
            cache.objects,
            cache.slot_bytes,
            cache.objects_per_slab,
            cache.frames_per_slab,
            rounds,
            rounds.div_ceil(2),
            0,
            cache.active_slabs,
            cache.slabs,
            cache.in_magazines,
        );
    });
    Ok(())
}

fn slabs(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let slabs = allocator()?;
    match arguments.optional(|words| words.one_of("what", &["reclaim", "leaks"]))? {
        Some("reclaim") => {
            arguments.end()?;
            reclaim(slabs, out);
            Ok(())
        }
        Some(_) => {
            arguments.end()?;
            leaks(slabs, out);
            Ok(())
        }
        None => {
            arguments.end()?;
            list(slabs, out);
            Ok(())
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::left("cache", 18),
    Column::right("size", 6),
    Column::right("in use", 8),
    Column::right("held", 9),
    Column::right("waste", 6),
    Column::right("reclaimed", 10),
    Column::right("faults", 7),
];

fn list(slabs: &Slabs<KernelMachine>, out: &mut dyn Output) {
    let mut table = Table::new(out, COLUMNS);
    slabs.for_each_report(|cache| {
        if cache.slabs == 0 && cache.faults == 0 {
            return;
        }
        let percent = cache.waste_bytes() * 100 / cache.held_bytes().max(1);
        table.row(&[
            &cache.name,
            &cache.object_bytes,
            &cache.active_objects,
            &Human(cache.held_bytes()),
            &format_args!("{percent}%"),
            &Human(cache.reclaimed_frames * 4096),
            &cache.faults,
        ]);
    });
    let totals = slabs.totals();
    writeln!(
        out,
        "{} in use of {} held, {} of these the allocator's own; {} reclaimed so far, {} faults",
        Human(totals.live_bytes),
        Human(totals.held_bytes),
        Human(totals.own_bytes),
        Human(totals.reclaimed_frames * 4096),
        totals.faults
    );
}

/// Gives back the memory that no CPU uses. Each CPU drains its own magazines, and lets go of the addresses of the kernel
/// map that it keeps, whose records are objects.
pub fn reclaim_everywhere(slabs: &Slabs<KernelMachine>) -> u64 {
    kernel_map::reclaim();
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        if let Some(map) = kernel_map::map() {
            map.drain(guard.pinned());
        }
        slabs.drain(guard.pinned());
    });
    let mut work = Reclaiming::new();
    loop {
        if let Poll::Ready(frames) = work.step(slabs, MACHINE.pin().pinned()) {
            return frames;
        }
    }
}

fn reclaim(slabs: &Slabs<KernelMachine>, out: &mut dyn Output) {
    let before = slabs.totals().held_bytes;
    reclaim_everywhere(slabs);
    let after = slabs.totals().held_bytes;
    writeln!(out, "{} held before, {} after", Human(before), Human(after));
}

fn leaks(slabs: &Slabs<KernelMachine>, out: &mut dyn Output) {
    let mut caches = 0;
    slabs.leaks(|name, in_use| {
        caches += 1;
        writeln!(out, "{name}: {} in use", Counted(in_use.objects, "object"));
        for owner in &in_use.owners {
            writeln!(out, "  {} at {} from {}", owner.objects, owner.object, Site(owner.site));
        }
    });
    if caches == 0 {
        writeln!(out, "no cache that keeps its users has objects in use");
    }
}
