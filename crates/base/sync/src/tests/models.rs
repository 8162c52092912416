//! Every interleaving of small cases: `RUSTFLAGS="--cfg loom" cargo test -p rhumb-sync --lib --release`.

use loom::sync::Arc;
use rhumb_machine::{CpuId, IrqOff};

use crate::atomic::{Acquire, AtomicU32, Relaxed, Release};
use crate::{CpuGate, Lock};

fn check(work: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(work);
}

/// Returns a proof for a thread of the model.
fn irq_off(cpu: usize) -> IrqOff<'static> {
    // SAFETY: each thread of the model is a CPU of its own, and has no interrupts.
    unsafe { IrqOff::assume(CpuId::new(cpu).unwrap()) }
}

/// Two CPUs change a plain value under the lock, one of them without waiting: no change is lost, and loom sees no race.
#[test]
fn the_lock_excludes() {
    check(|| {
        let shared = Arc::new(Lock::new(loom::cell::Cell::new(0)));
        let add = |value: &loom::cell::Cell<u32>| value.set(value.get() + 1);
        let other = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || add(&shared.lock(irq_off(1))))
        };
        let tried = shared.try_lock(irq_off(0)).map(|value| add(&value)).is_ok();
        add(&shared.lock(irq_off(0)));
        other.join().unwrap();
        assert_eq!(shared.lock(irq_off(0)).get(), 2 + u32::from(tried));
    });
}

/// A CPU sets its cap while another one asks it to drain: the request stays, and the next cap counts after it was
/// answered.
#[test]
fn a_request_to_drain_is_neither_missed_nor_kept() {
    check(|| {
        let gate = Arc::new(CpuGate::new());
        let asker = {
            let gate = Arc::clone(&gate);
            loom::thread::spawn(move || gate.ask())
        };
        gate.bound(8);
        gate.bound(4);
        asker.join().unwrap();
        assert!(gate.is_wanted() && gate.cap() < 0);
        gate.answer();
        gate.bound(8);
        assert_eq!(gate.cap(), 8);
    });
}

/// A CPU gives back all that it holds and keeps more, while another CPU asks for the data that it sees there: that data
/// goes back, or the request stays.
#[test]
fn a_request_that_meets_an_answer_is_answered_or_stays() {
    check(|| {
        let gate = Arc::new(CpuGate::new());
        // The number of the thing that the CPU holds, 0 while it holds nothing. x86 makes stores visible in order, as
        // `Release` and `Acquire` do here.
        let held = Arc::new(AtomicU32::new(1));
        gate.ask();
        let asker = {
            let (gate, held) = (Arc::clone(&gate), Arc::clone(&held));
            loom::thread::spawn(move || {
                let seen = held.load(Acquire);
                if seen != 0 {
                    gate.ask();
                }
                seen
            })
        };
        for next in 2..4 {
            if gate.is_wanted() {
                gate.answer();
                held.store(0, Release);
            }
            gate.bound(next);
            if held.load(Relaxed) == 0 && gate.cap() > 0 {
                held.store(next, Release);
            }
        }
        let seen = asker.join().unwrap();
        let is_kept = seen != 0 && held.load(Relaxed) == seen;
        assert!(!is_kept || gate.is_wanted(), "the request for {seen} is lost");
    });
}
