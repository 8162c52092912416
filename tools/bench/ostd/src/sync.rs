//! A spin lock.

use core::hint::spin_loop;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::stand_in::Renewed;

/// The interrupts that a lock turns off while it is held. There are none.
#[derive(Debug)]
pub enum LocalIrqDisabled {}

/// Test and set.
pub struct SpinLock<T, G> {
    locked: AtomicBool,
    value: Renewed<T>,
    _guard: PhantomData<fn() -> G>,
}

// SAFETY: the holder of the lock is alone with the value.
unsafe impl<T: Send, G> Sync for SpinLock<T, G> {}

impl<T, G> SpinLock<T, G> {
    /// Returns an open lock.
    pub const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: Renewed::new(value), _guard: PhantomData }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> SpinLockGuard<'_, T, G> {
        while self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin_loop();
        }
        SpinLockGuard(self)
    }
}

/// The lock, held.
pub struct SpinLockGuard<'lock, T, G>(&'lock SpinLock<T, G>);

impl<T, G> Deref for SpinLockGuard<'_, T, G> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.0.value.get() }
    }
}

impl<T, G> DerefMut for SpinLockGuard<'_, T, G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T, G> Drop for SpinLockGuard<'_, T, G> {
    #[inline]
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::Release);
    }
}
