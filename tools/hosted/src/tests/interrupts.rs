//! Interrupts at every point, and storms of them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use rhumb_machine::{IrqState, Machine};

use super::{cpu, depth, small};
use crate::HostedMachine;
use crate::interrupt::Strike;

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
#[cfg_attr(
    rhumb_tsan,
    ignore = "ThreadSanitizer holds signals back while the code calls nothing of the C library"
)]
fn a_storm_finds_code_that_leaves_interrupts_on() {
    let machine = small(1);
    let (struck, lost) = lost_in_a_storm(&machine, false);
    assert!(lost > 0, "struck {struck} times");
    let (_, lost) = lost_in_a_storm(&machine, true);
    assert_eq!(lost, 0);
}

/// The body keeps the answer of its system call, also where a handler makes a system call, too.
#[test]
fn a_storm_leaves_the_error_of_the_body_alone() {
    let machine = small(1);
    machine
        .enter(cpu(0), |cpu| {
            // SAFETY: the C library answers with the address of this thread's `errno`.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: as above, on the same thread.
            let mut handler = |_: rhumb_machine::IrqOff<'_>| unsafe { errno.write_volatile(libc::EINTR) };
            let body = || {
                (0..20_000).all(|_| {
                    // SAFETY: as above.
                    unsafe { errno.write_volatile(libc::ENOMEM) };
                    (0..20).for_each(|_| core::hint::spin_loop());
                    // SAFETY: as above.
                    unsafe { errno.read_volatile() == libc::ENOMEM }
                })
            };
            let mut struck = 0;
            while struck < 10 {
                // SAFETY: the handler writes one word of its own thread, which the storm restores.
                let (kept, times) = unsafe { cpu.with_storm(&mut handler, body) }.unwrap();
                assert!(kept, "a handler's error is the body's");
                struck += times;
            }
        })
        .unwrap();
}

/// Stretches are counted by the line of their first guard, however the guards end.
#[test]
#[cfg(feature = "interrupts")]
fn stretches_with_interrupts_off_are_traced_by_place() {
    let machine = small(1);
    machine
        .enter(cpu(0), |cpu| {
            let line = line!();
            let (value, stretches) = cpu.trace_irqs_off(|| {
                for _ in 0..3 {
                    let first = machine.irq_off();
                    let second = machine.irq_off();
                    drop(first);
                    drop(second);
                }
                drop(machine.irq_off());
                7
            });
            drop(machine.irq_off());
            assert_eq!(value, 7);
            let mut found: Vec<_> =
                stretches.iter().map(|stretch| (stretch.place.line() - line, stretch.times)).collect();
            found.sort_unstable();
            assert_eq!(found, [(3, 3), (8, 1)], "the second guard of a stretch is no place of its own");
            assert!(stretches.is_sorted_by_key(|stretch| core::cmp::Reverse(stretch.longest_ns)));
            assert!(stretches.iter().all(|stretch| stretch.place.file().ends_with("interrupts.rs")));
            let ((), each) = cpu.trace_each_irqs_off(|| {
                (0..2).for_each(|_| drop(machine.irq_off()));
                drop(machine.irq_off());
            });
            let lines: Vec<_> = each.iter().map(|stretch| stretch.place.line()).collect();
            assert_eq!(lines.len(), 3);
            assert!(lines[0] == lines[1] && lines[1] + 1 == lines[2], "in the order in which they came");
        })
        .unwrap();
}
