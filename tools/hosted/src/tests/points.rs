//! Interrupts at every point where a CPU takes them.

use std::cell::Cell;

use rhumb_machine::{IrqState, Machine};

use super::{cpu, depth, small};
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
