//! The loader of programs: a static ELF executable goes in, whatever its bytes are; the segments to map come out, or one
//! sentence that says why not.
//!
//! ```text
//!        Program::parse                       Program::place
//! file ----------------> segments in order ------------------> each segment's addresses, for this base:
//!       every header      each with the       all within        pages, bytes of the file, access
//!       is checked        file's bytes        a task's half
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`program`] | [`Program`]: the file, looked at once |
//! | [`segment`] | [`Segment`] and its [`Access`] |
//! | [`place`] | [`Placed`]: a program at a base |
//! | [`limits`] | numbers that no program exceeds |
//! | [`error`] | [`LoadError`] |
//!
//! Principles:
//! 1. No byte of the file is believed. [`Program::parse`] checks all that a loader does with a program, so that mapping
//!    one can fail by lack of memory alone. The time is proportional to the number of headers, which has a limit.
//! 2. No segment is written and executed, no two segments share a page, and a program's stack is never executed (I4).
//! 3. No allocation, no lock, no `unsafe`; the crate maps nothing.
//!
//! A program that can lie anywhere (a static PIE) relocates itself: its first instructions know their own address. So
//! its whole read-only pages are those of the file, and can be shared; at the edges of a segment its bytes are copied.
//! A program that asks for an interpreter or for libraries is refused, because there is no dynamic linker.
//!
//! Sources: the System V ABI, chapters 4 and 5, and its AMD64 supplement; `elf(5)` for `PT_GNU_STACK`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod error;
pub mod limits;
pub mod place;
pub mod program;
pub mod segment;

pub use error::LoadError;
pub use place::Placed;
pub use program::{Placement, Program};
pub use segment::{Access, Segment};

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
