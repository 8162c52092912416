//! Every mistake has a typed answer that names it, and changes nothing.

use std::string::ToString;
use std::vec::Vec;

use rhumb_machine::{NodeId, Order, Pfn, PfnRange, VirtRange};

use super::machine::*;
use crate::{
    AllocError, Frame, FrameFault, FrameRange, Frames, Layout, LayoutError, MemoryRange, NothingMoves,
    Request, Zone,
};

const LIMIT: Pfn = Pfn::new(1 << 34);

fn built(ranges: &[(u64, u64, usize)], free: &[PfnRange], bytes: usize) -> Result<(), LayoutError> {
    let memory = memory(ranges);
    let layout = Layout::new(&memory, 2, LIMIT)?;
    let machine = TestMachine::new(2, 1);
    let bytes = if bytes == 0 { layout.storage_bytes() } else { bytes };
    // SAFETY: there is no memory behind the frames.
    unsafe { Frames::new(machine, &layout, free.iter().copied(), storage(bytes)) }.map(|_| ())
}

#[test]
fn layouts() {
    let ok = (0x1000, 0x2000, 0);
    assert_eq!(built(&[], &[], 0), Err(LayoutError::NoMemory));
    assert_eq!(built(&[(5, 5, 0)], &[], 0), Err(LayoutError::Empty(range(5, 5))));
    let overlap = LayoutError::Overlap(range(0x1000, 0x2000), range(0x1fff, 0x3000));
    assert_eq!(built(&[ok, (0x1fff, 0x3000, 0)], &[], 0), Err(overlap));
    let unsorted = LayoutError::Overlap(range(0x1000, 0x2000), range(1, 2));
    assert_eq!(built(&[ok, (1, 2, 0)], &[], 0), Err(unsorted));
    let past = (1 << 40) + 1;
    assert_eq!(built(&[(5, past, 0)], &[], 0), Err(LayoutError::PastLimit(Pfn::new(past))));
    for (free, error) in [
        (std::vec![range(0xfff, 0x1001)], LayoutError::NotMemory(range(0xfff, 0x1001))),
        (
            std::vec![range(0x1000, 0x1800), range(0x17ff, 0x1900)],
            LayoutError::Overlap(range(0x1000, 0x1800), range(0x17ff, 0x1900)),
        ),
        (std::vec![range(0x1000, 0x1000)], LayoutError::Empty(range(0x1000, 0x1000))),
    ] {
        assert_eq!(built(&[ok], &free, 0), Err(error));
    }
    assert!(matches!(built(&[ok], &[], 4096), Err(LayoutError::StorageTooSmall(4096, _))));
    let memory = memory(&[ok]);
    assert!(matches!(Layout::new(&memory, 0, LIMIT), Err(LayoutError::TooManyCpus(0))));
    assert!(matches!(Layout::new(&memory, 1025, LIMIT), Err(LayoutError::TooManyCpus(1025))));
    let layout = Layout::new(&memory, 2, LIMIT).unwrap();
    for (cpus, nodes, error) in
        [(3, 1, LayoutError::TooManyCpus(3)), (2, 2, LayoutError::NoSuchNode(NodeId::new(1).unwrap()))]
    {
        let machine = TestMachine::new(cpus, nodes);
        // SAFETY: there is no memory behind the frames.
        let built = unsafe { Frames::new(machine, &layout, [], storage(layout.storage_bytes())) };
        assert_eq!(built.err(), Some(error));
    }
}

#[test]
fn requests() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 1024, 0)]);
    let ask = |request| frames.alloc(pinned(), request).unwrap_err();
    assert_eq!(ask(Request::FRAME.ceiling(Zone::Dma32)), AllocError::NothingBelow(Zone::Dma32));
    assert_eq!(ask(Request::FRAME.bind(node(3))), AllocError::NoSuchNode(node(3)));
    assert_eq!(ask(Request::FRAME.prefer(node(63))), AllocError::NoSuchNode(node(63)));
    assert_eq!(ask(Request::HUGE), AllocError::Exhausted(Order::HUGE));
    be_cpu(200);
    assert_eq!(ask(Request::FRAME), AllocError::NoSuchCpu);
    be_cpu(0);
    let outside = range((1 << 20) + 1000, (1 << 20) + 1025);
    assert_eq!(
        frames.alloc_range(pinned(), outside, &NothingMoves).unwrap_err(),
        AllocError::BadRange(outside)
    );
    assert!(AllocError::BadRange(outside).to_string().contains("1003e8"));
    assert_eq!(frames.free_frames(), 1024);
    frames.validate().unwrap();
}

#[test]
fn frame_numbers() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 1024, 0)]);
    // SAFETY: each call is refused, or is the holder's.
    let name = |pfn, order| unsafe { frames.from_pfn(Pfn::new(pfn), Order::new(order).unwrap()) };
    let fault = |pfn, order| name(pfn, order).unwrap_err();
    assert_eq!(fault(77, 0), FrameFault::Foreign(Pfn::new(77)));
    assert_eq!(fault(1 << 20, 0), FrameFault::Free(Pfn::new(1 << 20)));
    assert!(matches!(fault((1 << 20) + 1, 1), FrameFault::Misaligned(..)));
    let large = frames.alloc(pinned(), Request::LARGE).unwrap().into_pfn();
    assert!(matches!(fault(large.get(), 0), FrameFault::WrongOrder(..)));
    frames.free(pinned(), name(large.get(), 9).unwrap());
    let small = frames.alloc(pinned(), Request::new(Order::new(3).unwrap())).unwrap().into_pfn();
    assert!(matches!(fault(small.get() / 512 * 512, 9), FrameFault::WrongOrder(..)));
    frames.free(pinned(), name(small.get(), 3).unwrap());
    frames.drain(pinned());
    // SAFETY: refused.
    let free = unsafe { FrameRange::assume(range(1 << 20, (1 << 20) + 4)) };
    let (free, fault) = frames.free_range(pinned(), free).unwrap_err();
    assert_eq!(fault, FrameFault::Free(Pfn::new(1 << 20)));
    let _ = free.into_frames();
    assert!(fault.to_string().contains("free already"));
}

#[test]
fn a_range_is_freed_only_where_all_of_it_is_held() {
    const BASE: u64 = 1 << 20;
    let frames = frames_over(1, &[(BASE, BASE + 2048, 0)]);
    let held = range(BASE + 512 + 100, BASE + 512 + 200);
    let held = frames.alloc_range(pinned(), held, &NothingMoves).unwrap();
    let large = frames.alloc(pinned(), Request::LARGE.movable()).unwrap();
    let inside = large.pfn().get() + 7;
    let free = |pfn| FrameFault::Free(Pfn::new(pfn));
    for (start, end, fault) in [
        (BASE + 512 + 150, BASE + 512 + 250, free(BASE + 512 + 200)),
        (BASE + 512 + 99, BASE + 512 + 150, free(BASE + 512 + 99)),
        (BASE + 512 + 300, BASE + 512 + 301, free(BASE + 512 + 300)),
        (BASE + 500, BASE + 512 + 150, free(BASE + 500)),
        (inside, inside + 1, FrameFault::WrongOrder(Pfn::new(inside), Order::LARGE, Order::BASE)),
        (BASE - 1, BASE + 1, FrameFault::Foreign(Pfn::new(BASE - 1))),
    ] {
        // SAFETY: refused.
        let wrong = unsafe { FrameRange::assume(range(start, end)) };
        let (wrong, found) = frames.free_range(pinned(), wrong).unwrap_err();
        assert_eq!(found, fault, "{start:#x}..{end:#x}");
        let _ = wrong.into_frames();
        assert_eq!(frames.free_frames(), 2048 - 512 - 100, "nothing of it was freed");
    }
    frames.free_range(pinned(), held).unwrap();
    frames.free(pinned(), large);
    frames.drain(pinned());
    assert_eq!((frames.free_frames(), frames.refused_frees()), (2048, 0));
    frames.validate().unwrap();
}

#[test]
fn a_free_frame_of_a_partial_block_is_not_nameable() {
    const BASE: u64 = 1 << 20;
    let frames = frames_over(1, &[(BASE, BASE + 1024, 0)]);
    let held = frames.alloc_range(pinned(), range(BASE + 70, BASE + 300), &NothingMoves).unwrap();
    for pfn in BASE..BASE + 512 {
        // SAFETY: the number is the holder's, and is not used.
        let named = unsafe { frames.from_pfn(Pfn::new(pfn), Order::BASE) }.map(Frame::into_pfn);
        let is_held = held.frames().contains(Pfn::new(pfn));
        let fault = Err(FrameFault::Free(Pfn::new(pfn)));
        assert_eq!(named, if is_held { Ok(Pfn::new(pfn)) } else { fault });
    }
    frames.free_range(pinned(), held).unwrap();
}

#[test]
fn only_frames_of_the_direct_map_become_mapped_ones() {
    const LIMIT: u64 = (1 << 20) + 512;
    let frames = frames_with(1, &memory(&[(1 << 20, LIMIT + 512, 0)]), LIMIT);
    for order in [0, 5, 9].map(|order| Order::new(order).unwrap()) {
        let low = frames.alloc(pinned(), Request::new(order)).unwrap().into_anywhere();
        let pfn = low.pfn();
        let mapped = low.try_mapped().map_err(Frame::into_pfn).unwrap();
        assert_eq!((mapped.pfn(), mapped.order()), (pfn, order));
        frames.free(pinned(), mapped);
        frames.drain(pinned());
        let high = frames.alloc_anywhere(pinned(), Request::new(order)).unwrap();
        let pfn = high.pfn();
        assert!(pfn.get() >= LIMIT);
        let high = high.try_mapped().map(Frame::into_pfn).unwrap_err();
        assert_eq!((high.pfn(), high.order()), (pfn, order));
        frames.free(pinned(), high);
    }
}

#[test]
fn a_frame_freed_twice_is_refused_and_given_out_once() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 1024, 0)]);
    let order = Order::new(8).unwrap();
    let pfn = frames.alloc(pinned(), Request::new(order)).unwrap().into_pfn();
    // SAFETY: none; this is the mistake that is to be caught.
    let twice = unsafe { [frames.from_pfn(pfn, order).unwrap(), frames.from_pfn(pfn, order).unwrap()] };
    twice.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.drain(pinned());
    assert!(frames.refused_frees() > 0);
    assert_eq!(frames.free_frames(), 1024);
    frames.validate().unwrap();
}

#[test]
fn a_lost_handle_is_counted() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 1024, 0)]);
    let before = crate::leaks().frames;
    let frame = frames.alloc(pinned(), Request::LARGE).unwrap();
    drop(frame);
    assert!(crate::leaks().frames >= before + 512);
    assert_eq!(frames.free_frames(), 512);
}

#[test]
fn added_memory() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 1024, 0)]);
    let memory = memory(&[((1 << 20) + 512, (1 << 20) + 2048, 0), (5, 5, 0), (1 << 21, (1 << 21) + 512, 7)]);
    let add = |memory: MemoryRange| {
        // SAFETY: there is no memory behind the frames.
        unsafe { frames.add_memory(memory, storage(1 << 16)) }.unwrap_err()
    };
    assert!(matches!(add(memory[0]), LayoutError::Overlap(..)));
    assert!(matches!(add(memory[1]), LayoutError::Empty(..)));
    assert_eq!(add(memory[2]), LayoutError::NoSuchNode(node(7)));
    assert_eq!(frames.free_frames(), 1024);
}

#[test]
fn a_part_lies_within_its_block_and_is_aligned() {
    let frames = frames_over(1, &[(1 << 20, (1 << 20) + 1024, 0)]);
    let block = frames.alloc(pinned(), Request::LARGE).unwrap();
    let start = block.pfn();
    // SAFETY: a test machine has no direct map; the parts' numbers are not used.
    let block = unsafe { block.assume_unmapped() };
    let part = |first: Pfn, order| {
        // SAFETY: a test machine has no direct map; the part's number is not used.
        let part = unsafe { block.part(first, Order::new(order).unwrap()) };
        part.map(|part| (part.order().get(), part.into_pfn()))
    };
    assert_eq!(part(start, 9), Some((9, start)));
    assert_eq!(part(start.plus(511), 0), Some((0, start.plus(511))));
    assert_eq!(part(start.plus(64), 6), Some((6, start.plus(64))));
    assert_eq!(part(start.plus(64), 7), None);
    assert_eq!(part(start.plus(512), 0), None);
    assert_eq!(part(start, 10), None);
    // SAFETY: it was never out of any map.
    frames.free(pinned(), unsafe { block.assume_mapped() });
}

#[test]
fn another_allocators_frames_are_refused() {
    let build = || frames_over(1, &[(1 << 20, (1 << 20) + 4096, 0)]);
    let (mine, other) = (build(), build());
    // SAFETY: the array covers every block of the memory.
    let other = unsafe { other.with_descriptors(descriptors((1 << 20) + 4096)) };
    for order in [0, 3, 9, 10] {
        let request = Request::new(Order::new(order).unwrap());
        let frame = mine.alloc(pinned(), request).unwrap();
        assert!(other.descriptor_of(&frame).is_none());
        let (free, refused) = (other.free_frames(), other.refused_frees());
        let forbidden = last_forbidden();
        other.free(pinned(), frame);
        assert_eq!((other.free_frames(), other.refused_frees()), (free, refused + 1));
        assert_eq!(last_forbidden(), forbidden, "a frame in use is told to be free");
    }
    let mine = build();
    let taken = mine.alloc_range(pinned(), range(1 << 20, (1 << 20) + 100), &NothingMoves).unwrap();
    let (taken, fault) = other.free_range(pinned(), taken).unwrap_err();
    assert_eq!(fault, FrameFault::Foreign(Pfn::new(1 << 20)));
    mine.free_range(pinned(), taken).unwrap();
    assert_ne!(last_forbidden(), VirtRange::default());
    other.validate().unwrap();
    mine.validate().unwrap();
}

#[test]
fn a_cpu_past_the_layout_gets_nothing_high_or_low() {
    let frames = frames_with(1, &memory(&[(1 << 20, (1 << 20) + 1024, 0)]), (1 << 20) + 512);
    let kept = frames.alloc_anywhere(pinned(), Request::FRAME).unwrap();
    assert!(kept.pfn().get() >= (1 << 20) + 512, "high memory first");
    be_cpu(1);
    assert_eq!(frames.alloc_anywhere(pinned(), Request::FRAME).unwrap_err(), AllocError::NoSuchCpu);
    frames.free(pinned(), kept);
    be_cpu(0);
    assert_eq!(frames.free_frames(), 1024);
    frames.validate().unwrap();
}

#[test]
fn frame_0_is_never_given_out() {
    let frames = frames_over(1, &[(0, 1024, 0)]);
    let held: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned(), Request::FRAME).ok()).collect();
    assert_eq!(held.len(), 1023);
    assert!(held.iter().all(|frame| frame.pfn().get() > 0));
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}

#[test]
fn building_takes_little_stack() {
    let build = || {
        frames_as_built(2, &memory(&[(0x200, 0x600, 0), (1 << 20, (1 << 20) + 1024, 1)]), 1 << 34);
    };
    // The standard library's own use of the stack is in this, too.
    std::thread::Builder::new().stack_size(32 << 10).spawn(build).unwrap().join().unwrap();
}
