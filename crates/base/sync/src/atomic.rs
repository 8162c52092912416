//! The atomics: those of `core`, or those of the model checker for which the crate is built, or atomics that
//! count accesses.
//!
//! A model checker's atomics are not made at compile time. [`const_fn!`](crate::const_fn) and
//! [`atomics!`](crate::atomics) write a constructor once for both.

#[cfg(rhumb_counted)]
pub use crate::counted::atomics::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(rhumb_counted)]
pub use core::sync::atomic::fence;
#[cfg(not(any(loom, shuttle, rhumb_counted)))]
pub use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};

pub use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};

/// Whether a model checker replaces the atomics: arrays of them are small then, because each one adds to the
/// checker's state.
pub const IS_MODELLED: bool = cfg!(any(loom, shuttle));

/// Stops the compiler, not the CPU, from moving memory accesses, so that an interrupt handler on the same CPU sees them
/// in program order.
#[inline(always)]
pub fn handler_fence() {
    core::sync::atomic::compiler_fence(SeqCst);
}

/// Waits a moment for another CPU.
#[inline(always)]
pub fn relax() {
    #[cfg(not(any(loom, shuttle)))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}

/// Makes the function a `const fn`, except in a build for a model checker.
#[cfg(not(any(loom, shuttle)))]
#[macro_export]
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        $(#[$attribute])* $visibility const fn $($rest)*
    };
    ($(#[$attribute:meta])* $visibility:vis unsafe fn $($rest:tt)*) => {
        $(#[$attribute])* $visibility const unsafe fn $($rest)*
    };
}

/// Makes the function a `const fn`, except in a build for a model checker.
#[cfg(any(loom, shuttle))]
#[macro_export]
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        $(#[$attribute])* $visibility fn $($rest)*
    };
    ($(#[$attribute:meta])* $visibility:vis unsafe fn $($rest:tt)*) => {
        $(#[$attribute])* $visibility unsafe fn $($rest)*
    };
}

/// An array of equal values that contain atomics, at compile time except in a build for a model checker.
#[cfg(not(any(loom, shuttle)))]
#[macro_export]
macro_rules! atomics {
    ($value:expr) => {
        [const { $value }; _]
    };
}

/// An array of equal values that contain atomics, at compile time except in a build for a model checker.
#[cfg(any(loom, shuttle))]
#[macro_export]
macro_rules! atomics {
    ($value:expr) => {
        core::array::from_fn(|_| $value)
    };
}
