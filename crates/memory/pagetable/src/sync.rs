//! The atomics of this crate, so that loom and shuttle can stand in for them.

#[cfg(not(feature = "model"))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(all(feature = "loom", not(feature = "shuttle")))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, fence};

pub(crate) use core::sync::atomic::Ordering;
