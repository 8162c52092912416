//! One CPU takes all memory, what the others' caches hold included, and gives it back (I12, and the exception of I2).

use arrayvec::ArrayVec;
use rhumb_frames::{Frame, Frames, Request, Zone};
use rhumb_machine::{Machine, NodeId, Order, PhysAddr, Pinned};

use super::frames::{allocator, drain_all};
use super::{Test, Wrong, ensure};
use crate::boot::Boot;
use crate::machine::{KernelMachine, MACHINE};
use crate::smp::work;

pub const TESTS: &[Test] =
    &[Test { name: "exhaustion::one_cpu_finds_every_last_frame", run: every_last_frame }];

/// Blocks in a chain through their first words.
struct Chain {
    /// Address and order of the newest, or 0.
    newest: u64,
    frames: u64,
}

impl Chain {
    fn push(&mut self, frame: Frame) {
        let (addr, order) = (frame.addr(), frame.order());
        // SAFETY: the block is ours and in the direct map, by its type.
        unsafe { MACHINE.direct(addr).as_mut_ptr::<u64>().write(self.newest) };
        self.newest = addr.get() | u64::from(order.get()) | 1 << 11;
        self.frames += order.frames();
        let _ = frame.into_pfn();
    }

    /// Frees all; says how many blocks the allocator did not know.
    fn free(self, frames: &Frames<KernelMachine>, pinned: Pinned<'_>) -> u64 {
        let (mut next, mut unknown) = (self.newest, 0);
        while next != 0 {
            let addr = PhysAddr::new(next & !0xfff);
            let order = Order::new((next & 0x1f) as u8).unwrap_or_default();
            // SAFETY: `push` wrote the word, and nobody has freed the block since.
            next = unsafe { MACHINE.direct(addr).as_ptr::<u64>().read() };
            // SAFETY: the chain held the block with this order.
            match unsafe { frames.from_pfn(addr.pfn(), order) } {
                Ok(frame) => frames.free(pinned, frame),
                Err(_) => unknown += 1,
            }
        }
        unknown
    }
}

/// Frames in the direct map that are free, in caches included. Past its limit none is taken here.
fn free_and_mapped(frames: &Frames<KernelMachine>) -> u64 {
    let mapped = frames.zones().filter(|zone| zone.zone <= Zone::Direct);
    mapped.map(|zone| zone.levels.free + zone.cached).sum()
}

/// A CPU that does nothing but hold free frames.
fn fill_cache(frames: &Frames<KernelMachine>) {
    const HELD: usize = 48;
    let guard = MACHINE.pin();
    for order in [0, 3, 9].into_iter().filter_map(Order::new) {
        let count = if order == Order::LARGE { 2 } else { HELD };
        let mut held: [Option<Frame>; HELD] = [const { None }; HELD];
        for place in &mut held[..count] {
            *place = frames.alloc(guard.pinned(), Request::new(order)).ok();
        }
        held.into_iter().flatten().for_each(|frame| frames.free(guard.pinned(), frame));
    }
}

fn every_last_frame(_: &'static Boot) -> Result<(), Wrong> {
    let frames = allocator()?;
    drain_all(frames);
    work::on_others(&|| fill_cache(frames), || ());
    let before = free_and_mapped(frames);
    let reserves = Reserves::lift(frames);
    let guard = MACHINE.pin();
    let mut chain = Chain { newest: 0, frames: 0 };
    // The largest first: memory of a terabyte is then a thousand blocks. Low ceilings reach what is guarded from higher ones.
    for order in (0..Order::COUNT as u8).rev().filter_map(Order::new) {
        for zone in [Zone::Direct, Zone::Dma32, Zone::Dma] {
            while let Ok(frame) = frames.alloc(guard.pinned(), Request::new(order).ceiling(zone)) {
                chain.push(frame);
            }
        }
    }
    let taken = chain.frames;
    let unknown = chain.free(frames, guard.pinned());
    drop((reserves, guard));
    drain_all(frames);
    let after = free_and_mapped(frames);
    ensure!(taken == before, "{before} frames were free, one CPU found {taken}");
    ensure!(
        unknown == 0 && after == before,
        "{after} of {before} frames are free again, {unknown} blocks refused"
    );
    frames.validate().map_err(Wrong::because)
}

/// The zones' reserves, put back when this goes.
struct Reserves<'a> {
    frames: &'a Frames<KernelMachine>,
    kept: ArrayVec<(NodeId, Zone, u64), MAX_ZONES>,
}

/// Those of four nodes; on a machine of more, the others keep theirs and the test would say so.
const MAX_ZONES: usize = 16;

impl<'a> Reserves<'a> {
    fn lift(frames: &'a Frames<KernelMachine>) -> Self {
        let kept =
            frames.zones().map(|zone| (zone.node, zone.zone, zone.levels.min)).take(MAX_ZONES).collect();
        let reserves = Self { frames, kept };
        reserves.kept.iter().for_each(|&(node, zone, _)| frames.set_reserve(node, zone, 0));
        reserves
    }
}

impl Drop for Reserves<'_> {
    fn drop(&mut self) {
        self.kept.iter().for_each(|&(node, zone, min)| self.frames.set_reserve(node, zone, min));
    }
}
