//! Directed cases of the pool.

use rhumb_frames::{AllocError, Frame, Owner, Request, Unmapped, Zone};
use rhumb_hosted::mmu::{Fault, MmuConfig};
use rhumb_machine::{Block, CpuId, Machine, NodeId, Order, PageSize, PfnRange};
use rhumb_unmapped::{GiveError, PoolError};

use crate::world::*;

const MIB: u64 = 1 << 20;

fn order(exponent: u8) -> Order {
    Order::new(exponent).unwrap()
}

#[test]
fn i3_i6_a_frame_goes_out_and_the_map_is_whole_again() {
    in_world(2, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let first = world.ram.start();
        world.warm(first);
        let frame: Frame<Unmapped> = pool.take(cpu.pinned(), ALICE, Order::BASE).unwrap();
        let block = Block::around(frame.pfn(), PageSize::Size2M);
        for other in [0, 1] {
            assert_eq!(world.read_mapped(other, frame.pfn()), Err(Fault::NotPresent));
            assert_eq!(
                world.read_mapped(other, block.end().plus(0)).is_ok(),
                world.ram.contains(block.end())
            );
        }
        world.mmu().promised(world.range(block.frames()), &world.machine.cpus()).unwrap();
        pool.validate().unwrap();
        let why = world.map.lock().unwrap().why(frame.pfn()).to_string();
        assert!(why.contains("unmapped pool") && why.contains("a block of unmapped frames"), "{why}");
        assert_eq!(pool.owner_of(frame.pfn()), Some(ALICE));
        pool.give(cpu.pinned(), frame).unwrap();
        pool.validate().unwrap();
        world.assert_healed();
    });
}

#[test]
fn i5_what_is_taken_is_zero_and_what_is_given_is_zeroed_before_the_map_shows_it() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        // The data of the memory's last owner.
        let old = world.frames.alloc(cpu.pinned(), Request::LARGE).unwrap();
        let pfn = old.pfn();
        world.poke(pfn, 5, 0xaa);
        world.frames.free(cpu.pinned(), old);
        let mut frame = pool.take(cpu.pinned(), ALICE, order(3)).unwrap();
        let mut read = [1; 8 * 4096];
        world.windows.copy_from(&frame, 0, &mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 0));
        let secret: Vec<u8> = (0..8 * 4096u32 - 10).map(|at| (at % 251) as u8 + 1).collect();
        world.windows.copy_to(&mut frame, 7, &secret).unwrap();
        world.windows.copy_from(&frame, 7, &mut read[..secret.len()]).unwrap();
        assert_eq!(&read[..secret.len()], secret);
        let frames = frame.frames();
        assert_eq!((world.peek(frames.start(), 6), world.peek(frames.start(), 7)), (0, 1));
        pool.give(cpu.pinned(), frame).unwrap();
        assert!(world.read_mapped(0, frames.start()).is_ok());
        assert!(world.is_zero(frames));
        world.assert_healed();
    });
}

#[test]
fn one_flush_a_block_and_none_for_its_return() {
    in_world(4, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let before = world.machine.counters();
        let all: Vec<_> = (0..3 * 512).map(|_| world.take(cpu.pinned(), ALICE).unwrap()).collect();
        assert_eq!(world.map.lock().unwrap().splits().count(), 1);
        let out = world.machine.counters() - before;
        assert_eq!(out.remote_flushes, 3, "one round for each 512 frames");
        assert_eq!(pool.counters().flushes, 3);
        let before = world.machine.counters();
        all.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        let back = world.machine.counters() - before;
        // A block that comes back was absent: nothing is cached of it. And the last, which merges a 1-GiB page, says what
        // was said before.
        assert_eq!((back.remote_flushes, back.flush_interrupts), (0, 0));
        assert_eq!(pool.counters().flushes, 3);
        assert_eq!(world.map.lock().unwrap().kept_tables(), 1);
        world.assert_healed();
    });
}

#[test]
fn a_gigabyte_goes_out_by_one_change_and_one_flush_and_breaks_nothing() {
    in_world(2, 3 * GIB, 0, |world, cpu| {
        let pool = world.pool();
        let before = world.machine.counters();
        pool.grow(cpu.pinned(), ALICE).unwrap();
        pool.validate().unwrap();
        assert_eq!((world.machine.counters() - before).remote_flushes, 1);
        assert_eq!(world.map.lock().unwrap().splits().count(), 0);
        assert_eq!((pool.counters().blocks(), pool.account(ALICE).unwrap().blocks()), (512, 512));
        let frames: Vec<_> = (0..1500).map(|_| world.take(cpu.pinned(), ALICE).unwrap()).collect();
        let large = pool.take(cpu.pinned(), ALICE, Order::LARGE).unwrap();
        pool.validate().unwrap();
        assert_eq!(pool.shrink(cpu.pinned(), 0), 0, "some of it is out");
        assert_eq!(world.machine.counters().remote_flushes, 1);
        frames.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        pool.give(cpu.pinned(), large).unwrap();
        pool.validate().unwrap();
        assert_eq!(pool.shrink(cpu.pinned(), 0), 512 * 512);
        pool.validate().unwrap();
        assert_eq!(pool.account(ALICE).unwrap().blocks(), 0);
        world.assert_healed();
    });
}

#[test]
fn the_fullest_block_serves_and_the_tightest_of_those() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let mut all: Vec<_> = (0..2 * 512).map(|_| world.take(cpu.pinned(), ALICE).unwrap()).collect();
        all.sort_by_key(|frame| frame.pfn());
        let (mut low, mut high) = (all, Vec::new());
        high.extend(low.split_off(512));
        // Low: 200 free, no two side by side; high: 5 free, in a row. So the tightest is not the fullest.
        for at in (0..200).rev() {
            pool.give(cpu.pinned(), low.remove(2 * at)).unwrap();
        }
        high.drain(300..305).for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        let fuller = Block::around(high[0].pfn(), PageSize::Size2M);
        for _ in 0..5 {
            let frame = world.take(cpu.pinned(), ALICE).unwrap();
            assert!(fuller.frames().contains(frame.pfn()));
            high.push(frame);
        }
        let frame = world.take(cpu.pinned(), ALICE).unwrap();
        assert!(!fuller.frames().contains(frame.pfn()));
        pool.validate().unwrap();
        low.push(frame);
        low.extend(high);
        low.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        world.assert_healed();
    });
}

#[test]
fn i13_a_give_returns_two_blocks_at_most_however_many_are_left_over() {
    in_world(1, 128 * MIB, 16, |world, cpu| {
        let pool = world.pool();
        pool.keep_blocks(100);
        let all: Vec<_> = (0..24).map(|_| pool.take(cpu.pinned(), ALICE, Order::LARGE).unwrap()).collect();
        all.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        assert_eq!(pool.counters().blocks(), 24);
        pool.keep_blocks(0);
        let mut blocks = 24;
        while blocks > 7 {
            let frame = world.take(cpu.pinned(), ALICE).unwrap();
            pool.give(cpu.pinned(), frame).unwrap();
            let left = pool.counters().blocks();
            assert!(left < blocks && left + 2 >= blocks, "{blocks} blocks became {left} by one give");
            blocks = left;
        }
        // On request they go one by one, too, each for a call.
        for left in (0..blocks).rev() {
            assert_eq!(pool.shrink_by_one(cpu.pinned(), 0), Some(512));
            assert_eq!(pool.counters().blocks(), left);
        }
        assert_eq!(pool.shrink_by_one(cpu.pinned(), 0), None);
        world.assert_healed();
    });
}

#[test]
fn few_empty_blocks_stay_and_go_when_memory_is_short() {
    in_world(1, 64 * MIB, 16, |world, cpu| {
        let pool = world.pool();
        world.pool().keep_blocks(4);
        world.frames.set_reserve(NodeId::FIRST, Zone::Normal, 0);
        let pool: &'static Pool = Box::leak(Box::new(pool));
        world.frames.register_reclaimer(pool).unwrap();
        let all: Vec<_> = (0..10).map(|_| pool.take(cpu.pinned(), ALICE, Order::LARGE).unwrap()).collect();
        all.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
        assert_eq!(pool.counters().blocks(), 4);
        let before = world.machine.counters();
        let again = pool.take(cpu.pinned(), ALICE, Order::LARGE).unwrap();
        pool.give(cpu.pinned(), again).unwrap();
        assert_eq!(
            world.machine.counters().remote_flushes,
            before.remote_flushes,
            "a spare block costs none"
        );

        // The allocator takes 28 blocks by itself, then what the pool has. Under the map's lock it is told that there
        // is none.
        let mut taken: Vec<Frame> =
            (0..28).map(|_| world.frames.alloc(cpu.pinned(), Request::LARGE).unwrap()).collect();
        let lost = rhumb_frames::leaks().frames;
        let map = world.map.lock().unwrap();
        let refused = world.frames.alloc(cpu.pinned(), Request::LARGE).err();
        assert_eq!(refused, Some(AllocError::Exhausted(Order::LARGE)));
        drop(map);
        // Another test loses a few frames on purpose.
        assert!(rhumb_frames::leaks().frames - lost < 512);
        pool.validate().unwrap();
        assert_eq!(pool.counters().blocks(), 4);
        for left in [3, 2, 1, 0] {
            taken.push(world.frames.alloc(cpu.pinned(), Request::LARGE).unwrap());
            assert_eq!(pool.counters().blocks(), left);
        }
        let refused = pool.take(cpu.pinned(), ALICE, Order::BASE).err();
        assert_eq!(refused, Some(PoolError::NoBlock(AllocError::Exhausted(Order::LARGE))));
        pool.validate().unwrap();
        // With something to move, a compaction makes the block.
        world.movable.lock().unwrap().push(taken.pop().unwrap());
        let frame = pool.take(cpu.pinned(), ALICE, Order::BASE).unwrap();
        assert_eq!(pool.counters().compactions, 1);
        pool.give(cpu.pinned(), frame).unwrap();
        pool.shrink(cpu.pinned(), 0);
        taken.into_iter().for_each(|frame| world.frames.free(cpu.pinned(), frame));
        world.assert_healed();
    });
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let pool = world.pool();
        let pinned = cpu.pinned();
        let refused = |owner, exponent| pool.take(pinned, owner, order(exponent)).err();
        assert_eq!(refused(ALICE, 10), Some(PoolError::TooLarge { order: order(10) }));
        assert_eq!(refused(NOBODY, 0), Some(PoolError::NoAccount { owner: NOBODY }));
        assert_eq!(refused(Owner(999), 0), Some(PoolError::NoAccount { owner: Owner(999) }));

        // A frame that is not of the pool.
        let mapped = world.frames.alloc(pinned, Request::FRAME).unwrap();
        let pfn = mapped.pfn();
        // SAFETY: a lie, to see it found out; the frame comes back as it was.
        let foreign = unsafe { mapped.assume_unmapped() };
        let refused = pool.give(pinned, foreign).unwrap_err();
        assert_eq!(refused.error, GiveError::Foreign { pfn });
        // SAFETY: it never was out of the map.
        world.frames.free(pinned, unsafe { refused.frame.assume_mapped() });

        // The same frame twice, a part of one, one that was never out.
        let frame = pool.take(pinned, ALICE, order(2)).unwrap();
        let pfn = frame.pfn();
        let twin = |first, exponent| {
            // SAFETY: lies again; none of these handles is accepted.
            unsafe { world.block_of(pfn).part(first, order(exponent)) }.unwrap()
        };
        let part = pool.give(pinned, twin(pfn, 1)).unwrap_err();
        assert_eq!(part.error, GiveError::WrongOrder { pfn, given: order(1), taken: order(2) });
        let inside = pool.give(pinned, twin(pfn.plus(2), 1)).unwrap_err();
        assert_eq!(inside.error, GiveError::NotOut { pfn: pfn.plus(2) });
        let other = pool.take(pinned, ALICE, order(0)).unwrap();
        pool.give(pinned, frame).unwrap();
        let again = pool.give(pinned, twin(pfn, 2)).unwrap_err();
        assert_eq!(again.error, GiveError::NotOut { pfn });
        for wrong in [part, inside, again] {
            let _ = wrong.frame.into_pfn();
        }
        pool.validate().unwrap();
        assert_eq!(pool.counters().frames_out, 1);
        pool.give(pinned, other).unwrap();
        world.assert_healed();
    });
}

#[test]
fn i5_a_frame_that_is_dropped_is_counted_and_stays_out() {
    in_world(1, 2 * GIB, 16, |world, cpu| {
        let before = rhumb_frames::leaks().frames;
        let frame = world.pool().take(cpu.pinned(), ALICE, order(4)).unwrap();
        let pfn = frame.pfn();
        drop(frame);
        assert!(rhumb_frames::leaks().frames >= before + 16);
        assert_eq!(world.read_mapped(0, pfn), Err(Fault::NotPresent));
        assert_eq!(world.pool().account(ALICE).unwrap().frames(), 16);
    });
}

#[test]
fn several_cpus_take_and_give_at_once() {
    let world = World::new(3, 256 * MIB, 64, MmuConfig { speculation: 64, ..MmuConfig::plain(3) });
    world
        .machine
        .run_on(world.machine.cpus(), |cpu| {
            let (pool, mut held, mut random) =
                (world.pool(), Vec::new(), Random(cpu.id().index() as u64 + 1));
            for _ in 0..3000 {
                if random.below(100) < 52 && held.len() < 600 {
                    let order = order(random.below(7).saturating_sub(2) as u8);
                    held.push(pool.take(cpu.pinned(), ALICE, order).unwrap());
                } else if !held.is_empty() {
                    let frame: Frame<Unmapped> = held.swap_remove(random.below(held.len() as u64) as usize);
                    pool.give(cpu.pinned(), frame).unwrap();
                }
            }
            let frames: Vec<PfnRange> = held.iter().map(|frame| frame.frames()).collect();
            held.into_iter().for_each(|frame| pool.give(cpu.pinned(), frame).unwrap());
            world.frames.drain(cpu.pinned());
            frames.len()
        })
        .unwrap();
    world
        .machine
        .enter(CpuId::BOOT, |_| {
            world.pool().validate().unwrap();
            world.assert_healed();
            assert!(world.machine.pin().pinned().cpu() == CpuId::BOOT);
        })
        .unwrap();
}

#[test]
fn what_others_have_left_in_descriptors_names_no_owner() {
    in_world(1, GIB, 64, |world, cpu| {
        let pinned = cpu.pinned();
        let all: Vec<Frame> =
            std::iter::from_fn(|| world.frames.alloc(pinned, Request::FRAME).ok()).take(262_000).collect();
        for frame in &all {
            // As the first frame of what is out is marked.
            let descriptor = world.frames.descriptor_of(frame).unwrap();
            descriptor.set_owner(BOB);
            descriptor.set_page_type(0x40);
        }
        all.into_iter().for_each(|frame| world.frames.free(pinned, frame));
        world.frames.drain(pinned);
        let taken = world.pool().take(pinned, ALICE, order(3)).unwrap();
        assert_eq!(world.pool().owner_of(taken.pfn()), Some(ALICE));
        for inner in 1..8 {
            assert_eq!(world.pool().owner_of(taken.pfn().plus(inner)), None);
        }
        world.pool().give(pinned, taken).unwrap();
    });
}
