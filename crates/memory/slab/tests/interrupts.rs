//! Object caches on a hosted machine: interrupts that allocate and free at every point, and between any two
//! instructions.
//!
//! Two owners of one object are seen by its tag, which is in its first and in its last word.
#![cfg(not(any(loom, shuttle)))]

use std::alloc::Layout;
use std::ptr::NonNull;

use rhumb_frames::{AllocClass, Descriptor, Frames, Layout as FrameLayout, MemoryRange};
use rhumb_hosted::interrupt::Strike;
use rhumb_hosted::{Builder, Cpu, HostedMachine, LargePages};
use rhumb_machine::{CpuId, IrqOff, NodeId, PhysAddr, PhysRange, Pinned, VirtAddr};
use rhumb_slab::{AllocError, CheckList, Config, Slabs};

type OurFrames = Frames<&'static HostedMachine>;
type OurSlabs = Slabs<&'static HostedMachine>;

/// 64 MiB of RAM, and object caches over all of it, none of them checked.
fn bring_up(cpus: usize) -> (&'static HostedMachine, &'static OurFrames, &'static OurSlabs) {
    bring_up_on(1, cpus, CheckList::NONE)
}

/// As [`bring_up`], with so many CPUs on each node, as much RAM on each, and these checks.
fn bring_up_on(
    nodes: usize,
    cpus: usize,
    checks: CheckList,
) -> (&'static HostedMachine, &'static OurFrames, &'static OurSlabs) {
    let ram = PhysRange::of_length(PhysAddr::new(64 << 20), 64 << 20).unwrap();
    let bytes = ram.bytes() / nodes as u64;
    let parts = (0..nodes as u64).map(|node| {
        let start = ram.start().checked_add(node * bytes).unwrap();
        (NodeId::new(node as usize).unwrap(), PhysRange::of_length(start, bytes).unwrap())
    });
    let builder = HostedMachine::builder().nodes(nodes).large_pages(LargePages::Never);
    let add = |builder: Builder, (node, part)| builder.cpus_on(node, cpus).ram_on(node, part);
    let (machine, cpus) = (parts.clone().fold(builder, add).build().unwrap(), nodes * cpus);
    let machine: &'static HostedMachine = Box::leak(Box::new(machine));
    let memory: Vec<_> =
        parts.map(|(node, part)| MemoryRange { frames: part.whole_frames(), node }).collect();
    let end = ram.whole_frames().end();
    let layout = FrameLayout::new(&memory, cpus, end).unwrap();
    let storage = Box::leak(vec![0u64; layout.storage_bytes().div_ceil(8)].into_boxed_slice());
    let descriptors: Vec<_> = (0..end.get()).map(|_| Descriptor::default()).collect();
    let base = VirtAddr::from(descriptors.leak().as_ptr().cast::<u8>());
    machine
        .enter(CpuId::BOOT, |cpu| {
            // SAFETY: no other code uses the RAM; the storage is outside of it, and there is a descriptor for each
            // frame.
            let frames = unsafe {
                Frames::new(machine, &layout, memory.iter().map(|part| part.frames), storage)
                    .unwrap()
                    .with_descriptors(base)
            };
            let frames: &'static OurFrames = Box::leak(Box::new(frames));
            let config = Config { nodes, checks, report: |report| panic!("{report}"), ..Config::new(cpus) };
            let slabs = Slabs::new(frames, cpu.pinned(), config).unwrap();
            (machine, frames, &*Box::leak(Box::new(slabs)))
        })
        .unwrap()
}

/// Few classes, so that handler and body meet in the same ones; large ones among them.
const SIZES: [usize; 6] = [16, 64, 200, 1024, 4096, 40_000];

/// An object and its tag.
struct Tagged {
    object: NonNull<u8>,
    layout: Layout,
    tag: u64,
}

// SAFETY: an object is memory of no CPU, and only its one holder touches it.
unsafe impl Send for Tagged {}

impl Tagged {
    fn take(slabs: &OurSlabs, pinned: Pinned<'_>, class: AllocClass, tag: u64) -> Option<Self> {
        let layout = Layout::from_size_align(SIZES[(tag * 7) as usize % SIZES.len()], 8).ok()?;
        let object = slabs.alloc_as(pinned, layout, class).ok()?;
        let tagged = Self { object, layout, tag };
        // SAFETY: the object is this one's, and has two words.
        tagged.words().into_iter().for_each(|word| unsafe { word.write_volatile(tag) });
        Some(tagged)
    }

    fn words(&self) -> [*mut u64; 2] {
        let first = self.object.as_ptr().cast::<u64>();
        [first, first.wrapping_add(self.layout.size() / 8 - 1)]
    }

    /// Gives it back, and says whether it was its owner's alone.
    fn give(self, slabs: &OurSlabs, pinned: Pinned<'_>) -> bool {
        // SAFETY: the object is this one's, and has two words.
        let whole = self.words().into_iter().all(|word| unsafe { word.read_volatile() } == self.tag);
        // SAFETY: it came with this layout, and is used no more.
        unsafe { slabs.free(pinned, self.object, self.layout) };
        whole
    }
}

/// All memory comes back, and every structure is whole.
fn all_comes_back(slabs: &OurSlabs, frames: &OurFrames, pinned: Pinned<'_>, used: u64) {
    slabs.drain(pinned);
    slabs.reclaim(pinned);
    slabs.validate(pinned).unwrap();
    frames.drain(pinned);
    assert_eq!(slabs.totals().live_bytes, 0);
    assert_eq!(frames.free_frames(), used, "frames were lost");
}

/// Returns how many frames are free when no cache keeps any that it need not, and this CPU has its lines.
fn free_at_rest(machine: &HostedMachine, slabs: &OurSlabs, frames: &OurFrames) -> u64 {
    let rest = |cpu: &Cpu<'_>| {
        let one = Tagged::take(slabs, cpu.pinned(), AllocClass::Ordinary, 1);
        assert!(one.is_some_and(|one| one.give(slabs, cpu.pinned())));
        slabs.drain(cpu.pinned());
        slabs.reclaim(cpu.pinned());
        frames.drain(cpu.pinned());
        frames.free_frames()
    };
    machine.enter(CpuId::BOOT, rest).unwrap()
}

#[test]
fn an_interrupt_may_allocate_and_free_at_every_point() {
    let (machine, frames, slabs) = bring_up(1);
    let free = free_at_rest(machine, slabs, frames);
    let mut points = 0;
    machine
        .enter(CpuId::BOOT, |cpu| {
            for after in 0.. {
                let (mut mine, mut theirs): (Vec<Tagged>, Vec<Tagged>) = (Vec::new(), Vec::new());
                let mut handler = |off: IrqOff<'_>| {
                    for tag in 1_000..1_012 {
                        theirs.extend(Tagged::take(slabs, off.pinned(), AllocClass::Atomic, tag));
                    }
                    assert!(theirs.drain(6..).all(|one| one.give(slabs, off.pinned())), "at point {after}");
                };
                // Refills, exchanges, new slabs, reclaim: the slow paths hold all the points there are.
                let ((), struck) = cpu.with_interrupts(Strike::Once { after }, &mut handler, || {
                    for tag in 0..60 {
                        mine.extend(Tagged::take(slabs, cpu.pinned(), AllocClass::Ordinary, tag));
                    }
                    assert!(mine.drain(20..).all(|one| one.give(slabs, cpu.pinned())), "at point {after}");
                    slabs.reclaim(cpu.pinned());
                });
                let mut all = mine.into_iter().chain(theirs);
                assert!(all.all(|one| one.give(slabs, cpu.pinned())), "two owners at point {after}");
                all_comes_back(slabs, frames, cpu.pinned(), free);
                points = after;
                if struck == 0 {
                    break;
                }
            }
        })
        .unwrap();
    assert!(points > 50, "the slow paths turn interrupts off: {points} points");
}

/// The objects of a full CPU go to the depot and to the slabs of two nodes, with interrupts on between the steps.
#[test]
fn an_interrupt_may_come_at_every_point_of_a_deposit() {
    let (machine, frames, slabs) = bring_up_on(2, 1, CheckList::NONE);
    let [here, far] = [0, 1].map(|cpu| CpuId::new(cpu).unwrap());
    machine
        .enter(far, |cpu| {
            slabs.set_up_cpu(cpu.pinned());
            frames.drain(cpu.pinned());
        })
        .unwrap();
    let free = free_at_rest(machine, slabs, frames);
    let (mut points, mut is_struck) = (0, true);
    while is_struck {
        let take = |cpu: &Cpu<'_>, tags: core::ops::Range<u64>| {
            let one = |tag| Tagged::take(slabs, cpu.pinned(), AllocClass::Ordinary, 6 * tag);
            tags.filter_map(one).collect::<Vec<_>>()
        };
        let theirs = machine.enter(far, |cpu| take(cpu, 0..100)).unwrap();
        machine
            .enter(here, |cpu| {
                let mut mine = take(cpu, 100..400).into_iter();
                let mut handlers = Vec::new();
                let mut handler = |off: IrqOff<'_>| {
                    for tag in 1_000..1_020 {
                        handlers.extend(Tagged::take(slabs, off.pinned(), AllocClass::Atomic, 6 * tag));
                    }
                    assert!(handlers.drain(10..).all(|one| one.give(slabs, off.pinned())), "at {points}");
                    if points % 3 == 0 {
                        slabs.reclaim(off.pinned());
                    }
                };
                let ((), struck) = cpu.with_interrupts(Strike::Once { after: points }, &mut handler, || {
                    for their in theirs {
                        assert!(their.give(slabs, cpu.pinned()), "at {points}");
                        assert!(mine.by_ref().take(3).all(|one| one.give(slabs, cpu.pinned())));
                    }
                });
                assert!(handlers.into_iter().all(|one| one.give(slabs, cpu.pinned())), "at {points}");
                slabs.validate(cpu.pinned()).unwrap();
                is_struck = struck > 0;
            })
            .unwrap();
        machine
            .enter(far, |cpu| {
                slabs.drain(cpu.pinned());
                frames.drain(cpu.pinned());
            })
            .unwrap();
        machine.enter(here, |cpu| all_comes_back(slabs, frames, cpu.pinned(), free)).unwrap();
        points += 1;
    }
    assert!(points > 20, "{points} points");
}

/// A handler takes all objects of each new slab before the allocation that made the slab does: the allocation gives up
/// after so many slabs, in a checked cache as in others.
#[test]
fn an_allocation_whose_slabs_others_take_gives_up() {
    let layout = Layout::from_size_align(4096, 8).unwrap();
    for checks in ["-", "Z,kmalloc-4096"] {
        let (machine, _, slabs) = bring_up_on(1, 1, CheckList::parse(checks).unwrap());
        let counts = || {
            let mut counts = (0, 0);
            slabs.for_each_report(|cache| {
                if cache.name.as_str() == "kmalloc-4096" {
                    counts = (cache.slabs, cache.objects - cache.active_objects);
                }
            });
            counts
        };
        machine
            .enter(CpuId::BOOT, |cpu| {
                let mut theirs = Vec::new();
                let mut handler = |off: IrqOff<'_>| {
                    while counts().1 > 0 {
                        theirs.push(slabs.alloc_as(off.pinned(), layout, AllocClass::Atomic).unwrap());
                    }
                };
                let (refused, _) = cpu.with_interrupts(Strike::Every { points: 1 }, &mut handler, || {
                    slabs.alloc(cpu.pinned(), layout)
                });
                assert_eq!(refused, Err(AllocError::Exhausted));
                assert!((60..=70).contains(&counts().0), "{checks}: {} slabs", counts().0);
                for object in theirs {
                    // SAFETY: it came with this layout, and is used no more.
                    unsafe { slabs.free(cpu.pinned(), object, layout) };
                }
                slabs.validate(cpu.pinned()).unwrap();
            })
            .unwrap();
    }
}

/// Whatever a handler gives back, and whichever step it interrupts: all memory comes back, each object once.
#[test]
fn an_interrupt_may_give_back_at_every_point() {
    let (machine, frames, slabs) = bring_up(2);
    let free = free_at_rest(machine, slabs, frames);
    let works: [fn(&OurSlabs, Pinned<'_>); 4] = [
        |slabs, pinned| slabs.drain(pinned),
        |slabs, pinned| slabs.trim(pinned),
        |slabs, pinned| {
            slabs.reclaim(pinned);
            slabs.tick(pinned);
        },
        |slabs, pinned| slabs.validate(pinned).unwrap(),
    ];
    machine
        .enter(CpuId::BOOT, |cpu| {
            for (index, work) in works.into_iter().enumerate() {
                // A fourth of the points for each: the calls themselves visit each cache several times.
                for after in (index as u64..).step_by(4) {
                    let mut mine: Vec<Tagged> = Vec::new();
                    let mut handler = |off: IrqOff<'_>| {
                        work(slabs, off.pinned());
                        let one = Tagged::take(slabs, off.pinned(), AllocClass::Atomic, 1_000);
                        assert!(one.is_none_or(|one| one.give(slabs, off.pinned())), "at point {after}");
                    };
                    let ((), struck) = cpu.with_interrupts(Strike::Once { after }, &mut handler, || {
                        for tag in 0..60 {
                            mine.extend(Tagged::take(slabs, cpu.pinned(), AllocClass::Ordinary, tag));
                        }
                        assert!(
                            mine.drain(20..).all(|one| one.give(slabs, cpu.pinned())),
                            "at point {after}"
                        );
                        slabs.trim(cpu.pinned());
                        slabs.validate(cpu.pinned()).unwrap();
                    });
                    let mut all = mine.into_iter();
                    assert!(all.all(|one| one.give(slabs, cpu.pinned())), "at point {after}");
                    slabs.tick(cpu.pinned());
                    all_comes_back(slabs, frames, cpu.pinned(), free);
                    if struck == 0 {
                        break;
                    }
                }
            }
        })
        .unwrap();
}

#[test]
fn interrupts_may_allocate_and_free_between_any_two_instructions() {
    const CPUS: usize = 2;
    // Without optimization, or instrumented, most of the time is the handler's.
    const STEPS: u64 = if cfg!(any(debug_assertions, rhumb_tsan)) { 15_000 } else { 300_000 };
    // A handler that takes as long as the time between two interrupts leaves the body none.
    const HANDLED: usize = if cfg!(any(debug_assertions, rhumb_tsan)) { 3 } else { 8 };
    let (machine, frames, slabs) = bring_up(CPUS);
    let struck = machine
        .run_on(machine.cpus(), |cpu| {
            let start = (cpu.id().index() as u64 + 1) << 40;
            // The objects that the handler holds: no heap in a signal, and no panic.
            let mut theirs: [Option<Tagged>; 64] = [const { None }; 64];
            let (mut turn, mut torn) = (0u64, 0u64);
            let mut handler = |off: IrqOff<'_>| {
                // Runs of frees and of allocations, so that magazines fill and empty, and slabs come and go.
                for _ in 0..HANDLED {
                    turn += 1;
                    let slot = &mut theirs[(turn % 64) as usize];
                    match slot.take() {
                        Some(one) => torn += u64::from(!one.give(slabs, off.pinned())),
                        None => {
                            *slot = Tagged::take(slabs, off.pinned(), AllocClass::Atomic, start << 1 | turn);
                        }
                    }
                }
            };
            let mut mine: Vec<Tagged> = Vec::with_capacity(512);
            // SAFETY: the handler calls the allocators alone, which have no heap, and take their locks with interrupts
            // off.
            let (mine_torn, struck) = unsafe {
                cpu.with_storm(&mut handler, || {
                    let mut torn = 0u64;
                    for step in 0..STEPS {
                        mine.extend(Tagged::take(slabs, cpu.pinned(), AllocClass::Ordinary, start + step));
                        if mine.len() > 500 || step % 1024 > 700 {
                            let one = mine.swap_remove((step * 31) as usize % mine.len());
                            torn += u64::from(!one.give(slabs, cpu.pinned()));
                        }
                        if step % (STEPS / 10) == 0 {
                            slabs.reclaim(cpu.pinned());
                        }
                        slabs.tick(cpu.pinned());
                    }
                    torn
                })
            }
            .unwrap();
            let rest = mine.into_iter().chain(theirs.into_iter().flatten());
            let rest_torn = rest.map(|one| u64::from(!one.give(slabs, cpu.pinned()))).sum::<u64>();
            slabs.drain(cpu.pinned());
            assert_eq!((mine_torn, torn, rest_torn), (0, 0, 0), "objects had two owners");
            struck
        })
        .unwrap();
    assert!(struck.iter().sum::<u64>() > 100, "{struck:?}");
    machine
        .enter(CpuId::BOOT, |cpu| {
            slabs.reclaim(cpu.pinned());
            slabs.validate(cpu.pinned()).unwrap();
            frames.validate().unwrap();
            assert_eq!(slabs.totals().live_bytes, 0, "objects were lost");
        })
        .unwrap();
}

/// A token of another machine does not prove which CPU of this one runs: it takes nothing and gives nothing back.
#[test]
fn a_token_of_another_machine_is_refused() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
    let (machine, _, slabs) = bring_up(1);
    let (other, ..) = bring_up(1);
    let layout = Layout::new::<u64>();
    let object = machine
        .enter(CpuId::BOOT, |cpu| AtomicPtr::new(slabs.alloc(cpu.pinned(), layout).unwrap().as_ptr()))
        .unwrap();
    let object = || NonNull::new(object.load(Relaxed)).unwrap();
    let refused = other
        .enter(CpuId::BOOT, |cpu| {
            let refused = |work: &dyn Fn()| catch_unwind(AssertUnwindSafe(work)).is_err();
            [
                refused(&|| {
                    let _ = slabs.alloc(cpu.pinned(), layout);
                }),
                // SAFETY: it came with this layout, and the free is not done.
                refused(&|| unsafe { slabs.free(cpu.pinned(), object(), layout) }),
                refused(&|| slabs.drain(cpu.pinned())),
                refused(&|| slabs.tick(cpu.pinned())),
                refused(&|| {
                    let _ = slabs.reclaim(cpu.pinned());
                }),
                refused(&|| {
                    let _ = slabs.validate(cpu.pinned());
                }),
            ]
        })
        .unwrap();
    assert_eq!(refused, [true; 6]);
    machine
        .enter(CpuId::BOOT, |cpu| {
            slabs.validate(cpu.pinned()).unwrap();
            // SAFETY: it came with this layout.
            unsafe { slabs.free(cpu.pinned(), object(), layout) };
        })
        .unwrap();
}
