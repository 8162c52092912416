//! The atomics: those of `core`, or loom's when its tests run (`RUSTFLAGS="--cfg loom"`, see `src/tests/loom.rs`).

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
