//! The last resort of a request for frames: an interrupt makes the other CPUs give back what their caches hold.
//!
//! The one place where the frame allocator has CPUs interrupted, and the exception that invariant I2 names.

use rhumb_frames::{Recall, RecallRegistration};
use rhumb_machine::{Machine, Pinned};
use x86_64::instructions::interrupts;

use crate::machine::MACHINE;
use crate::mm::frames::frames;
use crate::smp;
use crate::smp::call;

/// What the allocator is told at boot.
pub static RECALL: RecallRegistration = &CrossCall;

struct CrossCall;

impl Recall for CrossCall {
    /// Not with interrupts off: the caller may hold a lock for which a CPU waits that cannot be interrupted.
    fn drain_others(&self, pinned: Pinned<'_>) {
        let Some(frames) = frames().filter(|_| interrupts::are_enabled()) else { return };
        let drain = || {
            let guard = MACHINE.pin();
            frames.drain(guard.pinned());
        };
        call::run_on(pinned, &smp::online(), &drain, || ());
    }
}
