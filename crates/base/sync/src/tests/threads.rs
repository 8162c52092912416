use rhumb_machine::{CpuId, IrqOff};

use std::boxed::Box;
use std::vec::Vec;

use crate::atomic::AtomicU64;
use crate::{CpuGate, Keepers, Lock};

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

#[test]
fn of_the_cpus_that_keep_something_each_is_asked_once() {
    let words = || -> &'static [AtomicU64] { Box::leak(Box::new([const { AtomicU64::new(0) }; 3])) };
    let (keeping, unasked) = (words(), words());
    assert_eq!(Keepers::words(129), keeping.len());
    let keepers = Keepers::new(keeping, unasked);
    let cpus = [0, 1, 63, 64, 128].map(|index| CpuId::new(index).unwrap());
    let asked = |me: CpuId| {
        let mut asked = Vec::new();
        keepers.ask_others(me, |cpu| asked.push(cpu));
        asked
    };
    assert_eq!(asked(cpus[0]), []);
    cpus.iter().for_each(|&cpu| keepers.join(cpu));
    assert_eq!(keepers.iter().collect::<Vec<_>>(), cpus);
    // All but the one that asks, which another one may ask later.
    assert_eq!(asked(cpus[2]), [cpus[0], cpus[1], cpus[3], cpus[4]]);
    assert_eq!(asked(cpus[2]), []);
    assert_eq!(asked(cpus[0]), [cpus[2]]);
    // One that joins again without leaving was asked already; one that has left and joined was not.
    keepers.join(cpus[1]);
    assert_eq!(asked(cpus[0]), []);
    keepers.leave(cpus[1]);
    assert!(!keepers.contains(cpus[1]) && keepers.contains(cpus[3]));
    keepers.join(cpus[1]);
    assert_eq!(asked(cpus[0]), [cpus[1]]);
    // One that leaves before it is asked is asked for nothing.
    keepers.leave(cpus[3]);
    keepers.join(cpus[3]);
    keepers.leave(cpus[3]);
    assert_eq!(asked(cpus[0]), []);
    // A CPU past the last is in no set.
    keepers.join(CpuId::new(255).unwrap());
    assert!(!keepers.contains(CpuId::new(255).unwrap()));
    assert_eq!(keepers.iter().count(), 4);
}
