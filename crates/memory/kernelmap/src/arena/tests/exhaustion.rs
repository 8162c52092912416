//! Exhaustion: of units, of tags, of all frames. The caller gets an error, and all is as before (I10, I12).
#![expect(unsafe_code, reason = "frees objects of the slab allocator")]

use std::vec::Vec;

use rhumb_frames::Request;
use rhumb_machine::Order;

use super::world::*;
use crate::arena::failing::{self, Failing};
use crate::{ArenaError, Fit};

/// Everything there is, as small ranges: the last is followed by an error, and a free makes room for another.
#[test]
fn i12_all_units_can_be_had_and_no_more() {
    let world = World::new(5000, 2);
    for units in [1, 3, 16, 20] {
        let held: Vec<_> = core::iter::from_fn(|| world.alloc(units)).collect();
        assert_eq!(held.len() as u64, 5000 / units);
        let one = Fit::new(units).unwrap();
        assert_eq!(world.arena.alloc(pinned(), one).err(), Some(ArenaError::Exhausted));
        world.arena.validate(pinned()).unwrap();
        held.into_iter().for_each(|range| world.free(range));
        world.assert_whole(1);
    }
}

/// A CPU that keeps ranges is asked for them by a request that would fail, and gives them back at its tick.
#[test]
fn units_that_another_cpu_keeps_come_back() {
    let world = World::new(400, 2);
    be_cpu(1);
    let held: Vec<_> = (0..40).map(|_| world.alloc(1).unwrap()).collect();
    held.into_iter().for_each(|range| world.free(range));
    let kept = world.arena.report().kept_units;
    assert!(kept > 0);
    be_cpu(0);
    assert!(world.alloc(400).is_none());
    be_cpu(1);
    world.arena.tick(pinned());
    assert_eq!(world.arena.report().kept_units, 0);
    be_cpu(0);
    let all = world.alloc(400).unwrap();
    world.free(all);
    world.assert_whole(1);
}

/// Whichever tag cannot be had, the request fails, or does without, and nothing is lost.
#[test]
fn i12_whichever_tag_cannot_be_had() {
    let mut failures = 0;
    for (after, failing) in (0..60).flat_map(|after| [(after, Failing::One), (after, Failing::All)]) {
        let world = World::new(1 << 16, 1);
        let mut held = Vec::new();
        failing::after(after, failing);
        for turn in 0..40 {
            let fit = Fit::new(1 + turn * 7 % 40).unwrap();
            let fit = if turn % 3 == 0 { fit.aligned(64, 3).unwrap() } else { fit };
            let before = world.arena.report();
            match world.arena.alloc(pinned(), fit) {
                Ok(range) => held.push(range),
                Err(ArenaError::NoTag(_)) => {
                    failures += 1;
                    assert_eq!(world.arena.report(), before);
                }
                Err(error) => panic!("{error}"),
            }
            world.arena.validate(pinned()).unwrap();
        }
        // A free asks for no tag.
        failing::after(0, Failing::All);
        held.into_iter().for_each(|range| world.free(range));
        failing::end();
        world.assert_whole(1);
    }
    assert!(failures > 100, "{failures}");
}

/// The slab allocator has no frame left: requests fail that lack a tag, frees go on, and afterwards so do requests.
#[test]
fn i10_no_frame_is_left() {
    let world = World::with_frames(512, 1 << 30, 1);
    let mut frames: Vec<_> =
        core::iter::from_fn(|| world.frames.alloc(pinned(), Request::new(Order::BASE)).ok()).collect();
    let mut held = Vec::new();
    let error = loop {
        match world.arena.alloc(pinned(), Fit::new(20).unwrap()) {
            Ok(range) => held.push(range),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ArenaError::NoTag(_)), "{error}");
    world.arena.validate(pinned()).unwrap();
    // Ranges that adjoin nothing free: each stays a range of its own, and its tag with it.
    let others: Vec<_> = held.extract_if(.., |range| range.range().start() / 20 % 2 == 0).collect();
    let out = world.arena.report().ranges_out;
    others.into_iter().for_each(|range| world.free(range));
    assert!(world.arena.report().ranges_out < out);
    world.arena.validate(pinned()).unwrap();
    // The exact size of a free range needs no tag.
    held.push(world.alloc(20).unwrap());
    frames.drain(..).for_each(|frame| world.frames.free(pinned(), frame));
    held.push(world.alloc(21).unwrap());
    held.into_iter().for_each(|range| world.free(range));
    world.assert_whole(1);
}

/// The arena has no unit left, and the slab allocator, which takes nothing from it, goes on.
#[test]
fn i10_the_slab_allocator_needs_no_unit() {
    let world = World::new(100, 1);
    let all = world.alloc(100).unwrap();
    assert!(world.alloc(1).is_none());
    let layout = core::alloc::Layout::new::<[u64; 100]>();
    let objects: Vec<_> = (0..500).map(|_| world.slabs.alloc(pinned(), layout).unwrap()).collect();
    // SAFETY: objects of this layout that no code uses any more.
    objects.into_iter().for_each(|object| unsafe { world.slabs.free(pinned(), object, layout) });
    world.free(all);
    world.assert_whole(1);
}
