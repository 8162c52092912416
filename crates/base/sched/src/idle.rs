//! The idle thread's part: what a CPU does that has no other thread.

use rhumb_machine::{CpuId, IrqOff};
use rhumb_sync::atomic::SeqCst;

use crate::kernel::Kernel;
use crate::scheduler::Scheduler;

/// The next step of an idle CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "an idle CPU halts, or it has work"]
pub enum Idle {
    /// Halt, and turn interrupts on in the same step. The next interrupt may have brought work.
    Halt,
    /// Call [`Scheduler::reschedule`], because there is work.
    Work,
}

impl<K: Kernel> Scheduler<K> {
    /// Takes a thread from a CPU nearby, or says that this CPU is about to halt, so that threads come here first.
    /// Interrupts stay off until the CPU halts, which turns them on in the same step: a thread that comes meanwhile is
    /// announced by an interrupt, which ends the halt.
    pub fn begin_idle(&self, irq_off: IrqOff<'_>) -> Idle {
        let cpu = self.kernel.cpu_of(irq_off.pinned());
        if self.is_wanted(irq_off) || self.pull(irq_off) {
            return Idle::Work;
        }
        self.idle[cpu.word()].0.fetch_or(cpu.bit(), SeqCst);
        // A thread may have come between the looks and the bit.
        if self.is_wanted(irq_off) {
            self.end_idle(cpu);
            return Idle::Work;
        }
        Idle::Halt
    }

    /// Says that a CPU does not halt any more.
    pub(crate) fn end_idle(&self, cpu: CpuId) {
        let idle = &self.idle[cpu.word()].0;
        if idle.load(SeqCst) & cpu.bit() != 0 {
            idle.fetch_and(!cpu.bit(), SeqCst);
        }
    }
}
