//! The last resort of a request for frames: an interrupt makes the other CPUs give back what their caches hold.
//! CPUs whose caches hold nothing are left alone.
//!
//! Each call gives back some, because it runs with interrupts off; there are as many calls as it takes.
//!
//! The one place where the frame allocator has CPUs interrupted, and the exception that invariant I2 names.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_frames::{Drained, Frames, Recall};
use rhumb_machine::{CpuMask, Machine, Pinned};
use x86_64::instructions::interrupts;

use super::frames::frames;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, call};

/// Calls after which a CPU that goes on filling its caches is left alone. A full cache takes about ten.
const MOST_CALLS: usize = 32;

/// Tells the allocator of this recall. Once, at boot.
pub fn start(frames: &Frames<KernelMachine>) {
    frames.set_recall(&CrossCall);
}

/// The recall of this kernel: by cross-calls.
pub struct CrossCall;

impl Recall for CrossCall {
    /// Does nothing with interrupts off, because the caller may hold a lock for which a CPU waits that cannot be
    /// interrupted.
    fn drain_others(&self, pinned: Pinned<'_>) {
        let Some(frames) = frames().filter(|_| interrupts::are_enabled()) else { return };
        for _ in 0..MOST_CALLS {
            let is_more = AtomicBool::new(false);
            let drain = || {
                let guard = MACHINE.pin();
                if frames.drain_some(guard.pinned()) == Drained::Partly {
                    is_more.store(true, Relaxed);
                }
            };
            let keepers: CpuMask = cpu::online().iter().filter(|&cpu| frames.is_keeping(cpu)).collect();
            call::run_on(pinned, &keepers, &drain, || ());
            if !is_more.into_inner() {
                break;
            }
        }
    }
}
