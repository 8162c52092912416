//! [`Number`] and [`Place`]: fields of objects that several CPUs reach, of which one CPU at a time writes.
//!
//! A lock, or the state of a thread, says which CPU that is. The fields are relaxed atomics all the same, which cost no
//! more than plain ones on the CPUs that Rhumb runs on, so that a broken rule is a wrong schedule and never undefined
//! behaviour. A model checker does not see them, because the locks and words that guard them are what it checks.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rhumb_sync::counted;

/// A number.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        counted::read(self);
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        counted::written(self);
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// Replaces 0 by `value`, and tells whether it was 0. Of several CPUs that try at once, one succeeds.
    #[inline]
    pub(crate) fn claim(&self, value: u64) -> bool {
        counted::written(self);
        self.0.compare_exchange(0, value, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Undoes a claim.
    #[inline]
    pub(crate) fn disclaim(&self) {
        counted::written(self);
        self.0.store(0, Ordering::Release);
    }
}

/// The address of an object, or nowhere.
#[derive(Debug)]
pub(crate) struct Place<T>(AtomicPtr<T>);

impl<T> Place<T> {
    pub(crate) const fn nowhere() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<NonNull<T>> {
        counted::read(self);
        NonNull::new(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set(&self, place: Option<NonNull<T>>) {
        counted::written(self);
        self.0.store(place.map_or(null_mut(), NonNull::as_ptr), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<NonNull<T>> {
        let place = self.get();
        self.set(None);
        place
    }

    pub(crate) fn is(&self, item: &T) -> bool {
        self.get() == Some(NonNull::from(item))
    }
}
