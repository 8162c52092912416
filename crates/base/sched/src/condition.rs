//! [`Condition`] and [`Semaphore`]: waiting beside a mutex, and for permits.

use rhumb_sync::atomic::{AcqRel, Acquire, AtomicU64, Relaxed, Release};

use crate::inherit::LockError;
use crate::kernel::Kernel;
use crate::mutex::MutexGuard;
use crate::scheduler::Scheduler;
use crate::thread::WaitQueue;
use crate::wait::WaitError;

/// Threads that wait for a change of what a [`Mutex`](crate::Mutex) protects.
///
/// A waiter notes how many wake-ups there have been before it releases the mutex, and sleeps only while there is no more
/// of them: so a wake-up between the release and the sleep is not lost. A wait may end without a change: look again.
pub struct Condition<K: Kernel> {
    wakes: AtomicU64,
    threads: WaitQueue<K>,
}

impl<K: Kernel> Default for Condition<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kernel> Condition<K> {
    rhumb_sync::const_fn! {
        /// Makes a condition for which no thread waits.
        pub fn new() -> Self {
            Self { wakes: AtomicU64::new(0), threads: WaitQueue::new() }
        }
    }

    /// Releases the mutex, waits for a wake-up, until `until_ns` at most, and takes the mutex again.
    ///
    /// # Errors
    /// [`LockError`], with the mutex released. After a time-out the mutex is taken again, so that the caller looks a last
    /// time; it knows the time itself.
    pub fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T, K>,
        until_ns: Option<u64>,
    ) -> Result<MutexGuard<'a, T, K>, LockError> {
        let seen = self.wakes.load(Acquire);
        let (mutex, scheduler) = guard.release();
        match self.threads.wait_while(scheduler, until_ns, |_| self.wakes.load(Acquire) == seen) {
            Ok(()) | Err(WaitError::TimedOut) => mutex.lock(scheduler),
            Err(WaitError::Cancelled) => Err(LockError::Cancelled),
            Err(WaitError::CannotSwitch) => Err(LockError::CannotSwitch),
            Err(WaitError::Deadlock) => Err(LockError::Deadlock),
        }
    }

    /// Wakes one thread that waits, after a change that serves one.
    pub fn wake_one(&self, scheduler: &Scheduler<K>) {
        self.wakes.fetch_add(1, Release);
        self.threads.wake_one(scheduler);
    }

    /// Wakes all threads that wait.
    pub fn wake_all(&self, scheduler: &Scheduler<K>) {
        self.wakes.fetch_add(1, Release);
        self.threads.wake_all(scheduler);
    }
}

/// Permits that threads take, and for which they wait. Any thread, or an interrupt handler, gives some.
pub struct Semaphore<K: Kernel> {
    permits: AtomicU64,
    threads: WaitQueue<K>,
}

impl<K: Kernel> Semaphore<K> {
    rhumb_sync::const_fn! {
        /// Makes a semaphore with so many permits.
        pub fn new(permits: u64) -> Self {
            Self { permits: AtomicU64::new(permits), threads: WaitQueue::new() }
        }
    }

    /// Takes a permit, if there is one.
    pub fn try_take(&self) -> bool {
        self.permits.fetch_update(AcqRel, Relaxed, |permits| permits.checked_sub(1)).is_ok()
    }

    /// Takes a permit; waits while there is none, until `until_ns` at most.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn take(&self, scheduler: &Scheduler<K>, until_ns: Option<u64>) -> Result<(), WaitError> {
        self.threads.wait_while(scheduler, until_ns, |_| !self.try_take())
    }

    /// Adds permits, and wakes as many threads.
    pub fn give(&self, scheduler: &Scheduler<K>, permits: u64) {
        self.permits.fetch_add(permits, Release);
        self.threads.wake_up_to(scheduler, permits);
    }

    /// Returns how many permits there are. It may have changed since.
    pub fn permits(&self) -> u64 {
        self.permits.load(Relaxed)
    }
}
