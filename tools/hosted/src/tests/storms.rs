//! Storms of interrupts, and stretches without any.

use std::sync::atomic::{AtomicU64, Ordering};

use rhumb_machine::Machine;

use super::{cpu, small};
use crate::HostedMachine;

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
            // SAFETY: `errno` is this thread's, on which the handler runs.
            let mut handler = |_: rhumb_machine::IrqOff<'_>| unsafe { errno.write_volatile(libc::EINTR) };
            let body = || {
                (0..20_000).all(|_| {
                    // SAFETY: `errno` is this thread's, on which the body runs.
                    unsafe { errno.write_volatile(libc::ENOMEM) };
                    (0..20).for_each(|_| core::hint::spin_loop());
                    // SAFETY: `errno` is this thread's, on which the body runs.
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
            assert!(stretches.iter().all(|stretch| stretch.place.file().ends_with("storms.rs")));
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
