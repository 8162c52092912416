//! [`Mutex`]: a lock for which threads sleep, with priority inheritance; a leaf where `unsafe` lives.
//!
//! A free mutex is taken and released by one compare-and-swap each, on its own line. Where it is held, the module
//! `inherit` does the rest. It is handed over to the most urgent waiter, so none of them starves but by more urgent ones.
//!
//! A thread that ends while it holds mutexes, because it forgot their guards, holds them permanently, and stays in
//! memory.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use rhumb_machine::impossible;

use crate::inherit::{Asked, LockError};
use crate::kernel::Kernel;
use crate::run_queue::Why;
use crate::scheduler::Scheduler;
use crate::thread::Contended;
use crate::word::Reason;

/// A value that one thread at a time can reach, and for which others sleep.
pub struct Mutex<T, K: Kernel> {
    contended: Contended<K>,
    value: UnsafeCell<T>,
}

// SAFETY: the mutex lets one thread at a time reach the value.
unsafe impl<T: Send, K: Kernel> Sync for Mutex<T, K> {}

impl<T, K: Kernel> Mutex<T, K> {
    rhumb_sync::const_fn! {
        /// Makes a mutex that is free.
        pub fn new(value: T) -> Self {
            Self { contended: Contended::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Takes the mutex; sleeps while another thread holds it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn lock<'a>(&'a self, scheduler: &'a Scheduler<K>) -> Result<MutexGuard<'a, T, K>, LockError> {
        self.lock_until(scheduler, None)
    }

    /// Takes the mutex; sleeps while another thread holds it, until `until_ns` at most.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn lock_until<'a>(
        &'a self,
        scheduler: &'a Scheduler<K>,
        until_ns: Option<u64>,
    ) -> Result<MutexGuard<'a, T, K>, LockError> {
        let asked = core::cell::Cell::new(Asked::Refused(LockError::CannotSwitch));
        let mut taken = Ok(());
        scheduler.with_switch(
            |thread, irq_off| {
                if thread.is_idle() {
                    return None;
                }
                if self.contended.take(thread) {
                    asked.set(Asked::Taken);
                    return None;
                }
                asked.set(scheduler.ask(&self.contended, thread, irq_off));
                let Asked::Waits(ticket) = asked.get() else { return None };
                if let Some(until_ns) = until_ns {
                    scheduler.set_timer(thread, ticket, until_ns, irq_off);
                }
                Some(Why::Block)
            },
            |thread, irq_off| {
                match asked.get() {
                    Asked::Taken => {}
                    Asked::Refused(error) => taken = Err(error),
                    Asked::Waits(_) => {
                        let reason = thread.reason();
                        if until_ns.is_some() && reason != Reason::TimedOut {
                            scheduler.clear_timer(thread, irq_off);
                        }
                        if reason != Reason::Woken {
                            scheduler.give_up(&self.contended, thread, irq_off);
                            let timed_out = reason == Reason::TimedOut;
                            taken = Err(if timed_out { LockError::TimedOut } else { LockError::Cancelled });
                        }
                    }
                }
                if taken.is_ok() {
                    thread.holds.add(1);
                }
            },
        )?;
        taken.map(|()| MutexGuard { mutex: self, scheduler, _this_thread: PhantomData })
    }

    /// Takes the mutex, if it is free. Does not sleep, so a caller with a pin may ask.
    pub fn try_lock<'a>(&'a self, scheduler: &'a Scheduler<K>) -> Option<MutexGuard<'a, T, K>> {
        let guard = scheduler.kernel.irq_off();
        let thread = scheduler.running(guard.irq_off()).filter(|thread| !thread.is_idle())?;
        self.contended.take(thread).then(|| {
            thread.holds.add(1);
            MutexGuard { mutex: self, scheduler, _this_thread: PhantomData }
        })
    }

    /// Returns the value. The exclusive borrow proves that no thread holds the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T, K: Kernel> fmt::Debug for Mutex<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("is_free", &self.contended.is_free()).finish_non_exhaustive()
    }
}

/// A mutex that the calling thread holds. The guard stays with its thread.
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// fn check<K: rhumb_sched::Kernel>() {
///     is_send::<rhumb_sched::MutexGuard<'static, u32, K>>();
/// }
/// ```
#[must_use = "the mutex is released when the guard is dropped"]
pub struct MutexGuard<'a, T, K: Kernel> {
    mutex: &'a Mutex<T, K>,
    scheduler: &'a Scheduler<K>,
    /// Neither `Send` nor `Sync`: the owner of the mutex is the thread.
    _this_thread: PhantomData<*mut ()>,
}

impl<'a, T, K: Kernel> MutexGuard<'a, T, K> {
    /// Releases the mutex, and returns it and the scheduler.
    pub(crate) fn release(self) -> (&'a Mutex<T, K>, &'a Scheduler<K>) {
        (self.mutex, self.scheduler)
    }
}

impl<T, K: Kernel> Deref for MutexGuard<'_, T, K> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard proves that this thread alone holds the mutex.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T, K: Kernel> DerefMut for MutexGuard<'_, T, K> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard proves that this thread alone holds the mutex, and the guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T, K: Kernel> Drop for MutexGuard<'_, T, K> {
    fn drop(&mut self) {
        loop {
            // Interrupts come on between two tries: each is for a waiter whose wait had ended otherwise.
            let guard = self.scheduler.kernel.irq_off();
            let irq_off = guard.irq_off();
            let Some(thread) = self.scheduler.running(irq_off) else {
                impossible!("a guard belongs to a thread, and is dropped by it");
                return;
            };
            let mutex = &self.mutex.contended;
            if mutex.release(thread) || self.scheduler.hand_over(mutex, thread, irq_off) {
                thread.holds.set(thread.holds.get() - 1);
                return;
            }
        }
    }
}
