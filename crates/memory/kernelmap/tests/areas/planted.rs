//! The tests see what they are for: a flush that does not reach all CPUs.

use rhumb_hosted::mmu::{MmuConfig, Use};
use rhumb_kernelmap::{AreaRequest, FlushPolicy};

use crate::world::{MIB, World, as_cpu_0};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn a_flush_that_leaves_out_a_cpu_is_seen_under_each_policy() {
    for policy in FlushPolicy::ALL {
        let world = World::new(2, 64 * MIB, MmuConfig::plain(1));
        world.ground.plant.flushes_here_alone.store(1, Relaxed);
        as_cpu_0(world, |pinned| {
            world.map.set_policy(pinned, policy);
            let area = world.map.alloc(pinned, AreaRequest::new(1)).unwrap();
            world.touch(1, area.start(), Use::Write);
            world.map.free(pinned, area).unwrap();
            assert_eq!(world.mmu().take_reports().is_empty(), policy != FlushPolicy::Eager, "{policy}");
            for _ in 0..300 {
                let area = world.map.alloc(pinned, AreaRequest::new(1)).unwrap();
                world.map.free(pinned, area).unwrap();
            }
            if policy != FlushPolicy::Eager {
                assert_ne!(world.mmu().take_reports(), [], "{policy}");
            }
        });
    }
}
