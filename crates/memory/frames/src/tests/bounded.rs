//! Each stretch with interrupts off is short: what is long is done in many.

use std::boxed::Box;
use std::vec::Vec;

use rhumb_machine::{CpuId, NodeId, Order, Pfn};

use super::machine::*;
use crate::cache::CpuCache;
use crate::pool::tree::{End, WholeBlocks, whole_words};
use crate::{Drained, Frame, FrameRange, Frames, Goal, Layout, LayoutError, NothingMoves, Request, Zone};

const BASE: u64 = 1 << 20;

#[test]
fn a_drain_lets_interrupts_in_between_batches() {
    let frames = frames_over(1, &[(BASE, BASE + 512 * 512, 0)]);
    let all: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME.movable()).ok()).collect();
    // One in a word, so that each is a line of its own.
    let (far, near): (Vec<_>, Vec<_>) = all.into_iter().partition(|frame| frame.pfn().get() % 64 == 5);
    far.into_iter().take(900).for_each(|frame| frames.free(pinned(), frame));
    let cached = frames.totals().cached;
    assert!(cached > 800, "{cached}");
    assert!(irqs_off(|| frames.drain(pinned())) > cached / 24);
    assert_eq!(frames.totals().cached, 0);
    near.into_iter().for_each(|frame| frames.free(pinned(), frame));
    // A tick does some of it, and the rest next time.
    let cache = frames.zones.cache(cpu()).unwrap();
    cache.gate.ask();
    let mut ticks = 0;
    while cache.gate.is_wanted() {
        assert!(irqs_off(|| frames.tick(pinned())) <= 16);
        ticks += 1;
    }
    assert!(ticks < 64);
    assert_eq!(frames.totals().cached, 0);
}

/// As in a request that may not wait, on a CPU that another one has asked to drain.
#[test]
fn a_drain_in_part_keeps_the_request_for_the_ticks_that_follow() {
    let frames = frames_over(2, &[(BASE, BASE + 512 * 512, 0)]);
    let mut all: Vec<_> = (0..32768).map(|_| frames.alloc(pinned(), Request::FRAME).unwrap()).collect();
    all.sort_by_key(|frame| frame.pfn());
    let (far, near): (Vec<_>, Vec<_>) = all.into_iter().partition(|frame| frame.pfn().get() % 64 == 0);
    far.into_iter().for_each(|frame| frames.free(pinned(), frame));
    be_cpu(1);
    frames.request_drain(pinned());
    be_cpu(0);
    let cache = frames.zones.cache(cpu()).unwrap();
    assert!(cache.gate.is_wanted());
    assert_eq!(frames.drain_some(pinned()), Drained::Partly);
    assert!(cache.held() > 0 && cache.gate.is_wanted());
    frames.tick(pinned());
    frames.tick(pinned());
    assert_eq!(cache.held(), 0);
    assert!(!cache.gate.is_wanted());
    near.into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn ranges_and_the_check_go_a_block_at_a_time() {
    const BLOCKS: u64 = 2048;
    let frames = frames_over(1, &[(BASE, BASE + BLOCKS * 512, 0)]);
    let all = range(BASE, BASE + BLOCKS * 512);
    let mut taken = None;
    let steps = irqs_off(|| taken = Some(frames.alloc_range(pinned(), all, &NothingMoves).unwrap()));
    assert!(steps >= 3 * BLOCKS, "isolated, claimed and released: {steps}");
    assert!(irqs_off(|| frames.validate().unwrap()) >= BLOCKS / 64);
    assert!(irqs_off(|| frames.free_range(pinned(), taken.take().unwrap()).unwrap()) >= BLOCKS);
    assert_eq!(frames.free_large_blocks(), BLOCKS);
    // SAFETY: refused.
    let free = unsafe { FrameRange::assume(all) };
    let (free, _) = frames.free_range(pinned(), free).unwrap_err();
    let _ = free.into_frames();
    // A compaction with nothing to do does nothing.
    let done = || {
        frames.compact(pinned(), node(0), Goal::Anything, &NothingMoves, u64::MAX);
    };
    assert!(irqs_off(done) < 64);
}

#[test]
fn runs_of_whole_blocks_are_found_as_a_search_finds_them() {
    const BOUND: usize = 5 * 512 + 77;
    let storage = (0..whole_words(BOUND)).map(|_| rhumb_sync::atomic::AtomicU64::new(0)).collect::<Vec<_>>();
    let tree = WholeBlocks::new(BOUND, Box::leak(storage.into_boxed_slice()));
    let mut model = std::vec![false; BOUND];
    let mut seed = 7u64;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % bound
    };
    for _ in 0..1500 {
        // A stretch that is all in, or all out, changes to the other.
        let start = random(BOUND);
        let most = (1 << random(12)).min(BOUND - start);
        let end = (start..start + most).find(|&at| model[at] != model[start]).unwrap_or(start + most);
        match (model[start], end - start) {
            (true, 1) => tree.remove(start),
            (false, 1) => tree.insert(start),
            (true, _) => tree.remove_range(start, end),
            (false, _) => tree.insert_range(start, end),
        }
        let new = !model[start];
        model[start..end].fill(new);
        assert!((0..tree.words()).all(|at| tree.is_consistent_at(at)));
        for log2 in 1..=9 {
            let runs = || {
                let starts = (0..BOUND >> log2).map(|at| at << log2);
                starts.filter(|&at| model[at..at + (1 << log2)].iter().all(|&is_in| is_in))
            };
            assert_eq!(tree.find_run(log2, End::Low), runs().next(), "order {log2}");
            assert_eq!(tree.find_run(log2, End::High), runs().next_back(), "order {log2}");
            assert_eq!(tree.count_runs(log2), runs().count() as u64);
        }
    }
}

#[test]
fn each_frame_finds_its_pool() {
    let ranges: Vec<_> =
        (0..40).map(|at| ((at + 5) << 19, ((at + 5) << 19) + 600, at as usize % 3)).collect();
    let frames = frames_over(1, &ranges);
    for (start, end, index) in ranges {
        for pfn in [start, start + 77, end - 1] {
            assert_eq!(frames.zones.pool_of(Pfn::new(pfn)).unwrap().node, node(index));
            assert_eq!(frames.zones.listed_pool_of(Pfn::new(pfn)).unwrap().span.end(), Pfn::new(end));
        }
        assert!(
            frames.zones.pool_of(Pfn::new(end)).is_none()
                && frames.zones.pool_of(Pfn::new(start - 1)).is_none()
        );
    }
    // Memory that comes later may lie before, between and behind.
    for (count, start) in [3u64 << 19, (7 << 19) + (1 << 18), 90 << 19].into_iter().enumerate() {
        let added = memory(&[(start, start + 512, 2)])[0];
        // SAFETY: there is no memory behind the frames.
        unsafe { frames.add_memory(added, storage(1 << 16)) }.unwrap();
        assert_eq!(frames.zones.pool_of(Pfn::new(start + 511)).unwrap().span.start(), Pfn::new(start));
        assert_eq!(frames.zones.pools.iter().count(), 41 + count);
        // Not only by the slow search: the list has them all, in order.
        for pool in frames.zones.pools.iter() {
            assert!(core::ptr::eq(frames.zones.listed_pool_of(pool.span.start()).unwrap(), pool));
        }
    }
    for (start, _, index) in (0..40u64).map(|at| ((at + 5) << 19, 0, at as usize % 3)) {
        assert_eq!(frames.zones.pool_of(Pfn::new(start)).unwrap().node, node(index));
    }
    let frame = frames.alloc(pinned(), Request::new(Order::new(3).unwrap())).unwrap();
    frames.free(pinned(), frame);
    frames.validate().unwrap();
}

/// The other CPUs' lines are theirs: one that keeps nothing is not touched, and of many requests one comes.
#[test]
fn a_request_to_drain_goes_once_to_each_cpu_that_keeps_something() {
    const CPUS: usize = 200;
    let frames = frames_over(CPUS, &[(BASE, BASE + 512 * 512, 0)]);
    let keepers = [7, 63, 130];
    // By a free, by a refill, and by a run that comes with others.
    be_cpu(0);
    let large = frames.alloc(pinned(), Request::LARGE).unwrap();
    be_cpu(7);
    frames.free(pinned(), large);
    frames.validate().unwrap();
    be_cpu(63);
    let frame = frames.alloc(pinned(), Request::FRAME).unwrap();
    frames.validate().unwrap();
    be_cpu(130);
    frames.tick(pinned());
    frames.zones.cache(cpu()).unwrap().gate.bound(128);
    let run = frames.alloc(pinned(), Request::new(Order::new(3).unwrap())).unwrap();
    frames.validate().unwrap();
    be_cpu(0);
    let gate = |cpu: usize| &frames.zones.cache(CpuId::new(cpu).unwrap()).unwrap().gate;
    let asked = || (0..CPUS).filter(|&cpu| gate(cpu).is_wanted()).collect::<Vec<_>>();
    frames.request_drain(pinned());
    assert_eq!(asked(), keepers);
    // Answered, as if the CPUs had drained but not said so: they are not asked for the same again.
    keepers.iter().for_each(|&cpu| gate(cpu).answer());
    frames.request_drain(pinned());
    assert_eq!(asked(), []);
    for cpu in keepers {
        be_cpu(cpu);
        frames.drain(pinned());
        assert!(!frames.is_keeping(CpuId::new(cpu).unwrap()));
    }
    be_cpu(7);
    let large = frames.alloc(pinned(), Request::LARGE).unwrap();
    frames.free(pinned(), large);
    be_cpu(0);
    frames.request_drain(pinned());
    assert_eq!(asked(), [7]);
    frames.free(pinned(), frame);
    frames.free(pinned(), run);
    frames.validate().unwrap();
}

/// A refill for a request that prefers this node, and finds frames of another one alone, leaves them in the magazine.
#[test]
fn a_refill_that_serves_no_request_lists_the_cpu_all_the_same() {
    let frames = frames_over(1, &[(BASE, BASE + 512, 0), (BASE + 512, BASE + 4 * 512, 1)]);
    let near = frames.alloc(pinned(), Request::LARGE.bind(node(0))).unwrap();
    frames.drain(pinned());
    let frame = frames.alloc(pinned(), Request::FRAME.prefer(node(0))).unwrap();
    assert!(frames.zones.cache(cpu()).unwrap().held() > 0);
    frames.validate().unwrap();
    [near, frame].into_iter().for_each(|frame| frames.free(pinned(), frame));
}

#[test]
fn a_compaction_of_nothing_asks_no_cpu_and_locks_no_pool() {
    let frames = frames_over(2, &[(BASE, BASE + 64 * 512, 0), (BASE + 64 * 512, BASE + 128 * 512, 1)]);
    // Neither unmovable blocks nor movable ones that are nearly full are worth it.
    let unmovable = frames.alloc(pinned(), Request::FRAME).unwrap();
    let movable: Vec<_> =
        (0..500).map(|_| frames.alloc(pinned(), Request::FRAME.movable()).unwrap()).collect();
    frames.drain(pinned());
    be_cpu(1);
    let kept = frames.alloc(pinned(), Request::new(Order::new(3).unwrap())).unwrap();
    be_cpu(0);
    let compact = || {
        for index in 0..2 {
            frames.compact(pinned(), node(index), Goal::Anything, &NothingMoves, u64::MAX);
        }
    };
    // One stretch each, in which the CPU finds that it keeps nothing.
    assert_eq!(irqs_off(compact), 2);
    assert!(!frames.zones.cache(CpuId::new(1).unwrap()).unwrap().gate.is_wanted());
    // A block that is worth it, and the other CPU is asked.
    movable.into_iter().for_each(|frame| frames.free(pinned(), frame));
    let scattered = frames.alloc(pinned(), Request::FRAME.movable()).unwrap();
    frames.drain(pinned());
    assert!(irqs_off(compact) > 2);
    assert!(frames.zones.cache(CpuId::new(1).unwrap()).unwrap().gate.is_wanted());
    be_cpu(1);
    frames.free(pinned(), kept);
    be_cpu(0);
    [unmovable, scattered].into_iter().for_each(|frame| frames.free(pinned(), frame));
}

/// A boot has no time to clear the records of 64 TiB.
#[test]
fn a_free_block_is_a_bit_and_its_record_is_written_when_it_is_taken() {
    const BLOCKS: u64 = 1 << 19;
    let memory = memory(&[(BASE + 700, BASE + BLOCKS * 512, 0)]);
    let layout = Layout::new(&memory, 1, Pfn::new(1 << 34)).unwrap();
    let lent = storage(layout.storage_bytes());
    let words = lent.as_ptr_range();
    let written = || {
        let words = words.start.addr()..words.end.addr();
        // SAFETY: the words are integers that live permanently, and this thread alone has the allocator that writes them.
        let word = |at: usize| unsafe { *(at as *const u64) };
        words.step_by(8).filter(|&at| word(at) != UNWRITTEN).count()
    };
    let machine = TestMachine::new(1, 1);
    // SAFETY: there is no memory behind the frames.
    let frames = unsafe { Frames::new(machine, &layout, memory.iter().map(|range| range.frames), lent) };
    let (frames, cpus_words) = (frames.unwrap(), size_of::<CpuCache>() / 8);
    be_cpu(0);
    let built = written();
    let all = layout.storage_bytes() / 8 - cpus_words;
    assert!((built - cpus_words) * 400 < all, "{built} of {all}");
    // One block taken is one group of records cleared, and its own bits.
    let frame = frames.alloc(pinned(), Request::FRAME.movable()).unwrap();
    let grown = written() - built;
    assert!((1..=64 * 2 + 8).contains(&grown), "{grown}");
    frames.free(pinned(), frame);
    let large = frames.alloc(pinned(), Request::HUGE).unwrap();
    assert!(written() - built - grown <= 512 * 2);
    frames.free(pinned(), large);
    frames.drain(pinned());
    frames.validate().unwrap();
}

#[test]
fn records_and_caches_lie_in_the_memory_of_their_node() {
    let memory = memory(&[
        (BASE, BASE + 512 * 512, 1),
        (BASE + 512 * 512, BASE + 768 * 512, 0),
        (1 << 22, (1 << 22) + 900, 1),
    ]);
    // The last CPU's node has no memory, and nothing is said of another one.
    let cpu_nodes = [0, 1, 1, 2].map(node);
    let layout = Layout::new(&memory, 5, Pfn::new(1 << 34)).unwrap().nodes(3).cpu_nodes(&cpu_nodes);
    let mut lent = Vec::new();
    let mut lend = |node: NodeId, bytes| {
        let storage = storage(bytes);
        lent.push((node, storage.as_ptr_range()));
        Some(storage)
    };
    let machine = TestMachine::new(5, 3);
    let free = memory.iter().map(|range| range.frames);
    // SAFETY: there is no memory behind the frames.
    let frames = unsafe { Frames::new_near(machine, &layout, free, &mut lend) }.unwrap();
    assert_eq!(lent.iter().map(|(node, _)| node.index()).collect::<Vec<_>>(), [0, 1, 2]);
    let lies_in = |address: *const u8, node: NodeId| {
        let place = lent.iter().find(|(_, words)| words.contains(&address.cast())).unwrap();
        assert_eq!(place.0, node);
    };
    for pool in frames.zones.pools.iter() {
        lies_in(std::ptr::from_ref(pool).cast(), pool.node);
        lies_in(pool.blocks.as_ptr().cast(), pool.node);
        lies_in(pool.words.as_ptr_range().end.cast::<u8>().wrapping_sub(1), pool.node);
    }
    for (cpu, cache) in frames.zones.caches.all().iter().enumerate() {
        lies_in(std::ptr::from_ref(*cache).cast(), cpu_nodes.get(cpu).copied().unwrap_or(node(1)));
    }
    frames.validate().unwrap();
    // A node that gets nothing.
    let mut lend = |node: NodeId, bytes| (node.index() != 2).then(|| storage(bytes));
    let free = memory.iter().map(|range| range.frames);
    // SAFETY: there is no memory behind the frames.
    let refused = unsafe { Frames::new_near(TestMachine::new(5, 3), &layout, free, &mut lend) };
    let needed = layout.storage_bytes_of(node(2));
    assert_eq!(refused.map(|_| ()).unwrap_err(), LayoutError::StorageTooSmall(0, needed));
}

#[test]
fn the_own_list_of_a_node_is_its_part_of_the_zonelist() {
    let ranges: Vec<_> = (0..30)
        .flat_map(|at| [(at << 19, at as usize % 3), ((at << 19) + (1 << 18), at as usize % 2)])
        .map(|(start, index)| (start + 1, start + 600, index))
        .collect();
    let frames = frames_with(1, &memory(&ranges), 20 << 19);
    let added = memory(&[((90 << 19), (90 << 19) + 512, 2)])[0];
    // SAFETY: there is no memory behind the frames.
    unsafe { frames.add_memory(added, storage(1 << 16)) }.unwrap();
    let zones = &frames.zones;
    for (index, ceiling) in (0..3).flat_map(|index| Zone::ALL.map(|zone| (index, zone))) {
        let own: Vec<_> = zones.pools_of(node(index), ceiling).map(|pool| pool.span).collect();
        let all = zones.zonelist(index, ceiling).filter(|pool| pool.node == node(index));
        assert_eq!(own, all.map(|pool| pool.span).collect::<Vec<_>>());
        assert!(own.len() > 1 || ceiling < Zone::Normal);
    }
    // The reports of all zones are those of each.
    let all: Vec<_> = frames.zones().collect();
    assert!(all.len() > 6);
    assert!(all.iter().all(|report| frames.zone(report.node, report.zone) == Some(*report)));
}

/// 64 nodes, in none of which two frames that adjoin are free.
#[test]
fn a_request_that_no_pool_can_serve_locks_none() {
    const FRAMES: u64 = 1024;
    let memory: Vec<_> =
        (0..64).map(|node| (BASE + node * FRAMES, BASE + (node + 1) * FRAMES, node as usize)).collect();
    let frames = frames_over(1, &memory);
    assert!(frames.zones.pools.iter().count() >= 64);
    let all = (0..).map_while(|_| frames.alloc(pinned(), Request::FRAME.movable()).ok());
    let (odd, even): (Vec<Frame>, Vec<_>) = all.partition(|frame| frame.pfn().get() % 2 == 1);
    assert_eq!((odd.len() + even.len()) as u64, 64 * FRAMES);
    odd.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    frames.validate().unwrap();
    for order in [1, 4, 8, 9, 12] {
        let request = Request::new(Order::new(order).unwrap());
        let visits = lock_visits(|| assert!(frames.alloc(pinned(), request).is_err()));
        assert_eq!(visits, 0, "order {order}");
    }
    // One run in the last of the pools in the list is found, and one pool locked.
    let last = even.iter().map(Frame::pfn).max().unwrap();
    let (freed, held): (Vec<_>, Vec<_>) = even.into_iter().partition(|frame| frame.pfn() == last);
    freed.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    let mut run = None;
    let visits =
        lock_visits(|| run = frames.alloc(pinned(), Request::new(Order::new(1).unwrap()).movable()).ok());
    assert_eq!((visits, run.as_ref().map(Frame::pfn)), (1, Some(last)));
    run.into_iter().chain(held).for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    frames.validate().unwrap();
}
