//! Priority inheritance: a thread that holds a mutex is as urgent as the most urgent one that waits for it.
//!
//! ```text
//!   thread ──blocked_on──> Contended ──owner──> thread ──blocked_on──> ...      a chain; it ends at a thread that can run
//!          <──waiters (tree)──       <──contended (tree)──
//! ```
//!
//! Each contended mutex has a tree of the threads that wait for it, by urgency, and each thread a tree of the contended
//! mutexes that it holds, by the most urgent waiter of each. A thread's effective policy is its own, lifted to the first
//! of that tree. When it changes and the thread waits itself, its place changes in the tree in which it waits, and the
//! next holder's may change: one step along the chain, of logarithmic time.
//!
//! **One lock** keeps the graph. It is taken where a thread is about to sleep for a mutex, or wakes one that does: beside a
//! switch of threads, and never where a mutex is free. With one lock, a chain is looked at as it is, so a deadlock is
//! found before the thread would sleep ([`LockError::Deadlock`]), and the steps of the walk need no second look. Locks for
//! each mutex and each thread would have to be taken along chains that meet each other head on. A chain that is longer
//! than 32 threads is refused ([`LockError::ChainTooLong`]), so that interrupts are off for a bounded time.
//!
//! **The owner.** A mutex is handed over: the holder that releases it names the most urgent waiter as its owner, and ends
//! its wait. A waiter whose wait ended otherwise takes the lock and leaves the tree. So the word of the thread, which
//! decides how a wait ends, decides also who owns the mutex.
//!
//! Locking: the lock is above those of run queues, and beside those of timers.

use core::ptr::NonNull;

use rhumb_machine::{IrqOff, impossible};
use rhumb_sync::atomic::{AcqRel, Relaxed};

use crate::kernel::Kernel;
use crate::policy::Policy;
use crate::scheduler::Scheduler;
use crate::switch::CannotSwitch;
use crate::thread::contended::{IS_CONTENDED, key};
use crate::thread::{Contended, Thread};
use crate::word::{Reason, Ticket};

/// The longest chain of threads that wait for each other.
pub(crate) const LONGEST: usize = 32;

/// The reason why a mutex was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockError {
    /// The thread that holds it waits for the caller, or is the caller: the wait would never end.
    Deadlock,
    /// More than 32 threads wait for each other.
    ChainTooLong,
    /// The time was over.
    TimedOut,
    /// [`Scheduler::cancel`] ended the wait.
    Cancelled,
    /// The caller has a pin, or interrupts off, or is the idle thread, and the mutex is held.
    CannotSwitch,
}

impl From<CannotSwitch> for LockError {
    fn from(_: CannotSwitch) -> Self {
        Self::CannotSwitch
    }
}

/// The answer to a thread that asks for a mutex.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// The mutex.
    Taken,
    /// A place among those that wait, in this wait.
    Waits(Ticket),
    /// Nothing.
    Refused(LockError),
}

impl<K: Kernel> Scheduler<K> {
    /// Gives a thread another policy. While a more urgent thread waits for it, it keeps that one's urgency.
    pub fn set_policy(&self, thread: &Thread<K>, policy: Policy) {
        let guard = self.kernel.irq_off();
        let irq_off = guard.irq_off();
        let _graph = self.inheritance.lock(irq_off);
        thread.set_base(policy);
        self.pass_on(thread, irq_off);
    }

    /// Works out anew the effective policy of a thread, and those along the chain that begins with it. The caller has the
    /// lock of the graph.
    fn pass_on(&self, thread: &Thread<K>, irq_off: IrqOff<'_>) {
        let mut next = Some(thread);
        for _ in 0..LONGEST {
            let Some(thread) = next else { return };
            let top = thread.contended.first().and_then(|mutex| mutex.waiters.first());
            let own = thread.policy();
            let policy = top.map_or(own, |top| own.lifted_to(top.effective_policy().urgency()));
            if policy == thread.effective_policy() {
                return;
            }
            self.set_effective(thread, policy, irq_off);
            let Some(mutex) = thread.blocked_on.get() else { return };
            // SAFETY: the thread waits for the mutex, and so borrows it, until it takes the lock of the graph or is given
            // the mutex by a holder of that lock.
            let mutex: &Contended<K> = unsafe { mutex.as_ref() };
            mutex.waiters.remove(thread);
            // SAFETY: the last reference to a thread frees it only while it is in no tree.
            unsafe { mutex.waiters.insert(thread, key(thread), 0) };
            next = mutex.owner();
            if let Some(owner) = next {
                mutex.place_among_held(owner);
            }
        }
    }

    /// Takes `mutex` for the calling thread, or begins a wait for it. Interrupts stay off until the CPU has chosen.
    pub(crate) fn ask(&self, mutex: &Contended<K>, thread: &Thread<K>, irq_off: IrqOff<'_>) -> Asked {
        let _graph = self.inheritance.lock(irq_off);
        let owner = loop {
            if mutex.take(thread) {
                return Asked::Taken;
            }
            let now = mutex.owner.load(Relaxed);
            let contended = now.map_addr(|address| address | IS_CONTENDED);
            // From then on, the owner cannot release it without the lock of the graph.
            if !now.is_null() && mutex.owner.compare_exchange(now, contended, AcqRel, Relaxed).is_ok() {
                break mutex.owner();
            }
        };
        let Some(owner) = owner else {
            impossible!("a mutex that could not be taken has an owner");
            return Asked::Refused(LockError::Deadlock);
        };
        if let Err(error) = self.check_chain(owner, thread) {
            mutex.set_owner(Some(owner));
            return Asked::Refused(error);
        }
        let ticket = thread.word.prepare();
        thread.wait.set(ticket.bits());
        thread.blocked_on.set(Some(NonNull::from(mutex)));
        // SAFETY: the last reference to a thread frees it only while it is in no tree.
        if !unsafe { mutex.waiters.insert(thread, key(thread), 0) } {
            impossible!("a thread leaves those that wait for a mutex before it waits anew");
        }
        mutex.place_among_held(owner);
        self.pass_on(owner, irq_off);
        Asked::Waits(ticket)
    }

    /// Looks along the chain that begins with `owner`, for which `thread` would wait.
    fn check_chain(&self, owner: &Thread<K>, thread: &Thread<K>) -> Result<(), LockError> {
        let mut holder = owner;
        for _ in 0..LONGEST {
            if core::ptr::eq(holder, thread) {
                return Err(LockError::Deadlock);
            }
            let Some(mutex) = holder.blocked_on.get() else { return Ok(()) };
            // SAFETY: the holder waits for the mutex, and so borrows it, while the caller has the lock of the graph.
            let mutex: &Contended<K> = unsafe { mutex.as_ref() };
            let Some(next) = mutex.owner() else { return Ok(()) };
            holder = next;
        }
        Err(LockError::ChainTooLong)
    }

    /// Ends the calling thread's wait for `mutex`, which it was not given.
    pub(crate) fn give_up(&self, mutex: &Contended<K>, thread: &Thread<K>, irq_off: IrqOff<'_>) {
        let _graph = self.inheritance.lock(irq_off);
        thread.blocked_on.set(None);
        // The holder that found the wait ended has taken the thread out already.
        if !mutex.waiters.remove(thread) {
            return;
        }
        if let Some(owner) = mutex.owner() {
            mutex.place_among_held(owner);
            self.pass_on(owner, irq_off);
            // Where no other thread waits, the owner may release the mutex, end and be freed from here on.
            mutex.set_owner(Some(owner));
        }
    }

    /// Hands a contended mutex over to the most urgent thread that waits for it, or releases it. Returns `false` if that
    /// thread's wait had ended otherwise, and the caller still holds the mutex.
    pub(crate) fn hand_over(&self, mutex: &Contended<K>, thread: &Thread<K>, irq_off: IrqOff<'_>) -> bool {
        let _graph = self.inheritance.lock(irq_off);
        let Some(next) = mutex.waiters.first() else {
            mutex.set_owner(None);
            return true;
        };
        let ticket = Ticket::from_bits(next.wait.get());
        thread.contended.remove(mutex);
        mutex.waiters.remove(next);
        next.blocked_on.set(None);
        // The next owner may run, and release the mutex, as soon as its wait has ended: all is in place before.
        mutex.set_owner(Some(next));
        mutex.place_among_held(next);
        self.pass_on(next, irq_off);
        if self.wake(next, ticket, Reason::Woken, irq_off) {
            self.pass_on(thread, irq_off);
            return true;
        }
        // The thread has yet to take the lock of the graph, so it is still there.
        next.contended.remove(mutex);
        self.pass_on(next, irq_off);
        mutex.set_owner(Some(thread));
        mutex.place_among_held(thread);
        self.pass_on(thread, irq_off);
        false
    }
}
