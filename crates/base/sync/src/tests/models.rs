//! Every interleaving of small cases: `RUSTFLAGS="--cfg loom" cargo test -p rhumb-sync --lib --release`.

use loom::sync::Arc;
use rhumb_machine::{CpuId, IrqOff};

use std::boxed::Box;

use crate::atomic::{Acquire, AtomicU32, AtomicU64, Relaxed, Release};
use crate::{CpuGate, Keepers, Lock, Place, QueueLock};

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

/// Two CPUs change a plain value in turns, one of them by a try, too: no change is lost, each CPU has its turn, and loom
/// sees no race.
#[test]
fn the_queue_excludes_and_comes_to_each() {
    check(|| {
        let shared = Arc::new(QueueLock::new(loom::cell::Cell::new(0)));
        let add = |value: &loom::cell::Cell<u32>| value.set(value.get() + 1);
        let in_turn = move |shared: &QueueLock<loom::cell::Cell<u32>>, cpu: usize| {
            let place = Place::new();
            loop {
                match shared.look(irq_off(cpu), &place) {
                    Ok(value) => break add(&value),
                    Err(_) => {
                        let _ = shared.waits(&place);
                        crate::atomic::relax();
                    }
                }
            }
        };
        let other = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || (0..2).for_each(|_| in_turn(&shared, 1)))
        };
        in_turn(&shared, 0);
        let tried = shared.try_lock(irq_off(0)).map(|value| add(&value)).is_ok();
        other.join().unwrap();
        assert_eq!(shared.try_lock(irq_off(0)).unwrap().get(), 3 + u32::from(tried));
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

/// A CPU gives back what it keeps and keeps more, while two others ask all that have yet to be asked: in the end the CPU
/// has its bit, or was asked, or keeps nothing.
#[test]
fn a_cpu_that_keeps_something_can_be_asked_or_was() {
    check(|| {
        // Leaked, because the sets live as long as the machine.
        let words = || -> &'static [AtomicU64] { Box::leak(Box::new([AtomicU64::new(0)])) };
        let (keeping, unasked) = (words(), words());
        let keepers = Arc::new(Keepers::new(keeping, unasked));
        let gate = Arc::new(CpuGate::new());
        let me = CpuId::BOOT;
        keepers.join(me);
        let asker = |cpu: usize| {
            let (keepers, gate) = (Arc::clone(&keepers), Arc::clone(&gate));
            loom::thread::spawn(move || keepers.ask_others(CpuId::new(cpu).unwrap(), |_| gate.ask()))
        };
        let askers = [asker(1), asker(2)];
        let mut keeps = true;
        for _ in 0..2 {
            if gate.is_wanted() {
                gate.answer();
                keepers.leave(me);
                keeps = false;
            }
            gate.bound(8);
            if gate.cap() > 0 {
                keepers.join(me);
                keeps = true;
            }
        }
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        assert!(!keeps || gate.is_wanted() || unasked[0].load(Relaxed) == 1, "no CPU can ask");
        assert_eq!(keepers.contains(me), keeps);
    });
}
