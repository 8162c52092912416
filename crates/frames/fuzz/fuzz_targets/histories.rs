//! Any history of allocations and frees on three CPUs and two nodes: no frame is given out twice, nothing is lost, and
//! every structure stays consistent.
#![no_main]

use std::cell::Cell;
use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rhumb_frames::{Frame, Frames, Layout, MemoryRange, Mobility, Request, Zone};
use rhumb_machine::{
    CpuId, CpuMask, FlushScope, IrqState, Machine, NodeId, Order, Pfn, PfnRange, Pinned, VirtAddr,
};

const CPUS: usize = 3;

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

struct Threads;

fn cpu() -> CpuId {
    CpuId::new(CPU.get()).unwrap_or_default()
}

// SAFETY: one thread plays all CPUs, one at a time.
unsafe impl Machine for Threads {
    fn direct_map_base(&self) -> VirtAddr {
        VirtAddr::ZERO
    }
    fn cpu_count(&self) -> usize {
        CPUS
    }
    fn node_of(&self, cpu: CpuId) -> NodeId {
        NodeId::new(cpu.index() % 2).unwrap_or_default()
    }
    fn preempt_disable(&self) -> CpuId {
        cpu()
    }
    unsafe fn preempt_enable(&self) {}
    fn irq_save(&self) -> (CpuId, IrqState) {
        (cpu(), IrqState::Off)
    }
    unsafe fn irq_restore(&self, _: IrqState) {}
    fn flush_local(&self, _: Pinned<'_>, _: FlushScope) {}
    fn flush_remote(&self, _: Pinned<'_>, _: &CpuMask, _: FlushScope) {}
    fn now_ns(&self) -> u64 {
        0
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Alloc { order: u8, kind: u8, zone: u8, bound: Option<bool> },
    Free(u16),
    BeCpu(u8),
    Drain,
    RequestDrain,
}

fn range(start: u64, frames: u64) -> PfnRange {
    PfnRange::of_length(Pfn::new(start), frames).unwrap_or_default()
}

fuzz_target!(|steps: Vec<Step>| {
    let node = |index| NodeId::new(index).unwrap_or_default();
    let memory = [
        MemoryRange { frames: range(0x100, 0x700), node: node(0) },
        MemoryRange { frames: range(0x1003, 0x900), node: node(0) },
        MemoryRange { frames: range(1 << 20, 0xa00), node: node(1) },
    ];
    let total: u64 = memory.iter().map(|range| range.frames.frames()).sum();
    let layout = Layout::new(&memory, CPUS, Pfn::new(1 << 34)).unwrap();
    let mut storage = vec![0u64; layout.storage_bytes() / 8 + 1];
    // SAFETY: the allocator is gone before the storage.
    let lent: &'static mut [u64] = unsafe { std::slice::from_raw_parts_mut(storage.as_mut_ptr(), storage.len()) };
    // SAFETY: nothing stands behind the frames.
    let frames = unsafe { Frames::new(Threads, &layout, memory.iter().map(|range| range.frames), lent) }.unwrap();
    // SAFETY: one thread plays all CPUs, one at a time.
    let pinned = || unsafe { Pinned::assume(cpu()) };
    let mut held: Vec<Frame> = Vec::new();
    let mut taken = BTreeSet::new();
    for step in steps {
        match step {
            Step::Alloc { order, kind, zone, bound } => {
                let request = Request::new(Order::new(order % 12).unwrap_or_default())
                    .kind(Mobility::ALL[usize::from(kind) % 3])
                    .ceiling(Zone::ALL[usize::from(zone) % 4]);
                let request = bound.map_or(request, |which| request.bind(node(usize::from(which))));
                if let Ok(frame) = frames.alloc(pinned(), request) {
                    assert!(frame.frames().iter().all(|pfn| taken.insert(pfn)), "given out twice");
                    held.push(frame);
                }
            }
            Step::Free(which) if !held.is_empty() => {
                let frame = held.swap_remove(usize::from(which) % held.len());
                frame.frames().iter().for_each(|pfn| assert!(taken.remove(&pfn)));
                frames.free(pinned(), frame);
            }
            Step::Free(_) => {}
            Step::BeCpu(cpu) => CPU.set(usize::from(cpu) % CPUS),
            Step::Drain => frames.drain(pinned()),
            Step::RequestDrain => frames.request_drain(pinned()),
        }
        frames.validate().unwrap();
        assert_eq!(frames.free_frames() + taken.len() as u64, total);
    }
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    assert_eq!(frames.free_frames(), total);
});
