//! The machine that a study runs on: its facts, its counters, and how it is left as it was.
//!
//! | module | owns |
//! |---|---|
//! | [`session`] | [`Session`]: options that all studies share, the bar of progress, the wish to end |
#![deny(unsafe_code)]

pub mod session;

pub use session::{Session, Task};
