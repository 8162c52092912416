//! The alarm: time-outs that are over, balancing, and the end of a slice.

use rhumb_machine::{CpuId, IrqOff, impossible};

use crate::kernel::Kernel;
use crate::scheduler::{Reschedule, Scheduler};
use crate::thread::Thread;
use crate::timers::NEVER;
use crate::tree::order;
use crate::word::{Reason, Ticket};

/// The latest time-out from now: 73 years.
const LATEST_NS: u64 = 1 << 61;

/// How many waits one alarm ends.
const BATCH: usize = 16;

impl<K: Kernel> Scheduler<K> {
    /// Has the wait of the calling thread end at `at_ns`, if nothing ends it before.
    pub(crate) fn set_timer(&self, thread: &Thread<K>, ticket: Ticket, at_ns: u64, irq_off: IrqOff<'_>) {
        let cpu = self.kernel.cpu_of(irq_off.pinned());
        thread.timer_cpu.set(cpu.index() as u64);
        // Keys are compared by their difference. A thread that is woken this early waits anew.
        let at_ns = at_ns.min(self.kernel.time_ns().saturating_add(LATEST_NS));
        thread.wait.set(ticket.bits());
        let timers = &self.per_cpu(cpu).timers;
        let tree = timers.tree.lock(irq_off);
        // SAFETY: the last reference to a thread frees it only while it is in no tree.
        if !unsafe { tree.insert(thread, at_ns, 0) } {
            impossible!("a thread takes its timer out before it waits anew");
        }
        timers.note_first(&tree);
    }

    /// Takes the timer of the calling thread out, if its time is not over, and waits for the alarm that has it in its
    /// hands.
    pub(crate) fn clear_timer(&self, thread: &Thread<K>, irq_off: IrqOff<'_>) {
        let cpu = CpuId::new(thread.timer_cpu.get() as usize).unwrap_or(CpuId::BOOT);
        let timers = &self.per_cpu(cpu).timers;
        let tree = timers.tree.lock(irq_off);
        if tree.remove(thread) {
            timers.note_first(&tree);
        }
    }

    /// Ends the waits of this CPU whose time is over, 16 at most.
    pub(crate) fn expire(&self, irq_off: IrqOff<'_>) {
        let timers = &self.per_cpu(self.kernel.cpu_of(irq_off.pinned())).timers;
        let now_ns = self.kernel.time_ns();
        let tree = timers.tree.lock(irq_off);
        for _ in 0..BATCH {
            let over = |thread: &&Thread<K>| order(thread.timer.key(), now_ns).is_le();
            let Some(thread) = tree.first().filter(over) else { break };
            let ticket = Ticket::from_bits(thread.wait.get());
            tree.remove(thread);
            // False where the wait has ended already: its thread takes the lock before it goes on.
            self.wake(thread, ticket, Reason::TimedOut, irq_off);
        }
        timers.note_first(&tree);
    }

    /// Is called by the interrupt of [`Kernel::set_alarm`]: a slice or a time-out is over. Ends 16 waits at most, and sets
    /// the alarm again where more are over.
    pub fn alarm(&self, irq_off: IrqOff<'_>) {
        let cpu = self.kernel.cpu_of(irq_off.pinned());
        self.expire(irq_off);
        let here = self.per_cpu(cpu);
        let now_ns = self.kernel.time_ns();
        let balances = here.queue.lock(irq_off).begin_balance(now_ns);
        if balances {
            self.balance(irq_off);
        }
        let choose_ns = Some(here.choose_ns.get()).filter(|&choose_ns| choose_ns != NEVER);
        let is_due = balances || choose_ns.is_some_and(|choose_ns| choose_ns <= now_ns);
        // Where the CPU is to choose, it sets the time for the next choice then.
        let alarms = [here.timers.first_ns(), choose_ns.filter(|_| !is_due)];
        let alarm_ns = alarms.into_iter().flatten().min();
        // The alarm that has just come is over.
        here.changes_alarm(alarm_ns);
        self.kernel.set_alarm(alarm_ns, irq_off);
        if is_due {
            self.act(Reschedule::Cpu(cpu), irq_off);
        }
    }
}
