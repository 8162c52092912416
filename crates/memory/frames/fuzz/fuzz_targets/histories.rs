//! Any history of allocations and frees on three CPUs and two nodes: no frame is given out twice, nothing is lost,
//! every structure stays consistent, and descriptors say what their holder wrote.
//!
//! With a nightly toolchain, in `crates/memory/frames` (cargo-fuzz from the registry):
//!
//! ```text
//! cargo +nightly fuzz run histories -- -max_len=512 -max_total_time=300
//! ```
//! or, without cargo-fuzz, in `crates/memory/frames/fuzz`:
//!
//! ```text
//! RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
//!     cargo +nightly build --release --target x86_64-unknown-linux-gnu
//! target/x86_64-unknown-linux-gnu/release/histories -max_len=512 -max_total_time=300
//! ```
#![no_main]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rhumb_frames::{Descriptor, Frame, Frames, Layout, MemoryRange, Mobility, Owner, Request, Zone};
use rhumb_machine::testing::{self, TestMachine};
use rhumb_machine::{NodeId, Order, Pfn, PfnRange, Pinned, VirtAddr};

const CPUS: usize = 3;
/// Frames that have a descriptor: up to the end of memory, in whole blocks.
const DESCRIBED: usize = 0x2c00;
const STALE: [u32; size_of::<Descriptor>() / 4] = [0xa5a5_a5a5; size_of::<Descriptor>() / 4];

#[derive(Arbitrary, Debug)]
enum Step {
    Alloc { order: u8, kind: u8, zone: u8, bound: Option<bool>, owner: u8 },
    Free(u16),
    BeCpu(u8),
    Drain,
    RequestDrain,
}

fn range(start: u64, frames: u64) -> PfnRange {
    PfnRange::of_length(Pfn::new(start), frames).unwrap_or_default()
}

/// Returns the words that a holder writes into its descriptor.
fn word_of(frame: &Frame) -> u64 {
    frame.pfn().get() << 8 | u64::from(frame.order().get()) | 1 << 60
}

/// Makes this thread that CPU: see [`testing::be_cpu`].
fn be_cpu(cpu: usize) {
    // SAFETY: one thread, which has no guard.
    unsafe { testing::be_cpu(cpu) }
}

/// Returns a token for the CPU that this thread is: see [`testing::pinned`].
fn pinned() -> Pinned<'static> {
    // SAFETY: one thread, which takes a new token for each call.
    unsafe { testing::pinned() }
}

fuzz_target!(|steps: Vec<Step>| {
    let node = |index| NodeId::new(index).unwrap_or_default();
    let memory = [
        MemoryRange { frames: range(0x100, 0x700), node: node(0) },
        MemoryRange { frames: range(0x1003, 0x900), node: node(0) },
        MemoryRange { frames: range(0x2200, 0xa00), node: node(1) },
    ];
    let total: u64 = memory.iter().map(|range| range.frames.frames()).sum();
    let layout = Layout::new(&memory, CPUS, Pfn::new(1 << 34)).unwrap();
    let mut storage = vec![0u64; layout.storage_bytes() / 8 + 1];
    // SAFETY: the allocator is gone before the storage.
    let lent: &'static mut [u64] = unsafe { std::slice::from_raw_parts_mut(storage.as_mut_ptr(), storage.len()) };
    // SAFETY: there is no memory behind the frames.
    let frames = unsafe { Frames::new(TestMachine::new(CPUS, 2), &layout, memory.iter().map(|range| range.frames), lent) }.unwrap();
    // The first contents of the memory behind the descriptors do not matter.
    let mut array = vec![STALE; DESCRIBED];
    // SAFETY: the array covers every block of the memory, and goes after the allocator.
    let frames = unsafe { frames.with_descriptors(VirtAddr::from(array.as_mut_ptr().cast::<u8>().cast_const())) };
    let mut held: Vec<Frame> = Vec::new();
    let mut taken = BTreeSet::new();
    for step in steps {
        match step {
            Step::Alloc { order, kind, zone, bound, owner } => {
                let request = Request::new(Order::new(order % 12).unwrap_or_default())
                    .kind(Mobility::ALL[usize::from(kind) % 3])
                    .ceiling(Zone::ALL[usize::from(zone) % 4])
                    .owner(Owner(u16::from(owner % 4)));
                let request = bound.map_or(request, |which| request.bind(node(usize::from(which))));
                if let Ok(frame) = frames.alloc(pinned(), request) {
                    assert!(frame.frames().iter().all(|pfn| taken.insert(pfn)), "given out twice");
                    if owner % 4 != 0 {
                        let descriptor = frames.descriptor_of(&frame).unwrap();
                        assert_eq!((descriptor.owner().0, descriptor.private()), (u16::from(owner % 4), 0));
                        descriptor.set_private(word_of(&frame));
                    }
                    held.push(frame);
                }
            }
            Step::Free(which) if !held.is_empty() => {
                let frame = held.swap_remove(usize::from(which) % held.len());
                frame.frames().iter().for_each(|pfn| assert!(taken.remove(&pfn)));
                if let Some(descriptor) = frames.descriptor(frame.pfn()).filter(|found| found.owner() != Owner::NONE) {
                    assert_eq!(descriptor.private(), word_of(&frame));
                }
                frames.free(pinned(), frame);
            }
            Step::Free(_) => {}
            Step::BeCpu(cpu) => be_cpu(usize::from(cpu) % CPUS),
            Step::Drain => frames.drain(pinned()),
            Step::RequestDrain => frames.request_drain(pinned()),
        }
        frames.validate().unwrap();
        assert_eq!(frames.free_frames() + taken.len() as u64, total);
    }
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    assert_eq!(frames.free_frames(), total);
});
