//! The timer of each CPU: one interrupt, at the time that the scheduler waits for next.
//!
//! The scheduler says with each choice when it wants the CPU back, mostly later than before, or never. Programming the
//! timer costs an exit on a virtual machine. So the timer is programmed where it would come too late, and an interrupt
//! that comes too early programs it anew.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{IrqOff, Machine};

use crate::cpu::clock;
use crate::cpu::machine::MACHINE;

const NEVER: u64 = u64::MAX;

/// The alarm of one CPU, which alone uses it, with interrupts off.
pub struct Alarm {
    /// When the scheduler is to be called.
    wanted_ns: AtomicU64,
    /// When the timer interrupts.
    armed_ns: AtomicU64,
}

impl Alarm {
    pub const fn new() -> Self {
        Self { wanted_ns: AtomicU64::new(NEVER), armed_ns: AtomicU64::new(NEVER) }
    }

    /// Sets when the scheduler of this CPU is to be called; `None` for never.
    pub fn set(&self, at_ns: Option<u64>, _irq_off: IrqOff<'_>) {
        let at_ns = at_ns.unwrap_or(NEVER);
        self.wanted_ns.store(at_ns, Relaxed);
        if at_ns < self.armed_ns.load(Relaxed) {
            self.arm(at_ns);
        }
    }

    fn arm(&self, at_ns: u64) {
        self.armed_ns.store(at_ns, Relaxed);
        clock::arm_ns(at_ns.saturating_sub(MACHINE.now_ns()));
    }

    /// Notes that the timer has interrupted, and tells whether the scheduler is to be called now.
    #[must_use = "the scheduler is to be called"]
    pub fn fired(&self, _irq_off: IrqOff<'_>) -> bool {
        self.armed_ns.store(NEVER, Relaxed);
        let wanted_ns = self.wanted_ns.load(Relaxed);
        if wanted_ns == NEVER {
            return false;
        }
        if wanted_ns > MACHINE.now_ns() {
            self.arm(wanted_ns);
            return false;
        }
        self.wanted_ns.store(NEVER, Relaxed);
        true
    }
}
