//! The counts of accesses whose order is known. Each test has CPUs and memory of its own.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::boxed::Box;
use std::thread;

use rhumb_machine::{CpuId, IrqOff};

use super::*;
use crate::Lock;
use crate::atomic::{AtomicPtr, AtomicU32, AtomicU64};

/// A value on a line of its own.
#[derive(Default)]
#[repr(align(64))]
struct OwnLine<T>(T);

/// Returns a value that lives permanently: the ledger takes what lies at an address that is used again for the same.
fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Ends a value that is not needed.
fn done<T>(_: T) {}

/// Does `work` as a CPU, and returns its counts.
fn on(cpu: usize, work: impl FnOnce()) -> Counts {
    be(CpuId::new(cpu));
    let _ = take();
    work();
    let counts = take();
    be(None);
    counts
}

fn foreign(cpu: usize, work: impl FnOnce()) -> u64 {
    on(cpu, work).foreign_lines
}

#[test]
fn a_line_is_foreign_once_after_each_write_of_another_cpu() {
    let word = kept(OwnLine::<AtomicU32>::default());
    let read = || done(word.0.load(Relaxed));
    assert_eq!(foreign(0, read), 0, "no CPU has written it");
    assert_eq!(foreign(1, || word.0.store(1, Relaxed)), 0, "CPU 0 has only read it");
    assert_eq!(foreign(1, read), 0, "its own");
    for cpu in [0, 2] {
        assert_eq!(foreign(cpu, || (0..3).for_each(|_| read())), 1, "CPU {cpu} fetches it once");
    }
    assert_eq!(foreign(2, || word.0.store(2, Relaxed)), 0, "it has it");
    assert_eq!((foreign(0, read), foreign(1, read), foreign(2, read)), (1, 1, 0));
}

#[test]
fn values_that_share_a_line_are_one() {
    #[repr(align(64))]
    struct Beside(AtomicU64, AtomicU64);
    let beside = kept(Beside(AtomicU64::new(0), AtomicU64::new(0)));
    assert_eq!(foreign(10, || beside.0.store(1, Relaxed)), 0);
    assert_eq!(foreign(11, || done(beside.1.load(Relaxed))), 1, "the other value's line");
    let lines = kept(OwnLine([0_u64; 17]));
    assert_eq!(foreign(10, || written(lines)), 0);
    assert_eq!(foreign(11, || read(lines)), 3, "a value of three lines");
}

#[test]
fn each_operation_that_may_write_takes_the_line() {
    let word = kept(OwnLine::<AtomicU64>::default());
    let writes: [fn(&AtomicU64); 7] = [
        |word| word.store(1, SeqCst),
        |word| done(word.swap(2, SeqCst)),
        |word| done(word.fetch_add(1, SeqCst)),
        |word| done(word.fetch_max(1, SeqCst)),
        |word| done(word.compare_exchange(3, 4, SeqCst, Relaxed)),
        |word| done(word.compare_exchange_weak(4, 5, SeqCst, Relaxed)),
        |word| done(word.fetch_update(SeqCst, Relaxed, |old| Some(old + 1))),
    ];
    for (index, write) in writes.into_iter().enumerate() {
        on(20, || write(&word.0));
        assert_eq!(foreign(21, || done(word.0.load(Relaxed))), 1, "operation {index}");
    }
    assert_eq!(word.0.load(Relaxed), 6, "they do what those of core do");
}

#[test]
fn locks_are_counted_when_they_are_taken() {
    let lock = kept(OwnLine(Lock::new(0)));
    // SAFETY: the test's threads have no interrupts.
    let irq_off = |cpu| unsafe { IrqOff::assume(CpuId::new(cpu).unwrap()) };
    let counts = on(30, || {
        let held = lock.0.lock(irq_off(30));
        assert!(lock.0.try_lock(irq_off(30)).is_err());
        drop(held);
    });
    assert_eq!((counts.lock_visits, counts.foreign_lines), (1, 0));
    let counts = on(31, || *lock.0.lock(irq_off(31)) += 1);
    assert_eq!((counts.lock_visits, counts.foreign_lines), (1, 1));
}

#[test]
fn a_thing_has_moved_when_another_cpu_loads_it() {
    let thing = kept(0_u64);
    let load = || loaded(thing);
    assert_eq!(
        [on(40, load), on(40, load), on(41, load), on(40, load)].map(|counts| counts.moved),
        [0, 0, 1, 1]
    );
}

#[test]
fn a_thread_that_is_no_cpu_is_not_counted() {
    let pointer = kept(OwnLine(AtomicPtr::<u8>::new(core::ptr::null_mut())));
    on(50, || pointer.0.store(core::ptr::null_mut(), Relaxed));
    thread::scope(|scope| {
        scope.spawn(|| {
            pointer.0.store(core::ptr::null_mut(), Relaxed);
            assert_eq!(take(), Counts::default());
        });
    });
    assert_eq!(foreign(50, || done(pointer.0.load(Relaxed))), 0);
}
