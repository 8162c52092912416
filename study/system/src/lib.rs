//! The machine that a study runs on: its facts, its counters, and how it is left as it was.
//!
//! | module | owns |
//! |---|---|
//! | [`session`] | [`Session`]: options that all studies share, the bar of progress, the wish to end |
//! | [`keeper`] | [`Keeper`]: a process that undoes changes of the machine, however the study ends |
//! | [`facts`] | the CPU, its TLBs, the kernel, its settings |
//! | [`counters`] | hardware counters of translation misses |
#![deny(unsafe_code)]

pub mod counters;
pub mod facts;
pub mod keeper;
pub mod session;

pub use keeper::{Change, Keeper};
pub use session::{Session, Task};
