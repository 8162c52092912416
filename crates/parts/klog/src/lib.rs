//! The log of a kernel: the `log` facade's back end.
//!
//! ```text
//!   log::info!(..) ──> Log ──> Record ──┬──> Ring of this CPU ──> Records (merged by time) ──> dmesg
//!                    (levels)           └──> Sink (the console)
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | [`Record`]: one message, and how it looks; [`Stamp`] |
//! | [`ring`] | [`Ring`]: the newest records of a CPU, lock-free |
//! | [`logger`] | [`Log`]: levels, rings, console; [`Host`] and [`Sink`], which the kernel implements |
//! | [`turn`] | [`Turn`]: one CPU shows what several log, and none of them waits |
//! | [`records`] | [`Records`]: reading all rings in the order of time |
//!
//! Principles:
//! 1. Logging never waits, from any context: an interrupt, an NMI, a panic in the middle of another record.
//! 2. A reader sees a record whole or not at all; lost records are counted.
//! 3. It works from the first instruction of Rust on: nothing is allocated and nothing must be set up first.
#![no_std]
#![forbid(unsafe_code)]

pub mod logger;
pub mod record;
pub mod records;
pub mod ring;
pub mod turn;

pub use logger::{AlreadyAttached, Host, Log, Sink};
pub use record::{PAYLOAD_BYTES, Record, Stamp};
pub use records::Records;
pub use ring::{Absent, Ring, Slot};
pub use turn::Turn;

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
