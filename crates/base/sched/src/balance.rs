//! Moving threads from CPUs that have many to those that have few.
//!
//! 1. **Pull.** A CPU that is about to halt takes a thread from the most loaded of its neighbours, if one waits there.
//! 2. **Urgent first.** A real-time thread that waits goes to a CPU near whose most urgent thread is less urgent, as soon
//!    as it is preempted, and at each look.
//! 3. **Push.** A CPU with threads that wait looks, every [`Limits::balance_ns`](crate::Limits) at most, for an idle CPU
//!    anywhere: so no CPU halts for longer than that beside threads that may run on it. Where there is none, the CPU
//!    compares its load with another one's: in turns with one of its neighbours', and with the next of all.
//!
//! Neighbours are the CPUs whose numbers differ in one bit. From each CPU to each other one it is ten such steps at most
//! (of 1,024), so load spreads fast without any CPU looking at more than ten others. Neighbours alone could be even while
//! CPUs further away are not, so each second look is at the next CPU of all.
//!
//! **No ping-pong.** Between two busy CPUs a fair thread moves only if its weight is less than the difference of their
//! loads, so that each move makes the difference smaller, and moves come to an end. A real-time thread also moves where it
//! displaces a less urgent one: each such move makes what CPUs run more urgent.
//!
//! A thread that is moved is out of the queue of one CPU before it enters that of the other: Ready, in no queue, and the
//! mover's. No CPU holds two queues' locks. Each step looks at eight threads of each class that may run elsewhere, the next
//! step at the next eight, and moves four at most.

use core::ptr::NonNull;

use rhumb_machine::mask::WORDS;
use rhumb_machine::{CpuId, IrqOff};
use rhumb_sync::atomic::{Relaxed, SeqCst};

use crate::kernel::Kernel;
use crate::place::neighbours;
use crate::scheduler::Scheduler;
use crate::thread::{Thread, at};

/// How many threads one CPU pushes to another at a time.
const PUSHES: usize = 4;

impl<K: Kernel> Scheduler<K> {
    /// Takes a thread from the most loaded neighbour of this CPU, which has none, and tells whether there was one.
    pub(crate) fn pull(&self, irq_off: IrqOff<'_>) -> bool {
        let here = self.kernel.cpu_of(irq_off.pinned());
        let loads =
            neighbours(here).filter(|&cpu| self.is_online(cpu)).map(|cpu| (self.per_cpu(cpu).load(), cpu));
        let waiting = loads.filter(|(load, _)| load.waiting != 0);
        let Some((_, from)) = waiting.max_by_key(|(load, _)| load.weight) else { return false };
        let Some(thread) = self.take_from(from, irq_off, |thread| thread.may_run_on(here)) else {
            return false;
        };
        self.send(thread, here, irq_off);
        true
    }

    /// Gives threads that wait on this CPU to others that have less to do.
    pub(crate) fn balance(&self, irq_off: IrqOff<'_>) {
        let here = self.kernel.cpu_of(irq_off.pinned());
        let for_idle = |thread: &Thread<K>| self.idle_for(thread, here).is_some();
        for _ in 0..PUSHES {
            if (0..WORDS).all(|word| self.idle_word(word) == 0) {
                break;
            }
            let Some(thread) = self.take_from(here, irq_off, for_idle) else { break };
            let to = self.idle_for(thread, here).unwrap_or(here);
            self.idle[to.word()].0.fetch_and(!to.bit(), SeqCst);
            self.send(thread, to, irq_off);
        }
        let is_urgent_elsewhere = |thread: &Thread<K>| self.less_urgent_near(thread, here).is_some();
        for _ in 0..PUSHES {
            let Some(thread) = self.take_from(here, irq_off, is_urgent_elsewhere) else { break };
            let to = self.less_urgent_near(thread, here).unwrap_or(here);
            self.send(thread, to, irq_off);
        }
        let Some(to) = self.next_to_compare(here) else { return };
        for _ in 0..PUSHES {
            let (mine, theirs) = (self.per_cpu(here).load(), self.per_cpu(to).load());
            let difference = mine.weight.saturating_sub(theirs.weight);
            let helps = |thread: &Thread<K>| {
                let rank = thread.run.policy().rank();
                let is_urgent = rank > theirs.rank.max(1);
                thread.may_run_on(to) && (is_urgent || thread.run.weight() < difference)
            };
            let Some(thread) = self.take_from(here, irq_off, helps) else { return };
            self.send(thread, to, irq_off);
        }
    }

    /// Returns the CPU with which `here` compares its load this time.
    fn next_to_compare(&self, here: CpuId) -> Option<CpuId> {
        let turn = &self.per_cpu(here).balance_turn;
        turn.add(1);
        let round = turn.get() as usize / 2;
        if turn.get().is_multiple_of(2) {
            let online = neighbours(here).filter(|&cpu| self.is_online(cpu));
            return online.clone().nth(round % online.count().max(1));
        }
        let next = CpuId::new((here.index() + 1 + round) % self.kernel.cpu_count().max(1))?;
        Some(next).filter(|&next| next != here && self.is_online(next))
    }

    fn idle_word(&self, word: usize) -> u64 {
        self.idle[word].0.load(Relaxed) & self.online_word(word)
    }

    /// Returns an idle CPU for a thread, of those nearest to `near` by number of their word.
    fn idle_for(&self, thread: &Thread<K>, near: CpuId) -> Option<CpuId> {
        (0..WORDS).find_map(|distance| {
            let word = near.word() ^ distance;
            let idle = self.idle_word(word) & thread.affinity_word(word);
            let bit = (idle != 0).then(|| idle.trailing_zeros() as usize)?;
            CpuId::new(word * u64::BITS as usize + bit)
        })
    }

    /// Takes a thread that waits on `from`, and for which `fits` is true, out of the queue. It is the caller's.
    fn take_from(
        &self,
        from: CpuId,
        irq_off: IrqOff<'_>,
        fits: impl FnMut(&Thread<K>) -> bool,
    ) -> Option<&Thread<K>> {
        let there = self.per_cpu(from);
        let mut queue = there.queue.lock(irq_off);
        queue.charge(self.kernel.time_ns());
        let thread = NonNull::from(queue.spare(fits)?);
        // SAFETY: the thread waits in the queue, whose lock is held; afterwards it is ready, and the caller's alone.
        let thread: &Thread<K> = unsafe { at(thread) };
        queue.remove(thread);
        there.publish(&queue);
        Some(thread)
    }

    /// Puts a thread that is the caller's into the queue of `to`, or of another CPU where it may not run there any more.
    fn send(&self, thread: &Thread<K>, to: CpuId, irq_off: IrqOff<'_>) {
        let sent = self.enqueue_at(thread, to, irq_off);
        self.act(sent, irq_off);
    }
}
