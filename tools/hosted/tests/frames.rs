//! The frame allocator on a hosted machine: invariant I2 counted over a million operations, free frames left untouched,
//! and interrupts at every point of an allocation and a free.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use rhumb_frames::{Frame, Frames, Layout, MemoryRange, Request};
use rhumb_hosted::{Builder, HostedMachine, LargePages};
use rhumb_machine::{CpuId, IrqOff, Machine, NodeId, Order, Pfn, PfnRange, PhysAddr, PhysRange, Pinned};

const BASE_BYTES: u64 = 4 << 30;
const BYTES: u64 = 256 << 20;

/// 256 MiB of RAM from 4 GiB on, and an allocator over all of it.
fn bring_up(cpus: usize) -> Frames<&'static HostedMachine> {
    bring_up_on(1, cpus)
}

/// As [`bring_up`], on several nodes, each with so many CPUs and as much of the RAM.
fn bring_up_on(nodes: usize, cpus: usize) -> Frames<&'static HostedMachine> {
    let ram = PhysRange::of_length(PhysAddr::new(BASE_BYTES), BYTES).unwrap();
    let bytes = BYTES / nodes as u64;
    let parts = (0..nodes).map(|node| {
        let start = ram.start().checked_add(node as u64 * bytes).unwrap();
        (NodeId::new(node).unwrap(), PhysRange::of_length(start, bytes).unwrap())
    });
    let builder = HostedMachine::builder().nodes(nodes).large_pages(LargePages::Never);
    let add = |builder: Builder, (node, part)| builder.cpus_on(node, cpus).ram_on(node, part);
    let machine = parts.clone().fold(builder, add).build().unwrap();
    let machine: &'static HostedMachine = Box::leak(Box::new(machine));
    let memory: Vec<_> =
        parts.map(|(node, part)| MemoryRange { frames: part.whole_frames(), node }).collect();
    let layout = Layout::new(&memory, nodes * cpus, ram.whole_frames().end()).unwrap();
    let storage = Box::leak(vec![0u64; layout.storage_bytes().div_ceil(8)].into_boxed_slice());
    machine
        .enter(CpuId::BOOT, |_| {
            let free = memory.iter().map(|part| part.frames);
            // SAFETY: no other code uses the RAM, and the storage is outside it.
            unsafe { Frames::new(machine, &layout, free, storage) }.unwrap()
        })
        .unwrap()
}

/// Returns all RAM, the parts of all nodes.
fn ram_frames(frames: &Frames<&'static HostedMachine>) -> PfnRange {
    let ram = frames.machine().ram();
    PfnRange::new(ram[0].range.whole_frames().start(), ram[ram.len() - 1].range.whole_frames().end()).unwrap()
}

#[test]
fn i2_a_million_operations_are_silent_and_touch_no_frame() {
    let frames = bring_up(2);
    let machine = *frames.machine();
    let before = machine.counters();
    machine
        .run_on(machine.cpus(), |cpu| {
            let mut held = Vec::new();
            for step in 0..250_000u64 {
                // Orders 0 to 9, the small ones more often; up to some 24 MiB held.
                let order = Order::new((step * 7 % 1024).trailing_zeros().min(9) as u8).unwrap();
                held.extend(frames.alloc(cpu.pinned(), Request::new(order)).ok());
                if held.len() > 512 {
                    let frame = held.swap_remove((step * 31 % 512) as usize);
                    frames.free(cpu.pinned(), frame);
                }
            }
            held.drain(..).for_each(|frame: Frame| frames.free(cpu.pinned(), frame));
            frames.drain(cpu.pinned());
        })
        .unwrap();
    assert!((machine.counters() - before).is_silent());
    assert_eq!(machine.resident_frames(ram_frames(&frames)).unwrap(), 0, "a free frame was written");
}

/// A frame is its holder's, content and all, and what one CPU wrote is done before another CPU holds the frame: plain
/// writes, so that a lock or an exchange with too weak an ordering is a race for ThreadSanitizer.
#[test]
fn frames_wander_between_cpus_with_their_content() {
    const CPUS: usize = 4;
    let frames = bring_up(CPUS);
    let machine = *frames.machine();
    let word = |pfn: Pfn| machine.direct(pfn.addr()).as_mut_ptr::<u64>();
    machine
        .run_on(machine.cpus(), |cpu| {
            let tag = cpu.id().index() as u64 + 1;
            for round in 0..100u64 {
                let take = |step: u64| {
                    let order = Order::new((step * 7 % 1024).trailing_zeros().min(9) as u8).unwrap();
                    let frame = frames.alloc(cpu.pinned(), Request::new(order)).ok()?;
                    // SAFETY: RAM of the machine, and the frame is this CPU's.
                    frame.frames().iter().for_each(|pfn| unsafe { word(pfn).write(tag) });
                    Some(frame)
                };
                let held: Vec<Frame> = (0..100 + round).filter_map(take).collect();
                assert!(!held.is_empty());
                for frame in held {
                    // SAFETY: RAM of the machine, and the frame is this CPU's until it is freed below.
                    let whole = frame.frames().iter().all(|pfn| unsafe { word(pfn).read() } == tag);
                    assert!(whole, "another CPU wrote to {frame:?}");
                    frames.free(cpu.pinned(), frame);
                }
                if round % 4 == tag % 4 {
                    frames.drain(cpu.pinned());
                }
            }
        })
        .unwrap();
}

#[test]
#[cfg(feature = "interrupts")]
fn an_interrupt_may_allocate_and_free_at_every_point() {
    let frames = bring_up(1);
    let machine = *frames.machine();
    let total = machine.enter(CpuId::BOOT, |_| frames.free_frames()).unwrap();
    let request = |order| Request::new(Order::new(order).unwrap());
    let mut points = 0;
    machine
        .enter(CpuId::BOOT, |cpu| {
            for after in 0.. {
                let (mut mine, mut theirs): (Vec<Frame>, Vec<Frame>) = (Vec::new(), Vec::new());
                let mut handler = |off: IrqOff<'_>| {
                    theirs.extend(frames.alloc(off.pinned(), request(0)).ok());
                    theirs.extend(frames.alloc(off.pinned(), request(9)).ok());
                    theirs.extend(frames.alloc(off.pinned(), request(0)).ok());
                    if let Some(frame) = theirs.pop() {
                        frames.free(off.pinned(), frame);
                    }
                };
                // Refills, drains, every order: the slow paths hold all the points there are.
                let ((), struck) = cpu.with_interrupts(
                    rhumb_hosted::interrupt::Strike::Once { after },
                    &mut handler,
                    || {
                        for round in 0..3u8 {
                            for order in [0, 0, 3, 9, 11] {
                                mine.extend(frames.alloc(cpu.pinned(), request(order)).ok());
                            }
                            if round == 1 {
                                mine.drain(..).for_each(|frame| frames.free(cpu.pinned(), frame));
                                frames.drain(cpu.pinned());
                            }
                        }
                    },
                );
                let mut seen = HashSet::new();
                for frame in mine.iter().chain(&theirs) {
                    assert!(
                        frame.frames().iter().all(|pfn| seen.insert(pfn)),
                        "{frame:?} was given out twice"
                    );
                }
                mine.into_iter().chain(theirs).for_each(|frame| frames.free(cpu.pinned(), frame));
                frames.drain(cpu.pinned());
                assert_eq!(frames.free_frames(), total, "frames were lost at point {after}");
                points = after;
                if struck == 0 {
                    break;
                }
            }
        })
        .unwrap();
    assert!(points > 5, "the slow paths turn interrupts off: {points} points");
}

#[test]
fn interrupts_may_allocate_and_free_between_any_two_instructions() {
    let frames = bring_up(2);
    let machine = *frames.machine();
    let total = frames.free_frames();
    let struck = machine
        .run_on(machine.cpus(), |cpu| {
            // The frames that the handler holds: no heap in a signal.
            let mut theirs: [Option<Frame>; 16] = Default::default();
            let mut turn = 0;
            let mut handler = |off: IrqOff<'_>| {
                turn += 1;
                let slot = &mut theirs[turn % 16];
                match slot.take() {
                    Some(frame) => frames.free(off.pinned(), frame),
                    None => {
                        let order =
                            Order::new((turn as u32 / 16).trailing_zeros().min(9) as u8).unwrap_or_default();
                        *slot = frames.alloc(off.pinned(), Request::new(order)).ok();
                    }
                }
            };
            let mut mine: Vec<Frame> = Vec::with_capacity(4096);
            // SAFETY: the handler calls the allocator alone, which has no heap, and takes its locks with interrupts
            // off.
            let ((), struck) = unsafe {
                cpu.with_storm(&mut handler, || {
                    for step in 0..400_000u64 {
                        let order = Order::new((step * 7 % 1024).trailing_zeros().min(9) as u8).unwrap();
                        mine.extend(frames.alloc(cpu.pinned(), Request::new(order)).ok());
                        if mine.len() > 2048 {
                            let frame = mine.swap_remove((step * 31 % 2048) as usize);
                            frames.free(cpu.pinned(), frame);
                        }
                    }
                })
            }
            .unwrap();
            let mut seen = HashSet::new();
            for frame in mine.iter().chain(theirs.iter().flatten()) {
                assert!(frame.frames().iter().all(|pfn| seen.insert(pfn)), "{frame:?} was given out twice");
            }
            mine.into_iter()
                .chain(theirs.into_iter().flatten())
                .for_each(|frame| frames.free(cpu.pinned(), frame));
            frames.drain(cpu.pinned());
            struck
        })
        .unwrap();
    assert!(struck.iter().sum::<u64>() > 100, "{struck:?}");
    assert_eq!(frames.free_frames(), total, "frames were lost");
}

/// Runs of every order and of two kinds, on two nodes: handlers strike anywhere and also drain and tick, and the CPUs
/// ask each other for all that they keep. No frame has two holders, and none is lost.
#[test]
fn runs_survive_interrupts_and_requests_to_drain_between_any_two_instructions() {
    let held_twice = AtomicU32::new(0);
    let frames = bring_up_on(2, 1);
    let machine = *frames.machine();
    let total = frames.free_frames();
    let first = ram_frames(&frames).start().get();
    // The CPU that holds each frame, and 0 for none.
    let holders: Vec<AtomicU8> = (0..ram_frames(&frames).frames()).map(|_| AtomicU8::new(0)).collect();
    let (frames, holders) = (&frames, &holders);
    let mark = |frame: &Frame, from: u8, to: u8| {
        for pfn in frame.frames().iter() {
            let before = holders[(pfn.get() - first) as usize].swap(to, Relaxed);
            if before != from {
                held_twice.fetch_add(1, Relaxed);
            }
        }
    };
    let mark = &mark;
    let struck = machine
        .run_on(machine.cpus(), |cpu| {
            let tag = cpu.id().index() as u8 + 1;
            let take = |pinned: Pinned<'_>, step: u64| {
                let request = Request::new(Order::new((step % 9 + 1) as u8)?);
                let request = if step.is_multiple_of(2) { request.movable() } else { request };
                let frame: Frame = frames.alloc(pinned, request).ok()?;
                mark(&frame, 0, tag);
                Some(frame)
            };
            let give = |pinned: Pinned<'_>, frame: Frame| {
                mark(&frame, tag, 0);
                frames.free(pinned, frame);
            };
            // The frames that the handler holds: no heap in a signal.
            let mut theirs: [Option<Frame>; 16] = Default::default();
            let mut turn = 0u64;
            let mut handler = |off: IrqOff<'_>| {
                turn += 1;
                match turn % 64 {
                    0 => frames.tick(off.pinned()),
                    1 => _ = frames.drain_some(off.pinned()),
                    _ => {}
                }
                let slot = &mut theirs[(turn % 16) as usize];
                match slot.take() {
                    Some(frame) => give(off.pinned(), frame),
                    None => *slot = take(off.pinned(), turn / 16),
                }
            };
            let mut mine: Vec<Frame> = Vec::with_capacity(256);
            // SAFETY: the handler calls the allocator, which has no heap and takes its locks with interrupts off, and
            // changes atomics.
            let ((), struck) = unsafe {
                cpu.with_storm(&mut handler, || {
                    let mut random = u64::from(tag);
                    for step in 0..10_000u64 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let draw = random >> 33;
                        if mine.len() < 64 && draw % 3 > 0 {
                            mine.extend(take(cpu.pinned(), draw / 3));
                        } else if !mine.is_empty() {
                            give(cpu.pinned(), mine.swap_remove(draw as usize % mine.len()));
                        }
                        if step.is_multiple_of(500) {
                            frames.request_drain(cpu.pinned());
                        }
                    }
                })
            }
            .unwrap();
            mine.into_iter().chain(theirs.into_iter().flatten()).for_each(|frame| give(cpu.pinned(), frame));
            frames.drain(cpu.pinned());
            struck
        })
        .unwrap();
    assert!(struck.iter().sum::<u64>() > 100, "{struck:?}");
    assert_eq!(held_twice.load(Relaxed), 0, "frames were given out twice");
    machine.enter(CpuId::BOOT, |_| frames.validate().unwrap()).unwrap();
    assert_eq!(frames.free_frames(), total, "frames were lost");
}
