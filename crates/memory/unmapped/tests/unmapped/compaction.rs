//! Blocks for the pool where none is whole: frames in the way are moved, and must be found again where it is now.

use rhumb_frames::{Anywhere, Extent, Frame, Goal, Relocate, Request, Zone};
use rhumb_hosted::mmu::Fault;
use rhumb_machine::{Machine, NodeId, Order, Pfn, Pinned};

use crate::world::*;

const MIB: u64 = 1 << 20;

/// A movable frame, and what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scattered {
    pfn: Pfn,
    mark: u8,
}

/// How frames are moved.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Moving {
    /// As it must be.
    #[default]
    Whole,
    /// The target is lost: the owner goes on using the old place.
    TargetLost,
    /// Its contents stay behind.
    ContentsLost,
}

/// Moves scattered frames until a block is whole, as a kernel does; says how many are.
pub(crate) fn make_block(world: &'static World, pinned: Pinned<'_>) -> u64 {
    if world.scattered.lock().unwrap().is_empty() {
        return 0;
    }
    world.frames.compact(pinned, NodeId::FIRST, Goal::Anything, &Owner(world), 1).blocks
}

struct Owner(&'static World);

// SAFETY: it names frames that the world took and scattered, and moves them as the test wants to see found out.
unsafe impl Relocate for Owner {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        let scattered = self.0.scattered.lock().unwrap();
        scattered.iter().find(|frame| frame.pfn == pfn).map(|_| Extent { start: pfn, order: Order::BASE })
    }

    fn relocate(&self, _: Pinned<'_>, from: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        let (world, to) = (self.0, to.into_pfn());
        let moving = world.plant.lock().unwrap().moving;
        if moving != Moving::ContentsLost {
            (0..4096).for_each(|offset| world.poke(to, offset, world.peek(from.start, offset)));
        }
        if moving != Moving::TargetLost {
            let mut scattered = world.scattered.lock().unwrap();
            scattered.iter_mut().find(|frame| frame.pfn == from.start).unwrap().pfn = to;
        }
        Ok(())
    }
}

/// Takes all memory, and keeps a frame in 64: no block is whole.
fn scatter(world: &World, pinned: Pinned<'_>) {
    world.frames.set_reserve(NodeId::FIRST, Zone::Normal, 0);
    let all: Vec<Frame> =
        std::iter::from_fn(|| world.frames.alloc(pinned, Request::FRAME.movable()).ok()).collect();
    for frame in all {
        if frame.pfn().get().is_multiple_of(64) {
            let (mark, pfn) = ((frame.pfn().get() / 64 % 255) as u8 + 1, frame.into_pfn());
            (0..4096).for_each(|offset| world.poke(pfn, offset, mark));
            world.scattered.lock().unwrap().push(Scattered { pfn, mark });
        } else {
            world.frames.free(pinned, frame);
        }
    }
    world.frames.drain(pinned);
}

/// Those that do not hold what was written into them, or that the map does not show.
fn damaged(world: &World) -> Vec<Scattered> {
    let scattered = world.scattered.lock().unwrap().clone();
    let is_damaged = |frame: &Scattered| {
        world.read_mapped(0, frame.pfn).is_err()
            || (0..4096).any(|offset| world.peek(frame.pfn, offset) != frame.mark)
    };
    scattered.into_iter().filter(is_damaged).collect()
}

/// Takes a frame out of the map where no block is whole, with frames moved as `moving` says; what is damaged then.
fn take_out_of_scattered(world: &'static World, pinned: Pinned<'_>, moving: Moving) -> Vec<Scattered> {
    world.plant.lock().unwrap().moving = moving;
    scatter(world, pinned);
    assert!(world.frames.alloc(pinned, Request::LARGE).is_err(), "a block is whole");
    let before = world.scattered.lock().unwrap().clone();
    let frame = world.take(pinned, ALICE).unwrap();
    assert_eq!(world.pool().counters().compactions, 1);
    let block = rhumb_machine::Block::around(frame.pfn(), rhumb_machine::PageSize::Size2M).frames();
    let emptied: Vec<_> = before.iter().filter(|frame| block.contains(frame.pfn)).collect();
    assert_eq!(emptied.len(), 512 / 64);
    for frame in emptied {
        assert_eq!(world.read_mapped(0, frame.pfn), Err(Fault::NotPresent));
    }
    let damaged = damaged(world);
    world.pool().give(pinned, frame).unwrap();
    damaged
}

#[test]
fn i3_i6_a_block_comes_of_moving_what_stands_in_it_and_nothing_is_lost() {
    in_world(2, 16 * MIB, 16, |world, cpu| {
        assert_eq!(take_out_of_scattered(world, cpu.pinned(), Moving::Whole), []);
        let pin = world.machine.pin();
        for Scattered { pfn, .. } in world.scattered.lock().unwrap().drain(..) {
            // SAFETY: it was taken as this one frame, or moved here; it has no other holder.
            let frame = unsafe { world.frames.from_pfn(pfn, Order::BASE) }.unwrap();
            world.frames.free(pin.pinned(), frame);
        }
        world.pool().validate().unwrap();
        world.assert_healed();
    });
}

#[test]
fn a_frame_that_is_used_where_it_was_before_the_move_is_found() {
    in_world(1, 16 * MIB, 16, |world, cpu| {
        assert_eq!(take_out_of_scattered(world, cpu.pinned(), Moving::TargetLost).len(), 512 / 64);
    });
}

#[test]
fn a_frame_that_is_moved_without_its_contents_is_found() {
    in_world(1, 16 * MIB, 16, |world, cpu| {
        assert_eq!(take_out_of_scattered(world, cpu.pinned(), Moving::ContentsLost).len(), 512 / 64);
    });
}
