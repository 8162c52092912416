//! Any history of allocations, frees and reclaims on three CPUs and two nodes: no two objects overlap, nothing is lost,
//! and every structure stays consistent.
#![no_main]

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rhumb_frames::{Descriptor, Frames, MemoryRange};
use rhumb_machine::testing::{self, TestMachine};
use rhumb_machine::{NodeId, Pfn, PfnRange, Pinned, VirtAddr};
use rhumb_slab::{CheckList, Config, Slabs};

const CPUS: usize = 3;
const FIRST: u64 = 512;
const FRAMES: u64 = 1024;

#[derive(Arbitrary, Debug)]
enum Step {
    Alloc { size: u16, align: u8, times: u8 },
    Large(u32),
    Free { which: u16, times: u8 },
    Resize { which: u16, size: u16 },
    BeCpu(u8),
    Drain,
    Reclaim,
    Trim,
}

#[derive(Arbitrary, Debug)]
struct History {
    is_checked: bool,
    steps: Vec<Step>,
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

fuzz_target!(|history: History| {
    let block = Layout::from_size_align((FRAMES as usize) << 12, 2 << 20).unwrap();
    // SAFETY: not empty.
    let start = unsafe { std::alloc::alloc(block) };
    let node = |index| NodeId::new(index).unwrap_or_default();
    let half = |index: u64| PfnRange::of_length(Pfn::new(FIRST + index * FRAMES / 2), FRAMES / 2).unwrap_or_default();
    let memory = [
        MemoryRange { frames: half(0), node: node(0) },
        MemoryRange { frames: half(1), node: node(1) },
    ];
    let plan = rhumb_frames::Layout::new(&memory, CPUS, Pfn::new(1 << 34)).unwrap();
    let mut storage = vec![0u64; plan.storage_bytes() / 8 + 1];
    let descriptors: Vec<_> = (0..FIRST + FRAMES).map(|_| Descriptor::default()).collect();
    // SAFETY: the allocator is gone before the storage.
    let lent: &'static mut [u64] = unsafe { std::slice::from_raw_parts_mut(storage.as_mut_ptr(), storage.len()) };
    let base = VirtAddr::new(start as u64 - (FIRST << 12));
    let machine = TestMachine { base, ..TestMachine::new(CPUS, 2) };
    // SAFETY: the memory is the process's own; there is a descriptor for each frame.
    let frames = unsafe {
        Frames::new(machine, &plan, memory.iter().map(|range| range.frames), lent)
            .unwrap()
            .with_descriptors(VirtAddr::from(descriptors.as_ptr().cast::<u8>()))
    };
    // SAFETY: the object caches are gone before the frames.
    let lent: &'static Frames<TestMachine> = unsafe { &*std::ptr::from_ref(&frames) };
    be_cpu(0);
    let checks = CheckList::parse(if history.is_checked { "FZPUQ" } else { "-" }).unwrap();
    let config = Config { nodes: 2, checks, report: |report| panic!("{report}"), ..Config::new(CPUS) };
    let slabs = Slabs::new(lent, pinned(), config).unwrap();
    let mut held: Vec<(NonNull<u8>, Layout)> = Vec::new();
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let alloc = |size: usize, align: usize, taken: &mut BTreeMap<usize, usize>| {
        let layout = Layout::from_size_align(size, align).unwrap();
        let object = slabs.alloc(pinned(), layout).ok()?;
        let at = object.addr().get();
        assert!(at % align == 0);
        let end = at + size.max(1);
        assert!(taken.range(..end).next_back().is_none_or(|(_, &other)| other <= at), "two objects overlap");
        taken.insert(at, end);
        Some((object, layout))
    };
    for step in history.steps {
        match step {
            Step::Alloc { size, align, times } => {
                for _ in 0..times {
                    held.extend(alloc(usize::from(size), 1 << (align % 13), &mut taken));
                }
            }
            Step::Large(size) => held.extend(alloc(size as usize % (1 << 20), 8, &mut taken)),
            Step::Free { which, times } => {
                for _ in 0..times {
                    if held.is_empty() {
                        break;
                    }
                    let (object, layout) = held.swap_remove(usize::from(which) % held.len());
                    taken.remove(&object.addr().get());
                    // SAFETY: it came with this layout.
                    unsafe { slabs.free(pinned(), object, layout) };
                }
            }
            Step::Resize { which, size } => {
                let at = usize::from(which).checked_rem(held.len()).unwrap_or(0);
                let Some(&(object, layout)) = held.get(at).filter(|held| held.1.size() > 0 && size > 0) else { continue };
                // SAFETY: it came with this layout.
                if let Ok(new) = unsafe { slabs.realloc(pinned(), object, layout, usize::from(size)) } {
                    taken.remove(&object.addr().get());
                    taken.insert(new.addr().get(), new.addr().get() + usize::from(size));
                    held[at] = (new, Layout::from_size_align(usize::from(size), layout.align()).unwrap());
                }
            }
            Step::BeCpu(cpu) => be_cpu(usize::from(cpu) % CPUS),
            Step::Drain => slabs.drain(pinned()),
            Step::Reclaim => {
                slabs.reclaim(pinned());
            }
            Step::Trim => slabs.trim(pinned()),
        }
    }
    for cpu in 0..CPUS {
        be_cpu(cpu);
        slabs.validate(pinned()).unwrap();
    }
    for (object, layout) in held {
        // SAFETY: it came with this layout.
        unsafe { slabs.free(pinned(), object, layout) };
    }
    for cpu in 0..CPUS {
        be_cpu(cpu);
        slabs.drain(pinned());
    }
    slabs.reclaim(pinned());
    slabs.validate(pinned()).unwrap();
    frames.validate().unwrap();
    assert_eq!((slabs.totals().live_bytes, frames.refused_frees()), (0, 0));
    drop(slabs);
    drop(frames);
    // SAFETY: allocated above; nothing names it any more.
    unsafe { std::alloc::dealloc(start, block) };
});
