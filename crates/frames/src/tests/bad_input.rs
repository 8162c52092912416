//! Every mistake has a typed answer that names it, and changes nothing.

use std::string::ToString;
use std::vec::Vec;

use rhumb_machine::{NodeId, Order, Pfn, PfnRange, VirtAddr};

use super::machine::*;
use crate::{
    AllocError, FrameFault, FrameRange, Frames, Layout, LayoutError, MemoryRange, NothingMoves, Request, Zone,
};

const LIMIT: Pfn = Pfn::new(1 << 34);

fn built(ranges: &[(u64, u64, usize)], free: &[PfnRange], bytes: usize) -> Result<(), LayoutError> {
    let memory = memory(ranges);
    let layout = Layout::new(&memory, 2, LIMIT)?;
    let machine = TestMachine { cpus: 2, nodes: 1, base: VirtAddr::ZERO };
    let bytes = if bytes == 0 { layout.storage_bytes() } else { bytes };
    // SAFETY: nothing stands behind the frames.
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
    let many: Vec<_> = (0..70).map(|index| (index << 20, (index << 20) + 512, 0)).collect();
    assert!(matches!(built(&many, &[], 0), Err(LayoutError::TooManyPools(_))));
    let memory = memory(&[ok]);
    assert!(matches!(Layout::new(&memory, 0, LIMIT), Err(LayoutError::TooManyCpus(0))));
    assert!(matches!(Layout::new(&memory, 257, LIMIT), Err(LayoutError::TooManyCpus(257))));
    let layout = Layout::new(&memory, 2, LIMIT).unwrap();
    for (cpus, nodes, error) in
        [(3, 1, LayoutError::TooManyCpus(3)), (2, 2, LayoutError::NoSuchNode(NodeId::new(1).unwrap()))]
    {
        let machine = TestMachine { cpus, nodes, base: VirtAddr::ZERO };
        // SAFETY: nothing stands behind the frames.
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
    let contig =
        |frames_wanted| frames.alloc_contig(pinned(), frames_wanted, Order::BASE, &NothingMoves).unwrap_err();
    assert_eq!(contig(0), AllocError::BadRange(PfnRange::default()));
    assert_eq!(contig(1025), AllocError::NoRun(1025));
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
        // SAFETY: nothing stands behind the frames.
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
        // SAFETY: as above.
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
