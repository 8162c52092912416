//! [`Turn`]: a value that one CPU at a time works with, with interrupts on. A leaf where `unsafe` lives.
//!
//! Why not a lock: a lock keeps interrupts off while it is held, and paging out takes longer than interrupts may stay
//! off. A CPU that has the turn takes interrupts and answers calls, so that others may wait for it.
#![expect(unsafe_code, reason = "hands out a value by a flag")]

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use rhumb_sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

pub(crate) struct Turn<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the flag lets one CPU at a time reach the value.
unsafe impl<T: Send> Sync for Turn<T> {}

impl<T> Turn<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the turn, where no CPU has it.
    pub(crate) fn take(&self) -> Option<Taken<'_, T>> {
        // The value is made only where the flag is set, because its end clears the flag.
        match self.is_taken.compare_exchange(false, true, Acquire, Relaxed) {
            Ok(_) => Some(Taken(self, PhantomData)),
            Err(_) => None,
        }
    }
}

/// The turn, until it is dropped. It stays with the CPU that took it.
pub(crate) struct Taken<'a, T>(&'a Turn<T>, PhantomData<*mut T>);

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the flag is this value's.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the flag is this value's, which is borrowed exclusively.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Release);
    }
}
