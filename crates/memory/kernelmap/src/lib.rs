//! The kernel map: memory that is truly virtual, where the direct map does not serve.
//!
//! ```text
//!   KernelMap: areas, flushes ──addresses──> Arena: ranges of units, O(1) ──tags──> rhumb_slab: objects in frames
//!        └──frames──> rhumb_frames      └──entries──> rhumb_pagetable
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`map`] | [`KernelMap`]: memory at contiguous addresses, devices; flushes that serve many |
//! | [`arena`] | [`Arena`]: ranges of numbered units out of spans, in constant time; per-CPU caches of common sizes |
//!
//! Principles:
//! 1. **No recursion** (I10). The records of the map are objects of the slab allocator, whose memory is direct-mapped
//!    frames. The slab allocator knows no kernel map, so that neither ever waits for the other.
//! 2. **Failure is an answer** (I12). An allocation that fails leaves all as it was; a free needs no memory and cannot
//!    fail.
//! 3. **CPUs share little** (I13). Common sizes come from the CPU's own cache; a visit to the lock moves a batch, and
//!    each hold of the lock is a constant number of steps.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, loom, shuttle))]
extern crate std;

pub mod arena;
pub mod map;
mod storage;

pub use arena::{Arena, ArenaError, ArenaLayout, Fit, HeldRange, Tag, Units};
pub use map::{
    Area, AreaError, AreaKind, AreaRequest, FlushPolicy, Home, KernelMap, MapAddresses, MapLayout,
    MapLayoutError, Moved,
};

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
