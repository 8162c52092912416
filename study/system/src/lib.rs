//! The machine that a study runs on: its facts, its counters, and how it is left as it was.
//!
//! | module | owns |
//! |---|---|
//! | [`session`] | [`Session`]: options that all studies share, the bar of progress, the wish to end |
//! | [`keeper`] | [`Keeper`]: a process that undoes changes of the machine, however the study ends |
//! | [`scratch`] | [`Scratch`]: a fresh folder that goes when the study ends, however it ends |
//! | [`facts`] | the CPU, its TLBs, the kernel, its settings |
//! | [`before`] | [`measure_machine`]: noise and controls, which each study measures first |
//! | [`memory`] | the memory that a study may take |
//! | [`noise`](mod@noise) | how much the time of the same work varies |
//! | [`controls`](mod@controls) | two comparisons whose results are known beforehand |
//! | [`counters`] | hardware counters of translation misses |
#![deny(unsafe_code)]

pub mod before;
mod chase;
pub mod controls;
pub mod counters;
pub mod facts;
pub mod keeper;
pub mod memory;
pub mod noise;
pub mod scratch;
pub mod session;

pub use before::measure_machine;
pub use controls::{Controls, controls};
pub use keeper::{Change, Keeper};
pub use memory::available_bytes;
pub use noise::{Rounds, noise};
pub use scratch::Scratch;
pub use session::{Pace, Session, Task};
