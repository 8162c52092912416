use rhumb_machine::{CpuId, IrqOff};

use crate::{CpuGate, Lock};

fn irq_off(cpu: usize) -> IrqOff<'static> {
    // SAFETY: each thread of the tests is a CPU of its own, and has no interrupts.
    unsafe { IrqOff::assume(CpuId::new(cpu).unwrap()) }
}

#[test]
fn no_change_under_the_lock_is_lost() {
    let shared = Lock::new(0_u64);
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let shared = &shared;
            scope.spawn(move || (0..10_000).for_each(|_| *shared.lock(irq_off(cpu)) += 1));
        }
    });
    assert_eq!(*shared.lock(irq_off(0)), 40_000);
}

#[test]
fn a_lock_that_is_taken_is_not_taken_again() {
    let lock = Lock::new(1);
    let mut guard = lock.try_lock(irq_off(0)).ok().unwrap();
    assert!(lock.is_taken() && lock.try_lock(irq_off(1)).is_err());
    *guard += 1;
    drop(guard);
    assert!(!lock.is_taken());
    assert_eq!(*lock.try_lock(irq_off(1)).ok().unwrap(), 2);
}

#[test]
fn a_lock_can_be_taken_from_its_holder() {
    let lock = Lock::new(());
    core::mem::forget(lock.lock(irq_off(0)));
    // SAFETY: the guard is forgotten, so that it is never dropped and the value is not used.
    unsafe { lock.force_unlock() };
    assert!(lock.try_lock(irq_off(1)).is_ok());
}

#[test]
fn a_handler_leaves_the_data_alone() {
    let gate = CpuGate::new();
    assert_eq!(gate.alone(|| (gate.is_busy(), gate.alone(|| ()))), Some((true, None)));
    assert!(!gate.is_busy() && gate.alone(|| ()).is_some());
}

#[test]
fn no_free_is_kept_while_a_request_waits() {
    let gate = CpuGate::new();
    gate.bound(8);
    assert_eq!(gate.cap(), 8);
    gate.ask();
    gate.bound(16);
    assert!(gate.is_wanted() && gate.cap() < 0);
    gate.answer();
    assert_eq!(gate.cap(), 0);
    gate.bound(16);
    assert_eq!(gate.cap(), 16);
    gate.answer();
    assert_eq!(gate.cap(), 16, "an answer without a request changes nothing");
}
