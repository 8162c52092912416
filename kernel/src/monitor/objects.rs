//! Commands about objects: `slabinfo`, `slabs`.

use core::task::Poll;

use rhumb_machine::{Counted, Machine};
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Human, Output, Table};
use rhumb_slab::{Checks, Reclaiming, Slabs};

use super::Kernel;
use crate::machine::{KernelMachine, MACHINE};
use crate::mm::objects::{Site, checks, slabs as allocator_if_up};
use crate::mm::plant_objects::{self, Fault};
use crate::smp::work;
use crate::stress;

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
        usage: "[reclaim | leaks | plant FAULT | stress SECONDS]",
        summary: "what object caches hold and waste; giving it back; a stress test of all CPUs",
        help: "Without a word: each cache that holds memory, what of it is in use, and what reclaim got from it.\n\
               'slabs reclaim' gives back what nobody uses, on every CPU.\n\
               'slabs leaks' names who has objects of the caches that keep their users (boot with slab_debug=U).\n\
               'slabs plant FAULT' does something wrong with an object of a checked class, and says what was noticed: overrun,\n\
               underrun, write-after-free, double-free, foreign-free, leak.\n\
               'slabs stress SECONDS' allocates, checks, resizes and frees objects of all sizes on every CPU, hands some\n\
               to other CPUs to free, and checks that no two holders share an object and that all memory returns.",
        complete: Complete::Words(&["reclaim", "leaks", "plant", "stress"]),
        run: slabs,
    },
];

fn allocator() -> Result<&'static Slabs<KernelMachine>, CommandError> {
    allocator_if_up().ok_or_else(|| CommandError::failed("there are no object caches: boot says why"))
}

fn slabinfo(_: &mut Kernel, arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    write!(out, "{}", allocator()?.slabinfo());
    Ok(())
}

fn slabs(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let slabs = allocator()?;
    match arguments.optional(|words| words.one_of("what", &["reclaim", "leaks", "plant", "stress"]))? {
        Some("reclaim") => {
            arguments.end()?;
            reclaim(slabs, out);
            Ok(())
        }
        Some("leaks") => {
            arguments.end()?;
            leaks(slabs, out);
            Ok(())
        }
        Some("plant") => {
            let name = arguments.one_of("fault", Fault::NAMES)?;
            arguments.end()?;
            plant(slabs, name, out)
        }
        Some(_) => {
            let seconds = arguments.number_to("seconds", 86_400)?;
            arguments.end()?;
            stress::objects(slabs, seconds, out).map_err(CommandError::failed)
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

/// Gives back what no CPU uses. What another CPU's magazines held comes free by its own drain.
pub fn reclaim_everywhere(slabs: &Slabs<KernelMachine>) -> u64 {
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
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

fn plant(slabs: &Slabs<KernelMachine>, name: &str, out: &mut dyn Output) -> Result<(), CommandError> {
    let Some(fault) = Fault::named(name) else { return Ok(()) };
    let noticed = plant_objects::plant(slabs, fault).map_err(CommandError::failed)?;
    writeln!(out, "{name}: {noticed} reported");
    match (noticed, fault) {
        (0, Fault::Leak) => {
            writeln!(out, "a leak shows in 'slabs leaks', by the user that has the object");
            Ok(())
        }
        (0, _) if checks().of("kmalloc-64").has(Checks::QUARANTINE) => {
            writeln!(out, "the object is in the quarantine: it is looked at when it leaves it");
            Ok(())
        }
        (0, _) => Err(CommandError::failed("nothing was noticed")),
        _ => Ok(()),
    }
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
