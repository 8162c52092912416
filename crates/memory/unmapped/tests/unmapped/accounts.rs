//! Limits (I11): they bound what owners do alone and together.

use rhumb_directmap::{ChangeError, Limits as MapLimits};
use rhumb_hosted::mmu::MmuConfig;
use rhumb_machine::{Block, CpuId, Order, PageSize};
use rhumb_unmapped::planted::{self, Fault};
use rhumb_unmapped::{Limits, PoolError};

use crate::world::*;

#[test]
fn i11_at_its_limit_an_owner_is_served_from_its_blocks_and_then_refused() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        pool.open_account(BOB, Limits { blocks: 1, ..Limits::NONE }).unwrap();
        let mut held: Vec<_> = (0..512).map(|_| world.take(cpu.pinned(), BOB).unwrap()).collect();
        let over = Some(PoolError::OverBlocks { owner: BOB, limit: 1 });
        assert_eq!(world.take(cpu.pinned(), BOB).err(), over);
        assert_eq!(pool.grow(cpu.pinned(), BOB).err(), over);
        // Another's block has room, but is the other's.
        held.push(world.take(cpu.pinned(), ALICE).unwrap());
        assert_eq!(world.take(cpu.pinned(), BOB).err(), over);
        let (alice, bob) = (pool.account(ALICE).unwrap(), pool.account(BOB).unwrap());
        assert_eq!((alice.blocks(), alice.frames(), bob.blocks(), bob.frames()), (1, 1, 1, 512));
        pool.validate().unwrap();
        assert_eq!(pool.close_account(BOB), Err(PoolError::AccountInUse { owner: BOB }));
        held.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        assert_eq!((pool.account(BOB).unwrap().blocks(), pool.account(BOB).unwrap().frames()), (0, 0));
        pool.close_account(BOB).unwrap();
        assert_eq!(world.take(cpu.pinned(), BOB).err(), Some(PoolError::NoAccount { owner: BOB }));
        world.assert_healed();
    });
}

#[test]
fn i11_a_helper_cannot_keep_blocks_out_for_another() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        pool.open_account(BOB, Limits { blocks: 0, frames: 8, block_ns: 0 }).unwrap();
        for _ in 0..8 {
            // The helper breaks a block, the other gets what it can of it, the helper gives back.
            let mut helper: Vec<_> = (0..512).map(|_| world.take(cpu.pinned(), ALICE).unwrap()).collect();
            pool.give(cpu.pinned(), helper.swap_remove(100)).unwrap();
            let taken = world.take(cpu.pinned(), BOB).map(|frame| frame.into_pfn());
            assert_eq!(taken, Err(PoolError::OverBlocks { owner: BOB, limit: 0 }));
            helper.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
            assert_eq!(pool.counters().blocks(), 0);
        }
        world.assert_healed();
    });
}

#[test]
fn i11_no_block_has_frames_of_two_owners_and_each_is_charged() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        pool.keep_blocks(4);
        let (mut random, mut held) = (Random(9), Vec::new());
        for _ in 0..3000 {
            if random.below(100) < 55 {
                let owner = if random.below(2) == 0 { ALICE } else { BOB };
                let order = Order::new(random.below(8) as u8).unwrap();
                held.push((owner, pool.take(cpu.pinned(), owner, order).unwrap()));
            } else if !held.is_empty() {
                let (_, frame) = held.swap_remove(random.below(held.len() as u64) as usize);
                pool.give(cpu.pinned(), frame).unwrap();
            }
        }
        for owner in [ALICE, BOB] {
            let blocks_of = |of| {
                let own = held.iter().filter(move |(owner, _)| *owner == of);
                let blocks = own.map(|(_, frame)| Block::around(frame.pfn(), PageSize::Size2M).start());
                blocks.collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(pool.account(owner).unwrap().blocks(), blocks_of(owner).len() as u64);
            assert!(blocks_of(ALICE).is_disjoint(&blocks_of(BOB)));
        }
        pool.validate().unwrap();
        pool.keep_blocks(0);
        held.into_iter().for_each(|(_, frame)| pool.give(cpu.pinned(), frame).unwrap());
        world.assert_healed();
    });
}

#[test]
fn i11_frames_have_a_limit_too() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        pool.open_account(BOB, Limits { frames: 10, ..Limits::NONE }).unwrap();
        let frame = pool.take(cpu.pinned(), BOB, Order::new(3).unwrap()).unwrap();
        let over = Some(PoolError::OverFrames { owner: BOB, limit: 10 });
        assert_eq!(pool.take(cpu.pinned(), BOB, Order::new(2).unwrap()).err(), over);
        let two = [world.take(cpu.pinned(), BOB).unwrap(), world.take(cpu.pinned(), BOB).unwrap()];
        assert_eq!(world.take(cpu.pinned(), BOB).err(), over);
        two.into_iter().chain([frame]).for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        world.assert_healed();
    });
}

#[test]
fn i11_blocks_leave_the_map_for_an_owner_only_so_often() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        pool.open_account(BOB, Limits { blocks: 3, block_ns: HOUR_NS, ..Limits::NONE }).unwrap();
        // Three at once, and then one each hour, however many it has.
        for _ in 0..3 {
            let frame = world.take(cpu.pinned(), BOB).unwrap();
            pool.give(cpu.pinned(), frame).unwrap();
        }
        let before = pool.counters();
        let refused = world.take(cpu.pinned(), BOB).err();
        let is_told_when = |wait_ns: u64| wait_ns > 0 && wait_ns <= HOUR_NS;
        assert!(
            matches!(refused, Some(PoolError::TooFast { owner: BOB, wait_ns }) if is_told_when(wait_ns)),
            "{refused:?}"
        );
        assert_eq!(pool.counters(), before);
        pool.validate().unwrap();
        // Frames that are out already cost no change of the map.
        pool.keep_blocks(4);
        let spare = world.take(cpu.pinned(), ALICE).unwrap();
        pool.give(cpu.pinned(), spare).unwrap();
        let frame = world.take(cpu.pinned(), BOB).unwrap();
        pool.give(cpu.pinned(), frame).unwrap();
        pool.shrink(cpu.pinned(), 0);
        world.assert_healed();
    });
}

/// A block that is sought, cleared and refused by the map has cost as much as one that left it.
#[test]
fn i11_an_owner_that_fails_again_and_again_has_to_wait_like_others() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        pool.open_account(BOB, Limits { blocks: 3, block_ns: HOUR_NS, ..Limits::NONE }).unwrap();
        let limit = |limits| world.map.lock().unwrap().set_limits(world.pool_owner, limits).unwrap();
        limit(MapLimits::of_breaks(0));
        for attempt in 0..10 {
            let refused = world.take(cpu.pinned(), BOB).err();
            let is_as_due = match refused {
                Some(PoolError::Change(_)) => attempt < 3,
                Some(PoolError::TooFast { owner: BOB, .. }) => attempt >= 3,
                _ => false,
            };
            assert!(is_as_due, "attempt {attempt}: {refused:?}");
        }
        let bob = pool.account(BOB).unwrap();
        assert_eq!((bob.blocks(), bob.frames(), pool.counters().frames_out), (0, 0, 0));
        limit(MapLimits::NONE);
        pool.validate().unwrap();
        world.assert_healed();
    });
}

#[test]
fn i11_the_maps_own_limit_on_broken_pages_refuses_and_leaves_all_as_it_was() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        world.map.lock().unwrap().set_limits(world.pool_owner, MapLimits::of_breaks(0)).unwrap();
        let refused = world.take(cpu.pinned(), BOB).err();
        assert!(matches!(refused, Some(PoolError::Change(ChangeError::OverLimit { .. }))), "{refused:?}");
        let bob = pool.account(BOB).unwrap();
        assert_eq!((bob.blocks(), bob.frames(), pool.counters().frames_out), (0, 0, 0));
        pool.validate().unwrap();
        world.assert_healed();
    });
}

#[test]
fn a_large_load_keeps_an_eighth_of_its_blocks() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let mut held: Vec<_> =
            (0..80).map(|_| pool.take(cpu.pinned(), ALICE, Order::LARGE).unwrap()).collect();
        let before = pool.counters().blocks_taken;
        for _ in 0..5 {
            for _ in 0..8 {
                pool.give(cpu.pinned(), held.pop().unwrap()).unwrap();
            }
            held.extend((0..8).map(|_| pool.take(cpu.pinned(), ALICE, Order::LARGE).unwrap()));
        }
        assert_eq!(pool.counters().blocks_taken, before, "a swing by a tenth took blocks");
        held.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        world.assert_healed();
    });
}

#[test]
fn cpus_that_find_nothing_at_once_take_one_block() {
    let world = World::new(4, 256 << 20, 64, MmuConfig::plain(3));
    let all_ask = std::sync::Barrier::new(4);
    for turn in 0..8 {
        let frames = world.machine.run_on(world.machine.cpus(), |cpu| {
            all_ask.wait();
            world.take(cpu.pinned(), ALICE).unwrap()
        });
        let frames = frames.unwrap();
        world
            .machine
            .enter(CpuId::BOOT, |cpu| {
                assert_eq!(world.pool().counters().blocks_taken, turn + 1);
                frames.into_iter().for_each(|frame| world.pool().give(cpu.pinned(), frame).unwrap());
                world.pool().validate().unwrap();
            })
            .unwrap();
    }
}

/// Gives the only frame of a full block while another taker asks; returns whether it got a frame that is not zero, or
/// that the giver still has.
fn next_taker_sees_something(world: &'static World, pinned: rhumb_machine::Pinned<'_>) -> bool {
    let mut held: Vec<_> = (0..512).map(|_| world.take(pinned, ALICE).unwrap()).collect();
    let mut given = held.pop().unwrap();
    world.windows.copy_to(&mut given, 0, b"a secret").unwrap();
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (tell, at) = (seen.clone(), given.pfn());
    *world.before_zeroing.lock().unwrap() = Some(Box::new(move |world| {
        let pin = rhumb_machine::Machine::pin(&world.machine);
        let taken = world.take(pin.pinned(), ALICE).unwrap();
        let mut read = [1; 8];
        world.windows.copy_from(&taken, 0, &mut read).unwrap();
        tell.store(taken.pfn() == at || read != [0; 8], std::sync::atomic::Ordering::Relaxed);
        let _ = taken.into_pfn();
    }));
    world.pool().give(pinned, given).unwrap();
    held.into_iter().for_each(|frame| {
        let _ = frame.into_pfn();
    });
    seen.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn i5_a_frame_is_zero_before_the_next_taker_can_have_it() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        assert!(!next_taker_sees_something(world, cpu.pinned()));
    });
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let seen =
            planted::with(Fault::ListedBeforeZeroed, || next_taker_sees_something(world, cpu.pinned()));
        assert!(seen, "the planted fault was not seen");
    });
}

#[test]
fn i11_an_account_is_not_closed_to_be_rid_of_a_debt() {
    in_world(1, GIB, 64, |world, cpu| {
        let pool = world.pool();
        let limits = Limits { blocks: 1, frames: 512, block_ns: u64::MAX / 4 };
        pool.open_account(BOB, limits).unwrap();
        let frame = world.take(cpu.pinned(), BOB).unwrap();
        pool.give(cpu.pinned(), frame).unwrap();
        assert!(matches!(pool.close_account(BOB), Err(PoolError::TooFast { owner: BOB, .. })));
        pool.shrink(cpu.pinned(), 0);
        assert!(matches!(world.take(cpu.pinned(), BOB), Err(PoolError::TooFast { owner: BOB, .. })));
        world.assert_healed();
    });
}
