//! Frames that fail on purpose: whichever allocation of a frame fails, the error reaches the caller and nothing is
//! lost.

use core::alloc::Layout;
use std::vec::Vec;

use super::world::*;
use crate::{AllocError, CacheSpec, CheckList, Checks, Config, RawCache, SpecError};

/// Does everything while the n-th frame cannot be had: each kind of memory that this crate takes. Says what failed.
fn work(world: &World) -> usize {
    let mut failures = 0;
    let sizes = [8, 64, 1488, 32768, 40_000, 300_000];
    let mut held = Vec::new();
    for size in sizes {
        let layout = Layout::from_size_align(size, 8).unwrap();
        for _ in 0..70 {
            match world.slabs.alloc(pinned(), layout) {
                Ok(object) => held.push((object, layout)),
                Err(AllocError::Exhausted) => failures += 1,
                Err(error) => panic!("{error}"),
            }
            if size > 32768 {
                break;
            }
        }
        world.slabs.validate(pinned()).unwrap();
    }
    match RawCache::new(world.slabs, pinned(), &CacheSpec::new("quarantined", 50)) {
        Ok(cache) => {
            match cache.alloc(pinned()) {
                // SAFETY: an object of this cache.
                Ok(object) => unsafe { cache.free(pinned(), object) },
                Err(_) => failures += 1,
            }
            cache.destroy(pinned()).unwrap();
        }
        Err(SpecError::NoMemory) => failures += 1,
        Err(error) => panic!("{error}"),
    }
    // SAFETY: each came with this layout.
    held.into_iter().for_each(|(object, layout)| unsafe { world.slabs.free(pinned(), object, layout) });
    world.slabs.validate(pinned()).unwrap();
    failures
}

#[test]
fn whichever_frame_cannot_be_had() {
    let checks = CheckList::parse("FZPUQ,quarantined").unwrap();
    assert!(checks.of("quarantined").has(Checks::QUARANTINE));
    let (mut failed, mut survived) = (0, 0);
    let new_world =
        || World::new(4096, 1, Config { checks, report: |report| panic!("{report}"), ..Config::new(1) });
    // The CPU's lines of the caches are made at their first use, and stay.
    let own_bytes = {
        let world = new_world();
        assert_eq!(work(&world), 0);
        world.slabs.reclaim(pinned());
        world.slabs.totals().own_bytes
    };
    for after in (0..200).step_by(3) {
        // Without frames in the CPU's magazines every frame passes where it can fail.
        let world = new_world();
        world.frames.drain(pinned());
        world.frames.fail_after(after);
        let failures = work(&world);
        world.frames.fail_after(u64::MAX - 1);
        failed += usize::from(failures > 0);
        survived += usize::from(failures == 0);
        assert!(failures <= 2, "one frame, {failures} failures");
        world.slabs.reclaim(pinned());
        let totals = world.slabs.totals();
        assert_eq!((totals.live_bytes, totals.held_bytes), (0, totals.own_bytes), "after {after}");
        assert!(totals.own_bytes <= own_bytes, "after {after}: a record was lost");
        assert_eq!((totals.faults, world.frames.refused_frees()), (0, 0));
        world.frames.validate().unwrap();
    }
    assert!(failed > 5 && survived > 5, "{failed} {survived}");
}
