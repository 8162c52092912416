//! The cost of a window beside the direct map: `cargo bench -p rhumb-tableguard`. Writes CSV.
//!
//! Each row is the best of seven rounds. The entries are in an array; every slot shows the same page of ordinary
//! memory, so that no hardware page table is walked: the figures are of the instructions, without the translation's
//! miss and without the flush.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use rhumb_frames::{Frame, Frames, Layout, MemoryRange, Request};
use rhumb_machine::{
    CpuId, CpuSet, FlushScope, Machine, NodeId, Order, Pfn, PfnRange, Pinned, Tlb, VirtAddr,
};
use rhumb_pagetable::{ENTRIES, Entry, TableMemory};
use rhumb_tableguard::WindowedTables;
use rhumb_windows::{CpuSlots, SLOTS, WindowTables, Windows};

#[derive(Clone, Copy)]
struct OneCpu;

// SAFETY: one thread that nothing interrupts and that caches nothing.
unsafe impl Machine for OneCpu {
    fn direct_map_base(&self) -> VirtAddr {
        VirtAddr::ZERO
    }
    fn cpu_count(&self) -> usize {
        1
    }
    fn node_of(&self, _: CpuId) -> NodeId {
        NodeId::FIRST
    }
    fn preempt_disable(&self) -> CpuId {
        CpuId::BOOT
    }
    unsafe fn preempt_enable(&self) {}
    fn irq_save(&self) -> CpuId {
        CpuId::BOOT
    }
    unsafe fn irq_restore(&self) {}
    fn now_ns(&self) -> u64 {
        0
    }
}

// SAFETY: one thread that caches nothing.
unsafe impl Tlb for OneCpu {
    fn flush_local(&self, _: Pinned<'_>, _: FlushScope<'_>) {}

    fn flush_remote(&self, _: Pinned<'_>, _: &CpuSet, _: FlushScope<'_>) {}
}

/// Every slot shows this page.
#[repr(align(4096))]
struct Page([AtomicU64; ENTRIES]);

static PAGE: Page = Page([const { AtomicU64::new(0) }; ENTRIES]);

struct OnePage([AtomicU64; SLOTS]);

// SAFETY: one page behind every slot, permanently; the benchmark does not ask which.
unsafe impl WindowTables for OnePage {
    fn write(&self, _: CpuId, slot: usize, entry: Entry) {
        self.0[slot].store(entry.bits(), Relaxed);
    }
    fn read(&self, _: CpuId, slot: usize) -> Entry {
        Entry::from_bits(self.0[slot].load(Relaxed))
    }
    fn show(&self, _: CpuId, _: usize) -> VirtAddr {
        VirtAddr::from(PAGE.0.as_ptr())
    }
}

struct Direct;

impl TableMemory for Direct {
    fn read(&self, _: Pfn, index: usize) -> Entry {
        Entry::from_bits(PAGE.0[index].load(Relaxed))
    }
    fn write(&mut self, _: Pfn, index: usize, entry: Entry) {
        PAGE.0[index].store(entry.bits(), Relaxed);
    }
}

/// Best time of one of `times` calls, in ns.
fn best(times: u32, mut act: impl FnMut(u64)) -> f64 {
    let round = |_| {
        let start = Instant::now();
        (0..u64::from(times)).for_each(&mut act);
        start.elapsed().as_nanos() as f64 / f64::from(times)
    };
    (0..7).map(round).fold(f64::INFINITY, f64::min)
}

/// Returns an allocator of made-up frames, and one of them.
fn a_frame(machine: OneCpu) -> (Frames<OneCpu>, Frame) {
    let span = PfnRange::new(Pfn::new(1 << 20), Pfn::new((1 << 20) + 512)).unwrap();
    let memory = [MemoryRange { frames: span, node: NodeId::FIRST }];
    let layout = Layout::new(&memory, 1, span.end()).unwrap();
    let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
    // SAFETY: no code touches the made-up frames.
    let frames = unsafe { Frames::new(machine, &layout, [span], storage) }.unwrap();
    let frame = frames.alloc(machine.pin().pinned(), Request::new(Order::BASE)).unwrap();
    (frames, frame)
}

fn main() {
    let slots = vec![Box::leak(Box::new(CpuSlots::new()))].leak();
    let (frames, mut frame) = a_frame(OneCpu);
    let tables = OnePage([const { AtomicU64::new(0) }; SLOTS]);
    let windows = Windows::new(&frames, tables, slots);
    println!("operation,ns");
    let times = 200_000;
    let ns = best(times, |_| {
        windows
            .with_page(&mut frame, 0, |window| {
                black_box(window);
            })
            .unwrap()
    });
    println!("open and close,{ns:.1}");
    let ns = best(times, |_| windows.zero(black_box(&mut frame)).unwrap());
    println!("zero 4 KiB through a window,{ns:.1}");
    let mut plain = vec![0u8; 4096];
    let ns = best(times, |_| black_box(&mut plain[..]).fill(0));
    println!("zero 4 KiB,{ns:.1}");
    let mut direct = Direct;
    let ns = best(times, |n| direct.write(black_box(Pfn::new(1)), n as usize % 512, Entry::EMPTY));
    println!("write an entry,{ns:.1}");
    // SAFETY: the one page is a table of the benchmark.
    let mut windowed = unsafe { WindowedTables::new(Direct, &windows) };
    let ns = best(times, |n| windowed.write(black_box(Pfn::new(1)), n as usize % 512, Entry::EMPTY));
    println!("write an entry through a window,{ns:.1}");
    let ns = best(times / 100, |_| windowed.write_run(black_box(Pfn::new(1)), 0, Entry::EMPTY, 0, 512));
    println!("write 512 entries through a window,{ns:.1}");
    let _ = frame.into_pfn();
}
