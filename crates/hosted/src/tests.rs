//! Bad configurations by name, memory and its holes, CPUs and their tokens, interrupts at every point.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use proptest::prelude::*;
use rhumb_machine::{
    CpuId, CpuMask, FlushScope, IrqState, MAX_CPUS, Machine, NodeId, PageSize, Pfn, PfnRange, PhysAddr,
    PhysRange,
};

use super::*;
use crate::config::PHYS_LIMIT;
use crate::interrupt::Strike;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
}

fn cpu(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

fn node(index: usize) -> NodeId {
    NodeId::new(index).unwrap()
}

/// What a checked build counts.
fn depth(guards: u32) -> Option<u32> {
    cfg!(debug_assertions).then_some(guards)
}

fn small(cpus: usize) -> HostedMachine {
    HostedMachine::builder().cpus(cpus).ram_bytes(16 * MIB).large_pages(LargePages::Never).build().unwrap()
}

fn refused(builder: Builder) -> ConfigError {
    builder.build().err().unwrap()
}

#[test]
fn bad_configurations_are_named() {
    let builder = || HostedMachine::builder().cpus(1).ram_bytes(MIB);
    assert_eq!(refused(HostedMachine::builder().ram_bytes(MIB)), ConfigError::NoCpu);
    assert_eq!(refused(HostedMachine::builder().cpus(1)), ConfigError::NoRam);
    assert_eq!(refused(builder().cpus(MAX_CPUS)), ConfigError::TooManyCpus { asked: MAX_CPUS + 1 });
    assert_eq!(refused(builder().nodes(0)), ConfigError::BadNodeCount { asked: 0 });
    assert_eq!(refused(builder().nodes(65)), ConfigError::BadNodeCount { asked: 65 });
    let missing = ConfigError::NoSuchNode { node: node(2), nodes: 2 };
    assert_eq!(refused(builder().nodes(2).cpus_on(node(2), 1)), missing);
    assert_eq!(refused(builder().nodes(2).ram_on(node(2), range(GIB, 2 * GIB))), missing);
    let empty = range(GIB, GIB);
    assert_eq!(refused(builder().ram(empty)), ConfigError::EmptyRange { range: empty });
    for uneven in [range(GIB + 1, GIB + 4096), range(GIB, GIB + 4097)] {
        assert_eq!(refused(builder().ram(uneven)), ConfigError::UnalignedRange { range: uneven });
    }
    let high = range(PHYS_LIMIT.get() - 4096, PHYS_LIMIT.get() + 4096);
    assert_eq!(refused(builder().ram(high)), ConfigError::BeyondLimit { range: high });
    let whole = range(0, !4095);
    assert_eq!(
        refused(HostedMachine::builder().cpus(1).ram_bytes(!4095)),
        ConfigError::BeyondLimit { range: whole }
    );
    let (low, over) = (range(0, MIB), range(MIB - 4096, 2 * MIB));
    let error = refused(builder().nodes(2).ram_on(node(1), over));
    assert_eq!(
        error,
        ConfigError::Overlap {
            first: Ram { range: low, node: node(0) },
            second: Ram { range: over, node: node(1) }
        }
    );
    assert_eq!(
        error.to_string(),
        "RAM range [0xff000, 0x200000) of node 1 overlaps [0x0, 0x100000) of node 0"
    );
}

/// How the host lets this process use `address`: `rw-p`, `---p`, or `None` where nothing is mapped.
fn permissions(address: u64) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        (hex(start)..hex(end)).contains(&address).then(|| fields.next().unwrap_or_default().to_owned())
    })
}

#[test]
fn ram_can_be_touched_and_holes_cannot() {
    let machine = HostedMachine::builder()
        .cpus(1)
        .nodes(2)
        .ram_on(node(1), range(4 * GIB, 6 * GIB))
        .ram(range(0, GIB))
        .build()
        .unwrap();
    assert!(machine.direct_map_base().is_aligned(PageSize::Size1G));
    assert_eq!(machine.ram().iter().map(|ram| ram.node).collect::<Vec<_>>(), [node(0), node(1)]);
    for (phys, expected) in [
        (0, "rw-p"),
        (GIB - 4096, "rw-p"),
        (GIB, "---p"),
        (4 * GIB - 1, "---p"),
        (4 * GIB, "rw-p"),
        (6 * GIB, "---p"),
    ] {
        let virt = machine.direct(PhysAddr::new(phys));
        assert_eq!(virt.since(machine.direct_map_base()), phys, "I1");
        assert_eq!(permissions(virt.get()).as_deref(), Some(expected), "{phys:#x}");
    }
    let last = machine.direct(PhysAddr::new(6 * GIB - 8)).as_mut_ptr::<u64>();
    // SAFETY: the last word of RAM, which nobody else uses.
    unsafe { last.write(7) };
    // SAFETY: as above.
    assert_eq!(unsafe { last.read() }, 7);
}

#[test]
fn dropping_a_machine_unmaps_it() {
    // Each of them takes nearly half of the process's 128 TiB: without unmapping, the third does not fit.
    for _ in 0..4 {
        let machine = HostedMachine::builder().cpus(1).ram(range(50 << 40, 60 << 40)).build();
        assert_eq!(machine.err(), None);
    }
}

#[test]
fn untouched_memory_is_free() {
    let machine = HostedMachine::builder()
        .cpus(1)
        .ram(range(0, 1 << 40))
        .large_pages(LargePages::Never)
        .build()
        .unwrap();
    let window = PfnRange::of_length(Pfn::new(1 << 27), 10_000).unwrap();
    assert_eq!(machine.resident_frames(window).unwrap(), 0);
    for frame in [0, 4_095, 4_096, 9_999] {
        let word = machine.direct(Pfn::new((1 << 27) + frame).addr()).as_mut_ptr::<u64>();
        // SAFETY: RAM that nobody else uses.
        unsafe { word.write(1) };
    }
    assert_eq!(machine.resident_frames(window).unwrap(), 4);
    let half = PhysRange::of_length(Pfn::new(1 << 27).addr(), 4096 * 4096).unwrap();
    // SAFETY: nobody relies on the two words written above.
    unsafe { machine.discard(half) }.unwrap();
    assert_eq!(machine.resident_frames(window).unwrap(), 2);
    // SAFETY: it is refused.
    let past_the_end = unsafe { machine.discard(range(0, (1 << 40) + 4096)) };
    assert_eq!(past_the_end.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn each_cpu_runs_once_with_its_own_token() {
    let machine = HostedMachine::builder()
        .nodes(3)
        .cpus_on(node(2), 2)
        .cpus_on(node(0), 3)
        .ram_bytes(MIB)
        .pinning(CorePinning::OneEach)
        .build()
        .unwrap();
    let started = AtomicUsize::new(0);
    let seen = machine
        .run_on(machine.cpus(), |cpu| {
            started.fetch_add(1, Ordering::SeqCst);
            let guard = machine.pin();
            assert_eq!(guard.pinned().cpu(), cpu.id());
            assert_eq!(cpu.pinned().cpu(), cpu.id());
            assert_eq!(machine.node_of(cpu.id()), cpu.node());
            (cpu.id().index(), cpu.node().index())
        })
        .unwrap();
    assert_eq!(seen, [(0, 2), (1, 2), (2, 0), (3, 0), (4, 0)]);
    assert_eq!(started.load(Ordering::SeqCst), 5);
    let some = machine.run_on([cpu(1), cpu(4)].into_iter().collect(), |cpu| cpu.id().index()).unwrap();
    assert_eq!(some, [1, 4]);
    assert!(machine.run_on(CpuMask::EMPTY, |_| ()).unwrap().is_empty());
}

#[test]
fn a_cpu_is_one_thread() {
    let (machine, other) = (small(2), small(1));
    let nobody = EnterError::NoSuchCpu { cpu: cpu(2), cpus: 2 };
    assert_eq!(machine.enter(cpu(2), |_| ()), Err(nobody));
    assert_eq!(machine.run_on(CpuMask::first(3), |_| ()), Err(nobody));
    machine
        .enter(cpu(0), |_| {
            assert_eq!(machine.enter(cpu(1), |_| ()), Err(EnterError::AlreadyCpu { cpu: cpu(0) }));
            assert_eq!(other.enter(cpu(0), |_| ()), Err(EnterError::AlreadyCpu { cpu: cpu(0) }));
            assert_eq!(machine.run_on(machine.cpus(), |_| ()), Err(EnterError::CpuTaken { cpu: cpu(0) }));
            assert_eq!(machine.run_on(CpuMask::only(cpu(1)), |cpu| cpu.id()), Ok(vec![cpu(1)]));
        })
        .unwrap();
    // Every seat is free again, also the one that was taken before the refusal.
    assert_eq!(machine.run_on(machine.cpus(), |_| ()).map(|all| all.len()), Ok(2));
}

#[test]
fn a_panic_on_a_cpu_reaches_the_caller_and_frees_the_seat() {
    let machine = small(2);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        machine.run_on(machine.cpus(), |cpu| assert_ne!(cpu.id().index(), 1, "planted"))
    }));
    let message = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("planted"), "{message}");
    assert!(machine.run_on(machine.cpus(), |_| ()).is_ok());
}

#[test]
#[should_panic(expected = "no CPU of this machine")]
fn a_thread_that_is_no_cpu_cannot_pin() {
    drop(small(1).pin());
}

#[test]
#[should_panic(expected = "no CPU of this machine")]
fn a_cpu_of_one_machine_is_none_of_another() {
    let (machine, other) = (small(1), small(1));
    machine.enter(cpu(0), |_| drop(other.pin())).unwrap();
}

#[test]
fn guards_nest() {
    let machine = small(1);
    machine
        .enter(cpu(0), |cpu| {
            let outer = machine.pin();
            let inner = machine.pin();
            assert_eq!(cpu.preempt_depth(), depth(2));
            drop(inner);
            drop(outer);
            assert_eq!(cpu.preempt_depth(), depth(0));
            let outer = machine.irq_off();
            let inner = machine.irq_off();
            assert_eq!(outer.irq_off().cpu(), cpu.id());
            drop(inner);
            assert_eq!(cpu.irq_state(), IrqState::Off, "the inner guard restores what it found");
            drop(outer);
            assert_eq!(cpu.irq_state(), IrqState::On);
        })
        .unwrap();
}

#[test]
fn flushes_and_their_interrupts_are_counted() {
    let machine = small(4);
    let before = machine.counters();
    assert!(before.is_silent());
    machine
        .run_on(CpuMask::only(cpu(1)), |cpu| {
            machine.flush_local(cpu.pinned(), FlushScope::All);
            machine.flush_remote(cpu.pinned(), &machine.cpus(), FlushScope::NonGlobal);
            machine.flush_remote(cpu.pinned(), &CpuMask::only(cpu.id()), FlushScope::All);
            machine.flush_remote(cpu.pinned(), &CpuMask::first(MAX_CPUS), FlushScope::All);
        })
        .unwrap();
    let counted = machine.counters() - before;
    let expected =
        Counters { local_flushes: 1, remote_flushes: 2, flush_interrupts: 6, ..Counters::default() };
    assert_eq!(counted, expected);
    assert!(!counted.is_silent());
    assert_eq!(machine.counters_of(cpu(1)), Some(expected));
    assert_eq!(machine.counters_of(cpu(0)), Some(Counters::default()));
    assert_eq!(machine.counters_of(cpu(4)), None);
}

#[test]
fn an_interrupt_strikes_at_each_point_once() {
    let machine = small(1);
    machine
        .enter(cpu(0), |cpu| {
            let mut depths = Vec::new();
            for after in 0.. {
                let mut handler = |off: rhumb_machine::IrqOff<'_>| {
                    assert_eq!(off.cpu(), cpu.id());
                    assert_eq!(cpu.irq_state(), IrqState::Off);
                    depths.push(cpu.preempt_depth());
                    // A handler's own guards are no points: it is not interrupted.
                    drop(machine.pin());
                    drop(machine.irq_off());
                };
                let (value, struck) = cpu.with_interrupts(Strike::Once { after }, &mut handler, || {
                    let pin = machine.pin();
                    let off = machine.irq_off();
                    drop(machine.pin());
                    drop(off);
                    drop(pin);
                    cpu.interrupt_point();
                    42
                });
                assert_eq!(value, 42);
                if struck == 0 {
                    break;
                }
            }
            // Pin begins, irq_off begins, irq_off has ended, pin ends, the explicit point; nothing in between.
            assert_eq!(depths, [1, 1, 1, 1, 0].map(depth));
            assert_eq!(cpu.irq_state(), IrqState::On);
        })
        .unwrap();
    assert_eq!(machine.counters().injected_interrupts, 5);
}

#[test]
fn interrupts_find_code_that_is_only_pinned() {
    let machine = small(1);
    // A counter read, then written, with the CPU free to take an interrupt in between.
    let lost = |guarded: bool| {
        machine
            .enter(cpu(0), |cpu| {
                let value = Cell::new(0u64);
                let (_, struck) = cpu.with_interrupts(
                    Strike::Every { points: 3 },
                    &mut |_| value.set(value.get() + 1),
                    || {
                        for _ in 0..1_000 {
                            let off = guarded.then(|| machine.irq_off());
                            let read = value.get();
                            drop(machine.pin());
                            value.set(read + 1);
                            drop(off);
                        }
                    },
                );
                assert!(struck > 100);
                1_000 + struck - value.get()
            })
            .unwrap()
    };
    assert!(lost(false) > 0);
    assert_eq!(lost(true), 0);
}

#[test]
fn a_panic_in_a_handler_leaves_the_thread_usable() {
    let machine = small(1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        machine.enter(cpu(0), |cpu| {
            cpu.with_interrupts(Strike::Every { points: 0 }, &mut |_| panic!("planted"), || {
                drop(machine.pin())
            })
        })
    }));
    assert!(caught.is_err());
    machine
        .enter(cpu(0), |cpu| {
            assert_eq!((cpu.preempt_depth(), cpu.irq_state()), (depth(0), IrqState::On));
            drop(machine.pin());
        })
        .unwrap();
}

/// Reads, then writes, an atomic in a loop, while interrupts add to it; how many of their additions were lost.
fn lost_in_a_storm(machine: &HostedMachine, guarded: bool) -> (u64, u64) {
    machine
        .enter(cpu(0), |cpu| {
            let value = AtomicU64::new(0);
            let mut handler = |off: rhumb_machine::IrqOff<'_>| {
                assert_eq!(off.cpu(), cpu.id());
                value.fetch_add(1, Ordering::Relaxed);
            };
            let body = || {
                let rounds = 100_000;
                for _ in 0..rounds {
                    let off = guarded.then(|| machine.irq_off());
                    let read = value.load(Ordering::Relaxed);
                    (0..20).for_each(|_| core::hint::spin_loop());
                    value.store(read + 1, Ordering::Relaxed);
                    drop(off);
                }
                rounds
            };
            // SAFETY: the handler touches an atomic alone; its assertion does not fail.
            let (rounds, struck) = unsafe { cpu.with_storm(&mut handler, body) }.unwrap();
            assert!(struck > 10, "struck {struck} times");
            (struck, rounds + struck - value.load(Ordering::Relaxed))
        })
        .unwrap()
}

#[test]
fn a_storm_finds_code_that_leaves_interrupts_on() {
    let machine = small(1);
    let (struck, lost) = lost_in_a_storm(&machine, false);
    assert!(lost > 0, "struck {struck} times");
    let (_, lost) = lost_in_a_storm(&machine, true);
    assert_eq!(lost, 0);
}

#[test]
fn time_does_not_go_back() {
    let machine = small(1);
    let times: Vec<u64> = (0..1_000).map(|_| machine.now_ns()).collect();
    assert!(times.is_sorted());
}

#[test]
fn cpus_share_memory() {
    let machine = small(4);
    // SAFETY: aligned, zeroed RAM that is used as this atomic only.
    let sum = unsafe { &*machine.direct(PhysAddr::new(8 * MIB)).as_ptr::<AtomicU64>() };
    machine
        .run_on(machine.cpus(), |cpu| {
            for _ in 0..1_000 {
                sum.fetch_add(cpu.id().index() as u64, Ordering::Relaxed);
            }
        })
        .unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), 6_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A memory map is taken if, and only if, no frame is in two ranges; then `ram` tells it back, sorted.
    #[test]
    fn memory_maps_are_taken_whole_or_not_at_all(
        ranges in proptest::collection::vec((0u64..64, 1u64..12, 0usize..3), 1..8)
    ) {
        let mut builder = HostedMachine::builder().cpus(1).nodes(3);
        let mut owner = [0u32; 80];
        for &(start, length, which) in &ranges {
            builder = builder.ram_on(node(which), range(start << 12, (start + length) << 12));
            (start..start + length).for_each(|frame| owner[frame as usize] += 1);
        }
        match builder.build() {
            Ok(machine) => {
                prop_assert!(owner.iter().all(|&owners| owners <= 1));
                prop_assert!(machine.ram().is_sorted_by_key(|ram| ram.range.start()));
                prop_assert_eq!(machine.ram().len(), ranges.len());
            }
            Err(ConfigError::Overlap { first, second }) => {
                prop_assert!(first.range.overlaps(second.range));
                prop_assert!(owner.iter().any(|&owners| owners > 1));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

mod native {
    use std::io::ErrorKind;

    use rhumb_machine::{PhysAddr, PhysRange};

    use crate::native::{NativeAccess, NativeMap};

    fn range(start: u64, bytes: u64) -> PhysRange {
        PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
    }

    /// Protection of the mapping at `address`, as the host tells it.
    fn protection(address: u64) -> String {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let of = |line: &str| {
            let (start, rest) = line.split_once('-')?;
            let (end, rest) = rest.split_once(' ')?;
            let [start, end] = [start, end].map(|word| u64::from_str_radix(word, 16).unwrap());
            (start..end).contains(&address).then(|| rest[..4].to_owned())
        };
        maps.lines().find_map(of).unwrap()
    }

    #[test]
    fn what_is_removed_is_gone_and_comes_back_as_it_was() {
        let map = NativeMap::new(8 << 20).unwrap();
        let word = |phys: u64| map.base().plus(phys).as_mut_ptr::<u64>();
        // SAFETY: the map is ours, and what is touched is mapped.
        unsafe {
            word(0x5000).write(5);
            word(0x6000).write(6);
            map.remove(range(0x5000, 0x1000)).unwrap();
            assert_eq!(protection(map.base().get() + 0x5000), "---p");
            assert_eq!(word(0x6000).read(), 6);
            map.restore(range(0x5000, 0x1000)).unwrap();
            assert_eq!(word(0x5000).read(), 5);
            map.protect(range(0x6000, 0x1000), NativeAccess::ReadOnly).unwrap();
            assert_eq!(protection(map.base().get() + 0x6000), "r--s");
            assert_eq!(protection(map.base().get() + 0x7000), "rw-s");
            map.protect(range(0x6000, 0x1000), NativeAccess::ReadWrite).unwrap();
            word(0x6000).write(7);
        }
    }

    #[test]
    fn bad_ranges_are_refused() {
        let refused = |result: std::io::Result<()>| result.unwrap_err().kind() == ErrorKind::InvalidInput;
        assert!(NativeMap::new(0).is_err() && NativeMap::new(4097).is_err());
        let map = NativeMap::new(1 << 20).unwrap();
        for bad in [range(0, 0), range(1, 4096), range(0, 4097), range(1 << 20, 4096), range(0xff000, 0x2000)]
        {
            assert!(refused(map.restore(bad)), "{bad:?}");
            // SAFETY: refused, so nothing goes.
            assert!(refused(unsafe { map.remove(bad) }), "{bad:?}");
        }
    }
}
