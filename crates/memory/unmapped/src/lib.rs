//! Frames that the direct map does not show: how they leave it and come back, and how they are reached meanwhile.
//!
//! ```text
//!   rhumb-frames ──whole block──> pool ──Frame<Unmapped>──> holder
//!                                  │                           │
//!                     one change, one flush a block       reads and writes
//!                                  v                           v
//!                          rhumb-directmap                  windows <── protect ── writers of page tables
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`pool`] | [`pool::UnmappedPool`]: frames out of the map, by whole large pages |
//! | [`windows`] | [`windows::Windows`]: short-lived mappings for one CPU of what the map does not show |
//! | [`protect`] | page tables that only a window, or an open key, can write |
//! | [`planted`] | faults that the tests plant |
//!
//! Principles:
//! 1. Out by whole blocks: one change of the map and one flush for 512 frames, and the map whole again afterwards (I3,
//!    I6).
//! 2. What is out has another type, and is zero before it is anybody else's (I5).
//! 3. Reaching it concerns one CPU: an entry of its own table, no flush of others.
//! 4. Nothing allocates for itself (I10); whoever asks has an account (I11).
#![no_std]
#![deny(unsafe_code)]

pub mod planted;
pub mod pool;
pub mod protect;
pub mod windows;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
