//! The command `kmem`: objects and blocks in the direct map, beside the same at addresses of the kernel map.
//!
//! The second is the model of kernels without a direct map, which X15's founding text turned away from: each block is
//! mapped as it is allocated, and flushed on all CPUs after it is freed. Each row is measured in this kernel, now, with
//! all other CPUs running.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rhumb_frames::Request;
use rhumb_kernelmap::{AreaRequest, FlushPolicy};
use rhumb_machine::{Machine, Order, Pinned};
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Output, Table};
use rhumb_slab::{CheckList, Slabs};
use spin::Once;

use super::Kernel;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{area, clock, once, work};
use crate::facts::Boot;
use crate::mm::kernel_map::space::SPACE;
use crate::mm::kernel_map::{self, KernelHome};
use crate::mm::{frames, objects};

type Map = rhumb_kernelmap::KernelMap<KernelHome>;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "kmem",
    usage: "compare",
    summary: "what memory costs in the direct map, and in the kernel map",
    help: "Allocates and frees each size 512 times, or fewer where that takes longer than a second, in the direct map and\n\
           by the kernel map under each flush policy, while all other CPUs run. A row has the means for one allocation\n\
           and its free: table entries written, flushes begun, interrupts of other CPUs, and nanoseconds (which mean\n\
           nothing in an emulator). 'object' is from a CPU's magazine, 'slab' makes and gives back a whole slab of\n\
           objects. Boot with kmem=virtual to have all of the kernel's objects in the kernel map.",
    complete: Complete::Words(&["compare"]),
    run,
}];

/// Allocations of each row: so many, or fewer where they take longer than [`MOST_NS`], but some at least.
const MOST_TIMES: u64 = 512;
const LEAST_TIMES: u64 = 16;
const MOST_NS: u64 = 1_000_000_000;

/// An allocator with its objects in the kernel map, beside the kernel's own: made once, at the first comparison.
static VIRTUAL: Once<Slabs<KernelMachine>> = Once::new();

fn run(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.one_of("action", &["compare"])?;
    arguments.end()?;
    let map =
        kernel_map::map().ok_or_else(|| CommandError::failed("there is no kernel map: boot says why"))?;
    let direct = objects::direct_slabs().ok_or_else(|| CommandError::failed("there are no object caches"))?;
    let in_map = slabs_in_map(kernel.boot)?;
    compare(map, direct, in_map, out)
}

/// Returns the allocator whose objects are in the kernel map: the kernel's own where `kmem=virtual` says so.
fn slabs_in_map(boot: &Boot) -> Result<&'static Slabs<KernelMachine>, CommandError> {
    if boot.options.kmem == Some("virtual")
        && let Some(slabs) = objects::slabs()
    {
        return Ok(slabs);
    }
    if let Some(slabs) = VIRTUAL.get() {
        return Ok(slabs);
    }
    let frames = frames::frames().ok_or_else(|| CommandError::failed("there is no frame allocator"))?;
    let guard = MACHINE.pin();
    let made = Slabs::new_in(frames, guard.pinned(), objects::config(boot, CheckList::NONE), &SPACE);
    Ok(once::fill(&VIRTUAL, made.map_err(CommandError::failed)?))
}

const COLUMNS: &[Column] = &[
    Column::left("allocation", 14),
    Column::left("where", 18),
    Column::right("writes", 8),
    Column::right("flushes", 8),
    Column::right("interrupts", 10),
    Column::right("ns", 9),
];

/// A way to allocate and to free at once; tells whether there was memory.
type Pair<'a> = &'a mut dyn FnMut(Pinned<'_>) -> bool;

fn compare(
    map: &Map,
    direct: &'static Slabs<KernelMachine>,
    in_map: &'static Slabs<KernelMachine>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    let frames = frames::frames().ok_or_else(|| CommandError::failed("there is no frame allocator"))?;
    let before = map.policy();
    let mut table = Table::new(out, COLUMNS);
    let mut row = |what: &str, place: &dyn core::fmt::Display, pair: Pair<'_>| {
        let (measured, times) = measure(pair).ok_or_else(|| CommandError::failed("memory ran out"))?;
        table.row(&[
            &what,
            place,
            &Hundredths(measured.writes, times),
            &Hundredths(measured.flushes, times),
            &Hundredths(measured.interrupts, times),
            &(measured.ns / times),
        ]);
        if table.interrupted() { Err(CommandError::Interrupted) } else { Ok(()) }
    };
    let mut all = || {
        for (what, pages) in [("1 page", 1), ("16 pages", 16), ("512 pages", 512)] {
            let order = Order::holding(pages).unwrap_or(Order::BASE);
            row(what, &"direct map", &mut |pinned| {
                let Ok(frame) = frames.alloc(pinned, Request::new(order)) else { return false };
                frames.free(pinned, frame);
                true
            })?;
            for policy in FlushPolicy::ALL.into_iter().rev() {
                map.set_policy(MACHINE.pin().pinned(), policy);
                row(what, &format_args!("kernel map, {policy}"), &mut |pinned| {
                    map.alloc(pinned, AreaRequest::new(pages))
                        .is_ok_and(|area| map.free(pinned, area).is_ok())
                })?;
            }
        }
        for (what, is_slab) in [("object of 512", false), ("slab of 512s", true)] {
            row(what, &"direct map", &mut |pinned| object_or_slab(direct, pinned, is_slab))?;
            for policy in FlushPolicy::ALL.into_iter().rev() {
                map.set_policy(MACHINE.pin().pinned(), policy);
                row(what, &format_args!("kernel map, {policy}"), &mut |pinned| {
                    object_or_slab(in_map, pinned, is_slab)
                })?;
            }
        }
        Ok(())
    };
    let outcome = all();
    map.set_policy(MACHINE.pin().pinned(), before);
    outcome
}

/// Allocates an object of 512 bytes and frees it, and gives back its slab where that is asked for.
fn object_or_slab(slabs: &'static Slabs<KernelMachine>, pinned: Pinned<'_>, is_slab: bool) -> bool {
    const LAYOUT: Layout = match Layout::from_size_align(512, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("512 bytes are a layout"),
    };
    let Ok(object) = slabs.alloc(pinned, LAYOUT) else { return false };
    let object: NonNull<u8> = object;
    // SAFETY: the object was allocated just now, with this layout.
    unsafe { slabs.free(pinned, object, LAYOUT) };
    if is_slab {
        slabs.reclaim(pinned);
    }
    true
}

/// The sums over all allocations of a row, on all CPUs.
#[derive(Clone, Copy)]
struct Sums {
    writes: u64,
    flushes: u64,
    interrupts: u64,
    ns: u64,
}

impl Sums {
    fn now() -> Self {
        let sum = |of: fn(&area::Counters) -> u64| area::all().map(|area| of(&area.counters)).sum();
        Self {
            writes: sum(|counters| counters.page_table_writes.get()),
            flushes: sum(|counters| counters.flushes.get()),
            interrupts: sum(|counters| counters.flushes_received.get()),
            ns: clock::now_ns(),
        }
    }
}

/// Runs `pair` again and again, while all other CPUs run, and returns how often; `None` where memory ran out.
fn measure(pair: Pair<'_>) -> Option<(Sums, u64)> {
    let (is_over, mut is_well, mut measured) = (AtomicBool::new(false), true, None);
    let others = || {
        while !is_over.load(Relaxed) {
            core::hint::spin_loop();
        }
    };
    work::on_others(&others, || {
        let mut turn = || {
            let guard = MACHINE.pin();
            is_well &= pair(guard.pinned());
        };
        (0..LEAST_TIMES).for_each(|_| turn());
        let (before, mut times) = (Sums::now(), 0);
        while times < LEAST_TIMES || times < MOST_TIMES && clock::now_ns() - before.ns < MOST_NS {
            turn();
            times += 1;
        }
        let after = Sums::now();
        let sums = Sums {
            writes: after.writes - before.writes,
            flushes: after.flushes - before.flushes,
            interrupts: after.interrupts - before.interrupts,
            ns: after.ns - before.ns,
        };
        measured = Some((sums, times));
        is_over.store(true, Relaxed);
    });
    measured.filter(|_| is_well)
}

/// A sum over so many allocations as the mean of one, to hundredths.
struct Hundredths(u64, u64);

impl core::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self(sum, times) = *self;
        let hundredths = (sum * 100 + times / 2) / times;
        if hundredths == 0 && sum > 0 {
            return f.pad("<0.01");
        }
        f.pad(
            rhumb_monitor::Text::<24>::of(format_args!("{}.{:02}", hundredths / 100, hundredths % 100))
                .as_str(),
        )
    }
}
