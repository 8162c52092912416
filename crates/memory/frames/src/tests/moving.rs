//! Compaction and contiguous allocation, and what stays when an owner refuses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::vec::Vec;

use rhumb_machine::{Order, Pfn, Pinned};

use super::machine::*;
use crate::{AllocError, Anywhere, Extent, Frame, Frames, Goal, NothingMoves, Owner, Relocate, Request};

const BASE: u64 = 1 << 20;

/// Owns frames, and refuses to move after a number of moves.
pub(super) struct Mover {
    pub(super) held: RefCell<BTreeMap<u64, Frame<Anywhere>>>,
    pub(super) moves_left: Cell<u64>,
}

// SAFETY: what moves is a handle that the test holds, and the old one is given up.
unsafe impl Relocate for Mover {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        let held = self.held.borrow();
        let (_, frame) = held.range(..=pfn.get()).next_back()?;
        let inside = pfn.get() < frame.pfn().get() + frame.order().frames();
        inside.then_some(Extent { start: frame.pfn(), order: frame.order() })
    }

    fn relocate(&self, _: Pinned<'_>, from: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        if self.moves_left.get() == 0 {
            return Err(to);
        }
        self.moves_left.set(self.moves_left.get() - 1);
        let mut held = self.held.borrow_mut();
        held.remove(&from.start.get()).unwrap().into_pfn();
        held.insert(to.pfn().get(), to);
        Ok(())
    }
}

/// Makes every block of the memory three quarters empty.
pub(super) fn scattered(blocks: u64, order: u8) -> (Frames<TestMachine>, Mover) {
    let frames = frames_over(1, &[(BASE, BASE + blocks * 512, 0)]);
    let request = Request::new(Order::new(order).unwrap()).movable();
    let all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect();
    let mut held = BTreeMap::new();
    for (index, frame) in all.into_iter().enumerate() {
        if index % 4 == 0 {
            held.insert(frame.pfn().get(), frame.into_anywhere());
        } else {
            frames.free(pinned(), frame);
        }
    }
    frames.drain(pinned());
    (frames, Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) })
}

#[test]
fn compaction_reaches_the_ideal() {
    for order in [0, 2, 5, 7] {
        let (frames, mover) = scattered(32, order);
        assert_eq!(frames.free_large_blocks(), 0);
        let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
        frames.validate().unwrap();
        assert_eq!(frames.free_large_blocks(), 24, "order {order}: {done:?}");
        assert_eq!((done.blocks, done.moved), (24, 24 * 128));
    }
}

#[test]
fn what_is_moved_keeps_its_owner_and_what_is_not_named_stays_unnamed() {
    let frames = frames_over(1, &[(BASE, BASE + 4 * 512, 0)]);
    // SAFETY: the array covers every block of the memory.
    let frames = unsafe { frames.with_descriptors(descriptors(BASE + 2048)) };
    let order = Order::new(2).unwrap();
    let request = Request::new(order).movable();
    let all: Vec<_> = (0..512)
        .map(|index| if index % 16 == 0 { request.owner(Owner(7)) } else { request })
        .map_while(|request| frames.alloc(pinned(), request).ok())
        .collect();
    let mut held = BTreeMap::new();
    for (index, frame) in all.into_iter().enumerate() {
        if index % 8 == 0 {
            held.insert(frame.pfn().get(), frame.into_anywhere());
        } else {
            frames.free(pinned(), frame);
        }
    }
    frames.drain(pinned());
    let mover = Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) };
    let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
    assert!(done.moved > 0, "{done:?}");
    let owners = |owner| {
        let held = mover.held.borrow();
        let is_its = |pfn: &&u64| frames.describe(Pfn::new(**pfn)).is_some_and(|known| known.owner == owner);
        held.keys().filter(is_its).count()
    };
    assert_eq!((owners(Owner(7)), owners(Owner::NONE)), (32, 32));
    // The handles know it: freed, they name no owner.
    let held = mover.held.into_inner();
    let places: Vec<_> = held.keys().copied().collect();
    held.into_values().for_each(|frame| frames.free(pinned(), frame));
    assert!(places.iter().all(|&pfn| frames.describe(Pfn::new(pfn)).unwrap().owner == Owner::NONE));
    frames.validate().unwrap();
}

#[test]
fn refusal_at_the_nth_move_loses_nothing() {
    for moves in 0..40 {
        let (frames, mover) = scattered(4, 2);
        let free = frames.free_frames();
        mover.moves_left.set(moves);
        let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
        frames.validate().unwrap();
        assert_eq!((frames.free_frames(), done.blocks), (free, moves / 32));
        // And for a range in the middle of it.
        mover.moves_left.set(moves);
        let wanted = range(BASE + 700, BASE + 1100);
        match frames.alloc_range(pinned(), wanted, &mover) {
            Ok(got) => {
                assert_eq!((got.frames(), frames.free_frames()), (wanted, free - 400));
                frames.validate().unwrap();
                frames.free_range(pinned(), got).unwrap();
            }
            Err(error) => assert!(matches!(error, AllocError::Unmovable(_) | AllocError::Exhausted(_))),
        }
        frames.validate().unwrap();
        assert_eq!(frames.free_frames(), free);
        mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
        frames.drain(pinned());
        frames.validate().unwrap();
        assert_eq!(frames.free_large_blocks(), 4);
    }
}

#[test]
fn a_range_is_cleared_of_large_blocks_too() {
    let (frames, mover) = scattered(8, 9);
    let wanted = range(BASE + 100, BASE + 5 * 512);
    let got = frames.alloc_range(pinned(), wanted, &mover).unwrap();
    frames.validate().unwrap();
    assert!(mover.held.borrow().keys().all(|&pfn| !wanted.contains(Pfn::new(pfn))));
    frames.free_range(pinned(), got).unwrap();
    frames.validate().unwrap();
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    assert_eq!(frames.free_large_blocks(), 8);
}

#[test]
fn what_cannot_be_moved_is_named_with_its_owner() {
    let (frames, mover) = scattered(4, 3);
    let descriptors = descriptors(BASE + 2048);
    // SAFETY: the array covers every block of the memory.
    let frames = unsafe { frames.with_descriptors(descriptors) };
    let owned = Request::new(Order::new(1).unwrap()).owner(Owner(7));
    let frame = frames.alloc(pinned(), owned).unwrap();
    let at = frames.describe(frame.pfn()).unwrap();
    assert_eq!((at.owner, frame.order().get()), (Owner(7), 1));
    let start = frame.pfn().get() / 512 * 512;
    let whole = range(start, start + 512);
    // Its movable neighbours may go, but it stays and is named.
    let error = frames.alloc_range(pinned(), whole, &mover).unwrap_err();
    assert_eq!(error, AllocError::Unmovable(frame.pfn()));
    frames.free(pinned(), frame);
    frames.validate().unwrap();
}

#[test]
fn after_churn_compaction_leaves_97_per_cent() {
    const BLOCKS: u64 = 256;
    let frames = frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0)]);
    let mut seed = 1u64;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % bound
    };
    // Orders 0 to 9 at three quarters full, each block replaced several times.
    let (mut live, mut used) = (Vec::new(), 0);
    for _ in 0..12_000 {
        let order = Order::new((0..9).take_while(|_| random(3) > 0).count() as u8).unwrap();
        while used + order.frames() > BLOCKS * 512 * 3 / 4 {
            let frame: Frame = live.swap_remove(random(live.len()));
            used -= frame.order().frames();
            frames.free(pinned(), frame);
        }
        used += order.frames();
        live.push(frames.alloc(pinned(), Request::new(order).movable()).unwrap());
    }
    let held = live.into_iter().map(|frame| (frame.pfn().get(), frame.into_anywhere())).collect();
    let mover = Mover { held: RefCell::new(held), moves_left: Cell::new(u64::MAX) };
    let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
    frames.validate().unwrap();
    let ideal = (BLOCKS * 512 - used) / 512;
    assert!(
        frames.free_large_blocks() * 100 >= ideal * 97,
        "{} of {ideal}: {done:?}",
        frames.free_large_blocks()
    );
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
}

/// Frees a large block while a range that has it in it is being emptied.
struct FreesMeanwhile<'frames> {
    frames: &'frames Frames<TestMachine>,
    kept: RefCell<Vec<Frame>>,
}

// SAFETY: it names no block.
unsafe impl Relocate for FreesMeanwhile<'_> {
    fn extent(&self, _: Pfn) -> Option<Extent> {
        self.kept.borrow_mut().drain(..).for_each(|frame| self.frames.free(pinned(), frame));
        self.frames.drain(pinned());
        None
    }

    fn relocate(&self, _: Pinned<'_>, _: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        Err(to)
    }
}

#[test]
fn a_large_block_that_is_freed_meanwhile_is_given_out_once() {
    for order in [9, 10] {
        let frames = frames_over(1, &[(BASE, BASE + 4 * 512, 0)]);
        let request = Request::new(Order::new(order).unwrap()).movable();
        let large = frames.alloc(pinned(), request).unwrap();
        let small = frames.alloc(pinned(), Request::FRAME).unwrap();
        // The range begins at the frame that is looked at first, and has part of the large block behind it.
        let window = range(small.pfn().get() / 512 * 512, large.pfn().get() + 300);
        let owner = FreesMeanwhile { frames: &frames, kept: RefCell::new([large].into()) };
        let taken = frames.alloc_range(pinned(), window, &owner);
        assert_eq!(taken.unwrap_err(), AllocError::Unmovable(window.start()));
        frames.validate().unwrap();
        frames.free(pinned(), small);
        frames.drain(pinned());
        // Again, with the large block freed by another CPU's drain, and nothing in the way.
        let large = frames.alloc(pinned(), request).unwrap();
        let window = range(large.pfn().get(), large.pfn().get() + 700.min(large.order().frames()));
        let pool = frames.zones.pool_of(window.start()).unwrap();
        let isolated = frames.isolate_range(pool, window).unwrap();
        frames.free(pinned(), large);
        frames.drain(pinned());
        assert!(pool.next_in_use(window.start(), window.end()).is_none(), "it is free now");
        let others: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
        assert!(others.iter().all(|frame| !window.contains(frame.pfn())), "and given to no caller");
        frames.claim_range(pool, window).unwrap();
        drop(isolated);
        frames.validate().unwrap();
        // SAFETY: the range was claimed here.
        frames.free_range(pinned(), unsafe { crate::FrameRange::assume(window) }).unwrap();
        others.into_iter().for_each(|frame| frames.free(pinned(), frame));
        frames.drain(pinned());
        frames.validate().unwrap();
        assert_eq!(frames.free_large_blocks(), 4);
    }
}

#[test]
fn a_range_with_a_frame_in_use_is_not_claimed() {
    let frames = frames_over(1, &[(BASE, BASE + 4 * 512, 0)]);
    let all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    let (kept, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|frame| frame.pfn().get() == BASE + 900);
    rest.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    let (window, free) = (range(BASE + 100, BASE + 1200), frames.free_frames());
    let pool = frames.zones.pool_of(window.start()).unwrap();
    let isolated = frames.isolate_range(pool, window).unwrap();
    let claimed = frames.claim_range(pool, window);
    assert_eq!(claimed, Err(AllocError::Unmovable(Pfn::new(BASE + 900))));
    drop(isolated);
    frames.validate().unwrap();
    assert_eq!(frames.free_frames(), free);
    kept.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

/// Names a block of another order than it has.
struct Mistaken(u8, Cell<u64>);

// SAFETY: it moves nothing.
unsafe impl Relocate for Mistaken {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        let order = Order::new(self.0).unwrap();
        Some(Extent { start: Pfn::new(pfn.get() & !(order.frames() - 1)), order })
    }

    fn relocate(&self, _: Pinned<'_>, _: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        self.1.set(self.1.get() + 1);
        Err(to)
    }
}

#[test]
fn an_owner_that_names_another_order_is_not_believed() {
    for (real, named) in [(10, 9), (9, 10), (9, 0), (0, 9), (10, 11)] {
        let frames = frames_over(1, &[(BASE, BASE + 8 * 512, 0)]);
        let frame = frames.alloc(pinned(), Request::new(Order::new(real).unwrap()).movable()).unwrap();
        let owner = Mistaken(named, Cell::new(0));
        let got = frames.alloc_range(pinned(), range(frame.pfn().get(), frame.pfn().get() + 1), &owner);
        assert_eq!(got.unwrap_err(), AllocError::Unmovable(frame.pfn()));
        assert_eq!(owner.1.get(), 0, "{real} named {named}");
        frames.validate().unwrap();
        frames.free(pinned(), frame);
    }
}

#[test]
fn an_owner_that_panics_leaves_no_block_isolated() {
    struct Panics;
    // SAFETY: it names no block.
    unsafe impl Relocate for Panics {
        fn extent(&self, _: Pfn) -> Option<Extent> {
            panic!("on purpose")
        }
        fn relocate(&self, _: Pinned<'_>, _: Extent, to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
            Err(to)
        }
    }
    let (frames, mover) = scattered(8, 0);
    let caught = |work: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
    assert!(caught(&|| {
        let _ = frames.compact(pinned(), node(0), Goal::Anything, &Panics, u64::MAX);
    }));
    assert!(caught(&|| {
        let _ = frames.alloc_range(pinned(), range(BASE, BASE + 2048), &Panics);
    }));
    frames.validate().unwrap();
    let is_isolated = |block: &crate::pool::block::Block| block.info().is_isolated();
    assert!(!frames.zones.pools.get(0).unwrap().blocks.iter().any(is_isolated));
    let done = frames.compact(pinned(), node(0), Goal::Anything, &mover, u64::MAX);
    assert_eq!(done.blocks, 6);
    assert!(matches!(
        frames.alloc_range(pinned(), range(BASE + 4096, BASE + 8192), &NothingMoves),
        Err(AllocError::BadRange(_))
    ));
    mover.held.into_inner().into_values().for_each(|frame| frames.free(pinned(), frame));
}
