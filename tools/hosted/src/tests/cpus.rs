//! CPUs and their tokens, what they share, what is counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rhumb_machine::{CpuMask, FlushScope, IrqState, MAX_CPUS, Machine, PhysAddr, PinGuard, Tlb};

use super::{MIB, cpu, depth, node, small};
use crate::seats::Seats;
use crate::{CorePinning, Counters, EnterError, HostedMachine};

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
    let missing = EnterError::NoSuchCpu { cpu: cpu(2), cpus: 2 };
    assert_eq!(machine.enter(cpu(2), |_| ()), Err(missing));
    assert_eq!(machine.run_on(CpuMask::first(3), |_| ()), Err(missing));
    machine
        .enter(cpu(0), |_| {
            assert_eq!(machine.enter(cpu(0), |_| ()), Err(EnterError::CpuTaken { cpu: cpu(0) }));
            // Each CPU has its own thread, so a CPU may wait for another, of its own machine or not.
            assert_eq!(machine.enter(cpu(1), |cpu| cpu.id()), Ok(cpu(1)));
            let others = other.enter(cpu(0), |cpu| cpu.id());
            let taken = Err(EnterError::CpuTaken { cpu: cpu(0) });
            assert_eq!(others, if cfg!(feature = "interrupts") { Ok(cpu(0)) } else { taken });
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

#[cfg(feature = "interrupts")]
#[test]
#[should_panic(expected = "token of another machine")]
fn a_token_of_one_machine_is_none_of_another() {
    let (machine, other) = (small(1), small(1));
    machine.enter(cpu(0), |cpu| other.flush_local(cpu.pinned(), FlushScope::All)).unwrap();
}

/// A guard in a thread-local ends with its thread, and only then another thread can be the CPU.
#[test]
fn a_guard_that_a_thread_keeps_ends_before_the_cpu_is_free() {
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Kept>> = const { std::cell::RefCell::new(None) };
    }
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    struct Kept(
        #[expect(dead_code, reason = "it lives until the thread ends")] PinGuard<'static, HostedMachine>,
    );
    impl Drop for Kept {
        fn drop(&mut self) {
            std::thread::sleep(std::time::Duration::from_millis(20));
            ENDED.fetch_add(1, Ordering::SeqCst);
        }
    }
    let machine: &'static HostedMachine = Box::leak(Box::new(small(1)));
    for ended in 1..4 {
        let keep = || {
            // In checked builds the CPU says that it was left with the guard.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                machine.enter(cpu(0), |_| KEPT.set(Some(Kept(machine.pin()))))
            }));
        };
        keep();
        assert_eq!(ENDED.load(Ordering::SeqCst), ended);
    }
}

#[test]
fn guards_may_be_dropped_in_the_order_in_which_they_were_made() {
    let machine = small(1);
    machine
        .enter(cpu(0), |cpu| {
            let first = machine.irq_off();
            let second = machine.irq_off();
            drop(first);
            let mut strikes = 0;
            let mut handler = |_: rhumb_machine::IrqOff<'_>| strikes += 1;
            cpu.with_interrupts(crate::interrupt::Strike::Every { points: 1 }, &mut handler, || {
                assert_eq!(second.irq_off().cpu(), cpu.id());
                assert_eq!(cpu.irq_state(), IrqState::Off, "the second guard lives");
                cpu.interrupt_point();
                drop(second);
            });
            assert_eq!(cpu.irq_state(), IrqState::On);
            assert_eq!(
                strikes,
                u32::from(cfg!(feature = "interrupts")),
                "the end of the last guard is the only point"
            );
        })
        .unwrap();
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

#[test]
fn a_place_of_the_program_is_one_machines_at_a_time() {
    let seats = Seats::new();
    assert!(seats.take(cpu(0), 7, false) && seats.take(cpu(1), 8, true));
    assert!(!seats.take(cpu(0), 7, false), "the same machine does not wait for itself");
    assert!(!seats.take(cpu(0), 8, true), "a CPU does not wait for what may wait for it");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| seats.take(cpu(0), 8, false));
        seats.free(cpu(0));
        assert!(waits.join().unwrap());
    });
    assert!(!seats.take(cpu(0), 9, true));
}

/// Where tokens are not compared, a token of any machine names a CPU that no other thread is.
#[cfg(not(feature = "interrupts"))]
#[test]
fn no_two_machines_have_a_cpu_of_one_number_at_a_time() {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    let machines = [(); 2].map(|()| HostedMachine::builder().cpus(2).ram_bytes(MIB).build().unwrap());
    let inside = [const { AtomicU32::new(0) }; 2];
    std::thread::scope(|scope| {
        for machine in &machines {
            scope.spawn(|| {
                for turn in 0..200 {
                    let look = |cpu: &crate::Cpu<'_>| {
                        let inside = &inside[cpu.id().index()];
                        assert_eq!(inside.fetch_add(1, SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, SeqCst);
                    };
                    if turn % 2 == 0 {
                        machine.run_on(machine.cpus(), look).unwrap();
                    } else {
                        machine.enter(cpu(1), look).unwrap();
                    }
                }
            });
        }
    });
    let [one, other] = machines;
    let nested = one.enter(cpu(0), |_| other.enter(cpu(0), |_| ()).err()).unwrap();
    assert_eq!(nested, Some(EnterError::CpuTaken { cpu: cpu(0) }));
}
