//! Limits (I11): at its limit an owner is served from blocks that are out already, or refused.

use rhumb_directmap::ChangeError;
use rhumb_machine::{Order, PageSize};
use rhumb_unmapped::pool::{Account, Limits, PoolError};

use crate::world::*;

#[test]
fn i11_at_the_limit_of_blocks_others_blocks_serve_and_then_nothing() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let map_owner = world.map_owner(BOB);
        pool.open_account(BOB, Account::new(map_owner, Limits { blocks: 1, frames: u64::MAX })).unwrap();
        let mut held: Vec<_> = (0..512).map(|_| world.take(cpu.pinned(), BOB).unwrap()).collect();
        let over = Some(PoolError::OverBlocks { owner: BOB, limit: 1 });
        assert_eq!(world.take(cpu.pinned(), BOB).err(), over);
        assert_eq!(pool.grow(cpu.pinned(), BOB, PageSize::Size2M).err(), over);
        // A block of another's has room.
        held.push(world.take(cpu.pinned(), ALICE).unwrap());
        held.extend((0..511).map(|_| world.take(cpu.pinned(), BOB).unwrap()));
        assert_eq!(world.take(cpu.pinned(), BOB).err(), over);
        let (alice, bob) = (pool.account(ALICE).unwrap(), pool.account(BOB).unwrap());
        assert_eq!((alice.blocks(), alice.frames(), bob.blocks(), bob.frames()), (1, 1, 1, 1023));
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
fn i11_frames_have_a_limit_too() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let limits = Limits { blocks: u64::MAX, frames: 10 };
        pool.open_account(BOB, Account::new(world.map_owner(BOB), limits)).unwrap();
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
fn i11_the_maps_own_limit_on_broken_pages_refuses_and_leaves_all_as_it_was() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let bob = world.map_owner(BOB);
        world.map.lock().unwrap().set_limit(bob, 0);
        let refused = world.take(cpu.pinned(), BOB).err();
        assert!(matches!(refused, Some(PoolError::Change(ChangeError::OverLimit { .. }))), "{refused:?}");
        pool.validate().unwrap();
        world.assert_healed();
        // Served from what another has broken.
        let first = world.take(cpu.pinned(), ALICE).unwrap();
        let second = world.take(cpu.pinned(), BOB).unwrap();
        [first, second].into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        world.assert_healed();
    });
}
