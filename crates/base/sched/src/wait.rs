//! [`WaitQueue`]: threads that wait for something to become true, sleeping, and joining.
//!
//! A waiter enters the queue *before* it looks at its condition for the last time, and a waker makes the condition true
//! before it looks at the queue: so one of the two sees the other, and no wake-up is lost. Interrupts are off from the
//! entry to the switch, because a thread that was preempted in between would not be woken.
//!
//! A waker takes the thread out of the queue and ends its wait under the queue's lock. If a time-out or a cancel was
//! first, the waker takes the next one: a wake-up of one thread reaches a thread that waits, if there is any. A thread whose
//! wait ended otherwise takes itself out, under the same lock.
//!
//! Locking: the lock of a wait queue is above that of a run queue, and beside that of timers.

use core::cell::Cell;

use rhumb_machine::{IrqOff, impossible};

use crate::kernel::Kernel;
use crate::list::End;
use crate::run_queue::Why;
use crate::scheduler::Scheduler;
use crate::switch::CannotSwitch;
use crate::thread::Thread;
pub use crate::thread::WaitQueue;
use crate::word::{Reason, Ticket};

/// How many threads are woken, or found to have ended their wait otherwise, with interrupts off.
const BATCH: u64 = 16;

/// The reason why a wait ended without what it waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitError {
    /// Its time is over.
    TimedOut,
    /// [`Scheduler::cancel`] ended it.
    Cancelled,
    /// The caller has a pin, or interrupts off, or is the idle thread.
    CannotSwitch,
    /// The thread would wait for itself.
    Deadlock,
}

impl From<CannotSwitch> for WaitError {
    fn from(_: CannotSwitch) -> Self {
        Self::CannotSwitch
    }
}

impl<K: Kernel> WaitQueue<K> {
    /// Waits while `is_waiting` is true, and until `until_ns` at most.
    ///
    /// `is_waiting` is called with interrupts off, several times: it takes constant time, may take spin locks, and neither
    /// waits nor wakes. It may take what it finds, such as a permit.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait_while(
        &self,
        scheduler: &Scheduler<K>,
        until_ns: Option<u64>,
        mut is_waiting: impl FnMut(IrqOff<'_>) -> bool,
    ) -> Result<(), WaitError> {
        loop {
            let waits = Cell::new(false);
            let mut ended = Ok(());
            let step = |thread: &Thread<K>, irq_off: IrqOff<'_>| {
                if !is_waiting(irq_off) {
                    return None;
                }
                if thread.is_idle() {
                    ended = Err(WaitError::CannotSwitch);
                    return None;
                }
                if until_ns.is_some_and(|until_ns| scheduler.kernel.time_ns() >= until_ns) {
                    ended = Err(WaitError::TimedOut);
                    return None;
                }
                let ticket = self.enter(thread, irq_off);
                if !is_waiting(irq_off) {
                    thread.word.withdraw(ticket);
                    self.threads.lock(irq_off).remove(thread);
                    return None;
                }
                if let Some(until_ns) = until_ns {
                    scheduler.set_timer(thread, ticket, until_ns, irq_off);
                }
                waits.set(true);
                Some(Why::Block)
            };
            let mut reason = Reason::None;
            scheduler.with_switch(step, |thread, irq_off| {
                if !waits.get() {
                    return;
                }
                reason = thread.reason();
                if reason != Reason::Woken {
                    self.threads.lock(irq_off).remove(thread);
                }
                if until_ns.is_some() && reason != Reason::TimedOut {
                    scheduler.clear_timer(thread, irq_off);
                }
            })?;
            if !waits.get() {
                return ended;
            }
            if reason == Reason::Cancelled {
                return Err(WaitError::Cancelled);
            }
        }
    }

    /// Begins a wait of the calling thread, in the queue.
    fn enter(&self, thread: &Thread<K>, irq_off: IrqOff<'_>) -> Ticket {
        let threads = self.threads.lock(irq_off);
        let ticket = thread.word.prepare();
        thread.wait.set(ticket.bits());
        // SAFETY: the last reference to a thread frees it only while it is in no list.
        if !unsafe { threads.insert(thread, End::Last) } {
            impossible!("a thread leaves a wait queue before it waits anew");
        }
        ticket
    }

    /// Wakes the thread that has waited longest, and tells whether there was one.
    pub fn wake_one(&self, scheduler: &Scheduler<K>) -> bool {
        self.wake_up_to(scheduler, 1) == 1
    }

    /// Wakes all threads that wait now, and returns how many.
    pub fn wake_all(&self, scheduler: &Scheduler<K>) -> u64 {
        self.wake_up_to(scheduler, u64::MAX)
    }

    /// Wakes so many of the threads that wait now, and returns how many there were. At most 16 of them with interrupts
    /// off.
    pub fn wake_up_to(&self, scheduler: &Scheduler<K>, most: u64) -> u64 {
        let mut woken = 0;
        let mut looks = None;
        loop {
            let guard = scheduler.kernel.irq_off();
            let irq_off = guard.irq_off();
            let threads = self.threads.lock(irq_off);
            // Threads that come back behind these are not looked at again.
            let left = looks.get_or_insert_with(|| threads.len());
            for _ in 0..BATCH.min(*left) {
                if woken == most {
                    return woken;
                }
                *left -= 1;
                let Some(thread) = threads.first() else { return woken };
                let ticket = Ticket::from_bits(thread.wait.get());
                threads.remove(thread);
                woken += u64::from(scheduler.wake(thread, ticket, Reason::Woken, irq_off));
            }
            if *left == 0 || woken == most {
                return woken;
            }
        }
    }

    /// Tells whether no thread waits. It may have changed since.
    pub fn is_empty(&self, irq_off: IrqOff<'_>) -> bool {
        self.threads.lock(irq_off).is_empty()
    }
}

impl<K: Kernel> Scheduler<K> {
    /// Has the calling thread sleep until `until_ns`.
    ///
    /// # Errors
    /// [`WaitError::Cancelled`], [`WaitError::CannotSwitch`].
    pub fn sleep_until(&self, until_ns: u64) -> Result<(), WaitError> {
        match WaitQueue::new().wait_while(self, Some(until_ns), |_| true) {
            Err(WaitError::TimedOut) => Ok(()),
            ended => ended,
        }
    }

    /// Waits for a thread's end, and returns its result.
    ///
    /// # Errors
    /// [`WaitError`]; [`WaitError::Deadlock`] if the thread is the caller.
    pub fn join(&self, thread: &Thread<K>, until_ns: Option<u64>) -> Result<u64, WaitError> {
        if self.current().is_some_and(|current| current.is(thread)) {
            return Err(WaitError::Deadlock);
        }
        loop {
            if let Some(result) = thread.result() {
                return Ok(result);
            }
            thread.joiners.wait_while(self, until_ns, |_| thread.result().is_none())?;
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
