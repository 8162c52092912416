//! A PS/2 keyboard as the input of a terminal.
//!
//! ```text
//!   i8042 ──> Controller ──> bytes of scan codes ──> Keys (pc-keyboard) ──> bytes of a terminal
//!               Ports
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`controller`] | [`Controller`]: the i8042, set up with time-outs; [`Ports`], which the kernel implements |
//! | [`keys`] | [`Keys`]: scan codes in, the bytes that a terminal would send out |
//!
//! Principles:
//! 1. Nothing waits without an end: a machine may have no controller, a dead one, or one without a keyboard.
//! 2. The rest of a kernel sees a terminal: an arrow is `ESC [ A`, as on a serial line.
#![no_std]
#![forbid(unsafe_code)]

pub mod controller;
pub mod keys;

pub use controller::{Absent, Controller, Ports};
pub use keys::{Keys, Typed};

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
