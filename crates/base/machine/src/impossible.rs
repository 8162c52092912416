//! [`impossible!`](crate::impossible!): marks a place that cannot be reached.
//!
//! A structure that is sound never leads there, so the mark is an argument (it says *why* the place is out of reach)
//! and a check. In tests the check fails at once. A kernel goes on, because a wrong number in one structure is less
//! harm than a machine that stops: it logs the place, counts it, and takes the way out that the caller has written.
//!
//! | | a place is reached |
//! |---|---|
//! | debug build without a handler: tests, fuzzing, hosted machines | panics at the place |
//! | with a handler ([`set_handler`]): the kernel | the handler is told, the count grows, the caller goes on |
//! | release build without a handler: benchmarks | the count grows, the caller goes on |
//!
//! The mark is for what cannot be. Where absence is ordinary, a plain `else { return }` says so.

use core::fmt;
use core::panic::Location;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Marks a place that cannot be reached, and says why. The code behind the mark runs if the place is reached all the
/// same.
///
/// As a statement, before the way out:
/// ```
/// # fn first(words: &[u64]) -> Option<u64> {
/// use rhumb_machine::impossible;
/// let Some(word) = words.first() else {
///     impossible!("a table has {} words, never none", 512);
///     return None;
/// };
/// # Some(*word) }
/// # assert_eq!(first(&[7]), Some(7));
/// ```
/// As an expression, with the value to go on with behind an arrow:
/// ```
/// use rhumb_machine::impossible;
/// let used = 5u64.checked_sub(3).unwrap_or_else(|| impossible!("more is free than there is" => 0));
/// # assert_eq!(used, 2);
/// ```
#[macro_export]
macro_rules! impossible {
    ($why:literal $(, $value:expr)* $(,)?) => {
        $crate::impossible::reached(::core::format_args!($why $(, $value)*))
    };
    ($why:literal $(, $value:expr)* => $instead:expr) => {{
        $crate::impossible::reached(::core::format_args!($why $(, $value)*));
        $instead
    }};
}

/// A function that is told of a place that was reached: why it cannot be, and where it is in the source.
pub type Handler = fn(fmt::Arguments<'_>, &'static Location<'static>);

/// How often such places were reached, and the function that is told.
struct Reports {
    handler: AtomicPtr<Handler>,
    count: AtomicU64,
}

static REPORTS: Reports = Reports::new();

impl Reports {
    const fn new() -> Self {
        Self { handler: AtomicPtr::new(null_mut()), count: AtomicU64::new(0) }
    }

    fn set_handler(&self, handler: &'static Handler) {
        self.handler.store(core::ptr::from_ref(handler).cast_mut(), Ordering::Release);
    }

    #[track_caller]
    fn reached(&self, why: fmt::Arguments<'_>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer is null or was made from a reference that lives as long as the program; it is only read.
        match unsafe { self.handler.load(Ordering::Acquire).as_ref() } {
            Some(handler) => handler(why, Location::caller()),
            None if cfg!(debug_assertions) => panic!("this cannot be: {why}"),
            None => {}
        }
    }
}

/// Tells `handler` of each such place from now on, instead of a panic. The handler can be called from anywhere: with
/// interrupts off, with locks held, on several CPUs at a time.
pub fn set_handler(handler: &'static Handler) {
    REPORTS.set_handler(handler);
}

/// Returns how often such places were reached since the program began. In a sound kernel it is 0.
pub fn count() -> u64 {
    REPORTS.count.load(Ordering::Relaxed)
}

/// Says that a place that cannot be reached was. Use [`impossible!`](crate::impossible!) instead.
///
/// # Panics
/// In debug builds without a handler.
#[doc(hidden)]
#[cold]
#[inline(never)]
#[track_caller]
pub fn reached(why: fmt::Arguments<'_>) {
    REPORTS.reached(why);
}

#[cfg(test)]
mod tests;
