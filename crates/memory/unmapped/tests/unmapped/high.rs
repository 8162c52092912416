//! Blocks past the end of the direct map: the pool has them first, and the map hears nothing of them.

use rhumb_frames::{Frame, NothingMoves, Request, Unmapped, Zone};
use rhumb_hosted::mmu::Fault;
use rhumb_machine::{CpuId, Order};
use rhumb_unmapped::PoolError;
use rhumb_windows::error::{CopyError, WindowError};

use crate::world::*;

const MIB: u64 = 1 << 20;

/// Runs `body` on a machine with 32 MiB in the map and 32 past it.
fn in_high_world(body: impl FnOnce(&'static World, &rhumb_hosted::Cpu<'_>) + Send) {
    let world = World::with_high_memory(2, 32 * MIB, 16);
    world.machine.enter(CpuId::BOOT, |cpu| body(world, cpu)).unwrap();
}

#[test]
fn i5_i6_a_block_past_the_map_is_clean_and_costs_the_map_nothing() {
    in_high_world(|world, cpu| {
        let pool = world.pool();
        let old = world.frames.alloc_anywhere(cpu.pinned(), Request::LARGE).unwrap();
        let pfn = old.pfn();
        assert!(old.is_high());
        (0..512).for_each(|page| world.poke(pfn.plus(page), page, 0xaa));
        world.frames.free(cpu.pinned(), old);
        let before = world.machine.counters();
        let mut frame: Frame<Unmapped> = pool.take(cpu.pinned(), ALICE, Order::new(3).unwrap()).unwrap();
        assert!(frame.is_high());
        assert_eq!(world.read_mapped(1, frame.pfn()), Err(Fault::NotPresent));
        let mut read = [1; 8 * 4096];
        world.windows.copy_from(&frame, 0, &mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 0), "the last owner's data");
        world.windows.copy_to(&mut frame, 4000, &[0x55; 4096]).unwrap();
        pool.validate().unwrap();
        assert_eq!(pool.owner_of(frame.pfn()), Some(ALICE));
        let frames = frame.frames();
        pool.give(cpu.pinned(), frame).unwrap();
        assert!(world.is_zero(frames), "the secret");
        assert_eq!((pool.counters().flushes, pool.counters().blocks()), (0, 0));
        assert_eq!(world.machine.counters().remote_flushes, before.remote_flushes);
        assert_eq!(world.map.lock().unwrap().splits().count(), 0);
        pool.validate().unwrap();
        world.assert_healed();
    });
}

#[test]
fn blocks_of_the_map_follow_when_none_past_it_is_left_and_all_go_home() {
    in_high_world(|world, cpu| {
        let pool = world.pool();
        // 15 MiB past the map stay free at least: the allocator's reserve.
        for zone in [Zone::Normal, Zone::High] {
            world.frames.set_reserve(rhumb_machine::NodeId::FIRST, zone, 0);
        }
        let mut held: Vec<Frame<Unmapped>> = Vec::new();
        while let Ok(frame) = pool.take(cpu.pinned(), ALICE, Order::new(8).unwrap()) {
            held.push(frame);
            pool.validate().unwrap();
        }
        let high = held.iter().filter(|frame| frame.is_high()).count();
        assert_eq!(high, 32, "of order 8, in the 32 MiB past the map");
        assert!(held[..high].iter().all(Frame::is_high), "these come first");
        let low = held.len() - high;
        // A 32nd of the memory past the map is guarded in the map: half a block, so one block is not had.
        assert_eq!(low, 30);
        assert_eq!(pool.counters().flushes, low as u64 / 2);
        assert!(world.map.lock().unwrap().holds().count() > 0);
        held.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        pool.shrink(cpu.pinned(), 0);
        world.assert_healed();
    });
}

#[test]
fn a_block_that_cannot_be_cleared_stays_the_allocators() {
    in_high_world(|world, cpu| {
        let (pool, before) = (world.pool(), world.frames.free_frames());
        world.plant.lock().unwrap().no_window = true;
        let refused = pool.take(cpu.pinned(), ALICE, Order::BASE).map(Frame::into_pfn);
        assert_eq!(refused, Err(PoolError::NotZeroed(CopyError::Window(WindowError::NoSuchCpu))));
        assert_eq!((world.frames.free_frames(), pool.counters().blocks()), (before, 0));
        assert_eq!(pool.account(ALICE).unwrap().frames(), 0);
        pool.validate().unwrap();
        world.plant.lock().unwrap().no_window = false;
        let frame = pool.take(cpu.pinned(), ALICE, Order::BASE).unwrap();
        pool.give(cpu.pinned(), frame).unwrap();
        world.assert_healed();
    });
}

#[test]
fn a_spare_block_past_the_map_goes_back_under_the_maps_lock() {
    in_high_world(|world, cpu| {
        let pool: &'static Pool = Box::leak(Box::new(world.pool()));
        pool.keep_blocks(4);
        world.frames.register_reclaimer(pool).unwrap();
        let frame = pool.take(cpu.pinned(), ALICE, Order::BASE).unwrap();
        let block = frame.pfn().get() & !511;
        pool.give(cpu.pinned(), frame).unwrap();
        assert_eq!(pool.counters().blocks(), 1, "one stays");
        let range = rhumb_machine::PfnRange::of_length(rhumb_machine::Pfn::new(block), 512).unwrap();
        assert!(world.frames.alloc_range(cpu.pinned(), range, &NothingMoves).is_err(), "it is the pool's");
        let map = world.map.lock().unwrap();
        let mut held = Vec::new();
        while let Ok(frame) = world.frames.alloc_anywhere(cpu.pinned(), Request::LARGE) {
            held.push(frame);
        }
        drop(map);
        assert_eq!(pool.counters().blocks(), 0);
        assert!(held.iter().any(|frame| frame.pfn().get() == block));
        held.into_iter().for_each(|frame| world.frames.free(cpu.pinned(), frame));
        world.assert_healed();
    });
}
