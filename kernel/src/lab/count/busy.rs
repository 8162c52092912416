//! Other CPUs that run while an operation is measured, so that they are interrupted where CPUs that idle would be left
//! alone.
//!
//! They wait in a loop of their own, which a counter can tell from what interrupts them by its name: [`run_meanwhile`].
//! Each turn of the loop pauses, and an emulator that executes one CPU after the other goes on to the next then.

use core::hint::spin_loop;
use core::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Release},
};

use crate::cpu::{self, area, call, work};

/// Runs `act` here while every other CPU runs, with interrupts on.
pub fn while_others_run(act: impl FnOnce()) {
    let others = cpu::online().without(area::cpu_now()).len();
    let (running, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    work::on_others(
        &|| {
            running.fetch_add(1, AcqRel);
            run_meanwhile(&over);
        },
        || {
            while running.load(Acquire) < others {
                call::serve_if_here();
                spin_loop();
            }
            act();
            over.store(true, Release);
        },
    );
}

/// Runs until `over`. `cargo xtask count` takes what is executed in here for waiting: the name is part of what it
/// knows.
#[inline(never)]
fn run_meanwhile(over: &AtomicBool) {
    while !over.load(Acquire) {
        spin_loop();
    }
}
