//! Protocols between CPUs: atomics, two locks, one gate to data that a CPU keeps from the others, and the list of the
//! CPUs that keep any.
//!
//! | module | owns |
//! |---|---|
//! | [`atomic`] | the atomics, so that loom and shuttle can replace them; fences and waiting |
//! | `counted` | in a build with `--cfg rhumb_counted`: counts of the data that CPUs share |
//! | [`lock`] | [`Lock`]: a spin lock that is taken with interrupts off |
//! | [`queue`] | [`QueueLock`]: a spin lock that CPUs take in the order in which they asked for it |
//! | [`gate`] | [`CpuGate`]: data that one CPU keeps for itself, and that other CPUs may ask for |
//! | [`keepers`] | [`Keepers`]: the CPUs that keep such data, so that the others are not looked at |
//!
//! Principles:
//! 1. Each protocol between CPUs that more than one crate needs is here once. Loom checks a model of each, and the
//!    reason why a protocol is right is in its module.
//! 2. `RUSTFLAGS="--cfg loom"` or `"--cfg shuttle"` asks for a build for a model checker, and no feature does, because
//!    cargo would turn a feature on for every crate of the build.
//! 3. This crate allocates nothing, knows no frames or tables, and waits only for its locks.
#![no_std]

#[cfg(any(test, loom, shuttle, rhumb_counted))]
extern crate std;

pub mod atomic;
pub mod counted;
pub mod gate;
pub mod keepers;
pub mod lock;
pub mod queue;

pub use gate::CpuGate;
pub use keepers::Keepers;
pub use lock::{Guard, InterruptsOff, Lock};
pub use queue::{Place, QueueLock};

#[cfg(test)]
mod tests;

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
