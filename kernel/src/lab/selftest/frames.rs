//! The frame allocator in the kernel: silence (I2), no panic on exhaustion (I12), its books.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_frames::{Frame, Place, Request, Zone};
use rhumb_machine::{Machine, NodeId, Order, Pfn, PhysAddr};

use super::memory::{allocator, drain_all};
use super::{Test, memory};
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, trampoline, work};
use crate::facts::Boot;
use crate::lab::chain::Chain;
use crate::lab::failure::{Failure, ensure};
use crate::lab::sizes::order;
use crate::layout::image;
use crate::mm::tables;

pub const TESTS: &[Test] = &[
    Test { name: "frames::books_balance", run: books_balance },
    Test { name: "frames::i2_silence", run: i2_silence },
    Test { name: "frames::i12_exhaustion", run: i12_exhaustion },
    Test { name: "frames::nodes_and_zones", run: nodes_and_zones },
    Test { name: "frames::each_cpu_is_served_from_its_own_node", run: each_cpu_is_served_from_its_own_node },
    Test { name: "frames::reserved_memory_is_never_given_out", run: reserved_memory_is_never_given_out },
];

fn books_balance(boot: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    drain_all(frames);
    frames.validate().map_err(Failure::because)?;
    let (totals, ram) = (frames.totals(), boot.memory.lock().ram_bytes() / 4096);
    ensure!(totals.present == ram, "the allocator has {} frames, RAM is {ram}", totals.present);
    Ok(())
}

/// Returns the counts of table writes, flushes and interrupts between CPUs so far, on all CPUs.
pub(super) fn noise() -> [u64; 5] {
    let mut sums = [0; 5];
    for area in area::all() {
        let c = &area.counters;
        let counters =
            [&c.page_table_writes, &c.flushes_page, &c.flushes_all, &c.flushes_remote, &c.call_interrupts];
        for (sum, counter) in sums.iter_mut().zip(counters) {
            *sum += counter.get();
        }
    }
    sums
}

/// A million operations write no page table, flush nothing and interrupt no CPU.
fn i2_silence(_: &'static Boot) -> Result<(), Failure> {
    const ROUNDS: usize = 1000;
    const HELD: usize = 250;
    let frames = allocator()?;
    let before = noise();
    for round in 0..ROUNDS {
        let guard = MACHINE.pin();
        let order = order((round % 4) as u8);
        let mut held: [Option<Frame>; HELD] = [const { None }; HELD];
        for place in &mut held {
            *place = frames.alloc(guard.pinned(), Request::new(order)).ok();
        }
        let missing = held.iter().filter(|place| place.is_none()).count();
        held.into_iter().flatten().for_each(|frame| frames.free(guard.pinned(), frame));
        // Twice as many of single frames, one at a time, make it a million in all.
        for _ in 0..HELD {
            if let Ok(frame) = frames.alloc(guard.pinned(), Request::FRAME) {
                frames.free(guard.pinned(), frame);
            }
        }
        if missing > 0 {
            return Err(memory::short(format_args!("{missing} requests of order {order} failed")));
        }
    }
    let after = noise();
    ensure!(before == after, "{before:?} page-table writes, flushes and interrupts before, {after:?} after");
    Ok(())
}

/// Large blocks until there are none: an error, and everything comes back.
fn i12_exhaustion(_: &'static Boot) -> Result<(), Failure> {
    const ENOUGH: u64 = 256;
    let frames = allocator()?;
    drain_all(frames);
    let before = frames.free_frames();
    // The largest order of which there are some; else a terabyte would be half a million blocks.
    let order = if before / Order::HUGE.frames() >= ENOUGH { Order::HUGE } else { Order::LARGE };
    let guard = MACHINE.pin();
    let mut chain = Chain::default();
    let last = loop {
        match frames.alloc(guard.pinned(), Request::new(order)) {
            Ok(frame) => chain.push(frame.into_anywhere()),
            Err(error) => break error,
        }
    };
    let unknown = chain.free(frames, guard.pinned());
    drop(guard);
    drain_all(frames);
    ensure!(last.is_exhaustion(), "memory ran out with another error: {last}");
    ensure!(unknown == 0, "{unknown} blocks are not known to the allocator that gave them");
    let after = frames.free_frames();
    ensure!(before == after, "{before} frames were free before, {after} are after");
    frames.validate().map_err(Failure::because)
}

/// Each node's memory comes from that node; what must be below 4 GiB is.
fn nodes_and_zones(boot: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    let guard = MACHINE.pin();
    for node in (0..boot.topology.node_count()).filter_map(NodeId::new) {
        let request = Request::FRAME.bind(node);
        let Ok(frame) = frames.alloc(guard.pinned(), request) else { continue };
        let found = boot.topology.node_of(frame.addr());
        frames.free(guard.pinned(), frame);
        ensure!(found == node, "a frame for node {node} came from node {found}");
    }
    for (zone, end) in [(Zone::Dma, 16 << 20), (Zone::Dma32, 4 << 30)] {
        let Ok(frame) = frames.alloc(guard.pinned(), Request::FRAME.ceiling(zone)) else { continue };
        let at = frame.addr();
        frames.free(guard.pinned(), frame);
        ensure!(at < PhysAddr::new(end), "a frame for zone {zone} lies at {at}");
    }
    Ok(())
}

/// On each CPU, a request that names no node gets a frame of the CPU's own node while that has any.
fn each_cpu_is_served_from_its_own_node(boot: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    drain_all(frames);
    let (wrong, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        let node = MACHINE.node_of(guard.pinned().cpu());
        // DMA memory is served last, whatever its node.
        let has_any = [Zone::Dma32, Zone::Normal].into_iter().any(|zone| {
            let levels = frames.levels(node, zone);
            levels.free > levels.low + Order::LARGE.frames()
        });
        for order in [0, 3].into_iter().filter_map(Order::new) {
            let request = Request::new(order);
            let Ok(frame) = frames.alloc(guard.pinned(), request) else { continue };
            let found = boot.topology.node_of(frame.addr());
            frames.free(guard.pinned(), frame);
            if !has_any {
                continue;
            }
            asked.fetch_add(1, Relaxed);
            if found != node {
                wrong.fetch_or(1 << (guard.pinned().cpu().index() % 64), Relaxed);
            }
        }
    });
    let wrong = wrong.into_inner();
    ensure!(wrong == 0, "CPUs {wrong:#b} got memory of another node");
    if asked.into_inner() == 0 {
        return Err(memory::short("no CPU's node has some to spare"));
    }
    Ok(())
}

/// No frame of the image, the page tables or the stacks is free.
fn reserved_memory_is_never_given_out(_: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    let root = tables::root().table;
    let image = image::physical(image::text()).start().pfn();
    let trampoline = trampoline::page().map(|page| page.start().pfn());
    for pfn in [root, image, Pfn::new(0)].into_iter().chain(trampoline) {
        let Some(known) = frames.describe(pfn) else { continue };
        ensure!(
            matches!(known.place, Place::InUse | Place::InUseLarge(_)),
            "frame {pfn} is {:?}",
            known.place
        );
    }
    Ok(())
}
