//! A checker of memory accesses (KASAN): the shadow memory, and the functions that instrumented code calls.
//!
//! The compiler, asked for `-Zsanitizer=kernel-address`, puts a call before each access to memory. The call looks at
//! the *shadow*: one byte for 8 bytes of memory (a *granule*), which says whether they may be touched. Allocators keep
//! the shadow true by [`Machine::set_memory_use`](rhumb_machine::Machine::set_memory_use); the compiler does so for
//! stack variables and globals.
//!
//! ```text
//! memory   | 8 bytes | 8 bytes | 8 bytes | 8 bytes | ...         shadow byte   meaning
//! shadow        00        00        05        fc                  00           all 8 may be touched
//!                                                                 01..07       the first 1..7 may
//!                                                                 80..ff       none may; the byte says why ([`State`])
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`state`] | what a shadow byte says |
//! | [`plan`] | which addresses have a shadow, and how much memory that takes |
//! | [`shadow`] | telling the shadow, asking it |
//! | [`access`] | an access, and how it breaks the shadow's rule |
//! | [`dump`] | the shadow around an address |
//! | `outline` | the functions that the compiler calls (feature `outline`; the only `unsafe` code) |
//!
//! Principles:
//! 1. Never a false report. A state that one byte cannot say exactly (a hole at the front of a granule) counts as allowed.
//! 2. The shadow of an address is found by a search among few ranges, not by a fixed offset: no virtual memory is
//!    needed for it, and memory without a shadow is not watched.
//! 3. The checker must not be instrumented itself, nor call anything that is: it uses this crate, `core` and
//!    `rhumb-machine`, which are built without the sanitizer.
//!
//! Sources: Serebryany and others, "AddressSanitizer: A Fast Address Sanity Checker", USENIX ATC 2012; the byte values
//! and the shape of a report are those of Linux's `mm/kasan`.
#![no_std]
#![deny(unsafe_code)]

pub mod access;
pub mod dump;
#[cfg(feature = "outline")]
pub mod outline;
pub mod plan;
pub mod shadow;
pub mod state;

pub use access::{Kind, Violation};
pub use dump::Dump;
pub use plan::{Plan, PlanError};
pub use shadow::{MAX_REGIONS, Shadow};
pub use state::{GRANULE_BYTES, State};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
