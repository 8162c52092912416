//! Faults that a test plants into the code that it tests, so that it is known to find them.
//!
//! A crate names its faults in an enum, and asks at the place of each whether it is planted:
//!
//! ```
//! #[derive(Clone, Copy, PartialEq, Eq)]
//! enum Fault {
//!     SecondHalfForgotten,
//! }
//!
//! fn sum(numbers: &[u64]) -> u64 {
//!     let is_planted = rhumb_machine::planted::is(Fault::SecondHalfForgotten);
//!     let end = if is_planted { numbers.len() / 2 } else { numbers.len() };
//!     numbers[..end].iter().sum()
//! }
//!
//! assert_eq!(sum(&[1, 2, 3, 4]), 10);
//! ```
//!
//! Without the feature `planted`, which only tests turn on (as a dev-dependency), no fault can be planted, and [`is`]
//! is `false` when the code is compiled.

#[cfg(feature = "planted")]
mod plant {
    extern crate std;

    use core::any::Any;
    use core::cell::Cell;
    use std::boxed::Box;

    std::thread_local! {
        static PLANTED: Cell<Option<&'static dyn Any>> = const { Cell::new(None) };
    }

    /// Tells whether `fault` is planted in this thread.
    pub fn is<F: Copy + Eq + 'static>(fault: F) -> bool {
        PLANTED.get().and_then(<dyn Any>::downcast_ref).is_some_and(|planted: &F| *planted == fault)
    }

    /// Runs `act` with `fault` planted in this thread. A hosted CPU is a thread of its own: plant the fault there.
    pub fn with<F: Copy + Eq + 'static, A>(fault: F, act: impl FnOnce() -> A) -> A {
        struct Removed;
        impl Drop for Removed {
            fn drop(&mut self) {
                PLANTED.set(None);
            }
        }
        PLANTED.set(Some(Box::leak(Box::new(fault))));
        let _removed = Removed;
        act()
    }
}

#[cfg(feature = "planted")]
pub use plant::{is, with};

/// Tells whether `fault` is planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is<F: Copy>(fault: F) -> bool {
    let _ = fault;
    false
}
