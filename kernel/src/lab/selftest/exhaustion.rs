//! One CPU takes all memory, what the others' caches hold included, and gives it back (I12, and the exception of I2).

use core::ops::RangeInclusive;

use arrayvec::ArrayVec;
use rhumb_frames::{Frame, Frames, Request, Zone};
use rhumb_machine::{Machine, NodeId, Order, Pinned};

use super::Test;
use super::memory::{allocator, drain_all};
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::work;
use crate::facts::Boot;
use crate::lab::chain::Chain;
use crate::lab::failure::{Failure, ensure};

pub const TESTS: &[Test] =
    &[Test { name: "exhaustion::one_cpu_finds_every_last_frame", run: every_last_frame }];

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

fn every_last_frame(_: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    drain_all(frames);
    work::on_others(&|| fill_cache(frames), || ());
    let before = frames.free_frames();
    let reserves = Reserves::lift(frames);
    let guard = MACHINE.pin();
    let chain = take_all(frames, guard.pinned(), 0..=Order::HUGE.get());
    let taken = chain.frames();
    let unknown = chain.free(frames, guard.pinned());
    drop((reserves, guard));
    drain_all(frames);
    let after = frames.free_frames();
    ensure!(taken == before, "{before} frames were free, one CPU found {taken}");
    ensure!(
        unknown == 0 && after == before,
        "{after} of {before} frames are free again, {unknown} blocks refused"
    );
    frames.validate().map_err(Failure::because)
}

/// Returns all free blocks of these orders. The largest first: memory of a terabyte is then a thousand blocks.
pub(super) fn take_all(
    frames: &Frames<KernelMachine>,
    pinned: Pinned<'_>,
    orders: RangeInclusive<u8>,
) -> Chain {
    let mut chain = Chain::default();
    // Low ceilings reach what is guarded from higher ones.
    for order in orders.rev().filter_map(Order::new) {
        for zone in [Zone::High, Zone::Normal, Zone::Dma32, Zone::Dma] {
            while let Ok(frame) = frames.alloc_anywhere(pinned, Request::new(order).ceiling(zone)) {
                chain.push(frame);
            }
        }
    }
    chain
}

/// The zones' reserves, put back when this goes.
pub(super) struct Reserves<'a> {
    frames: &'a Frames<KernelMachine>,
    kept: ArrayVec<(NodeId, Zone, u64), MAX_ZONES>,
}

/// Those of four nodes; on a machine of more, the others keep theirs and the test would say so.
const MAX_ZONES: usize = 16;

impl<'a> Reserves<'a> {
    pub(super) fn lift(frames: &'a Frames<KernelMachine>) -> Self {
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
