//! Object caches over direct-mapped frames: what a kernel's objects, and its `Box` and `Vec`, are made of.
//!
//! A module uses those below it in this table.
//!
//! | module | owns |
//! |---|---|
//! | `cache`, `heap`, `raw` | [`Cache`]; [`Heap`] for `#[global_allocator]`; [`RawCache`] |
//! | `validate`, `report` | the exact check; [`CacheReport`], [`Totals`], the call sites that hold objects |
//! | `reclaim` | giving back: [`Slabs::reclaim`], [`Slabs::tick`], [`Slabs::trim`], as a reclaimer of frames |
//! | `large` | objects past the classes: whole frames |
//! | `drain`, `refill`, `checked` | what happens when the common path of a free or of an allocation fails; in a checked cache, always |
//! | `slabs` | [`Slabs`]: the common path by size and by cache |
//! | `registry`, `config` | the table of caches; [`Config`]: the machine and the hooks |
//! | `record`, `node` | a cache's records; slabs by fullness and the depot of magazines, one lock for each cache and node |
//! | `fault`, `check` | [`Fault`], [`Report`]; `slab_debug=`: red zones, poison, users, quarantine |
//! | `magazine` | a CPU's two magazines of a cache: the common path itself |
//! | `slab`, `shape`, `class` | a slab's header and bits; how objects lie in slabs; size classes |
//! | `cells`, `memory` | memory for this crate's own records; frames and their descriptors |
//! | `spec`, `error` | [`CacheSpec`], [`Name`]; [`SpecError`], [`AllocError`] |
//!
//! # Theory
//!
//! 1. **The common path belongs to the CPU.** An object comes from, and goes to, an array of addresses that only this
//!    CPU touches: plain loads and stores, no lock, no locked operation, no shared line, and not a byte of the object.
//!    `Pinned` proves the CPU; a busy flag keeps interrupt handlers out, who go to the slabs instead.
//! 2. **Magazines are exchanged whole.** Two magazines a CPU (loaded and previous) make a run of either kind visit the
//!    depot once in a magazine of objects. An object that is freed on another CPU than allocated it travels with a
//!    magazine of others, home to its own node if that is another one. Magazines start small, and grow with what is
//!    exchanged, so that idle caches hold little: up to 16 KiB of objects, a depot up to 64 KiB for each CPU.
//! 3. **Slabs are described outside of their pages.** A header of 64 bytes with one bit a slot, reached from an
//!    object's frame through its descriptor: nothing is written into free objects, so there
//!    is no free list to corrupt, a second free is seen, and objects keep their natural alignment.
//! 4. **What is fullest is used up first**, so that slabs empty out. Nearly all of an emptied cache goes back at once;
//!    what magazines and depots keep goes back on demand.
//! 5. **Small slabs.** The least order that loses at most a ninth, 4 KiB for most sizes, never above 128 KiB: no object
//!    holds back a large page.
//! 6. **No recursion** (I10). Headers, magazines and caches' records are cells of frames, never objects; nothing is
//!    allocated under a lock. A magazine that cannot be had is done without.
//! 7. **Failure is an answer** (I12): an error, nothing having changed. A free cannot fail for want of memory.
//! 8. **Checks cost where they are on.** A checked cache has magazines of no rounds: all its operations take the slow
//!    path.
//!
//! Locking: registry, then a node of a cache, then cells, then frames, each with interrupts off, one at a time but for
//! the registry's walk, which holds none while it works. Frames are asked for with no lock held, since reclaim may run.
//!
//! Sources: Bonwick, *The Slab Allocator* (USENIX 1994): colours, object caching; Bonwick and Adams,
//! *Magazines and Vmem* (USENIX 2001): magazines, depot, working set. Linux's SLUB: checks and their letters, fullest
//! slabs first.
//!
//! Why not free lists through the objects: a batch that comes back would touch a cold line an object, where bits touch
//! one a slab. Why not one depot for all sizes: magazines of one cache never need to be searched. Why not page-sized
//! headers in the page: a 4-KiB object would take two pages.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(any(test, loom, shuttle))]
extern crate std;

mod cache;
mod cells;
mod check;
mod checked;
mod class;
mod config;
mod drain;
mod error;
mod fault;
mod heap;
mod large;
mod magazine;
mod memory;
mod node;
mod raw;
mod reclaim;
mod record;
mod refill;
mod registry;
mod report;
mod shape;
mod slab;
mod slabs;
mod spec;
mod validate;

pub use cache::{Cache, Object, Refused};
pub use check::{CallSite, CheckList, CheckListError, Checks, Track};
pub use config::Config;
pub use error::{AllocError, SpecError};
pub use fault::{Fault, Report};
pub use heap::{AlreadySet, Heap};
pub use raw::{DestroyError, RawCache};
pub use reclaim::Reclaiming;
pub use report::{CacheReport, InUse, LeakSite, NAMED_SITES, Totals};
pub use slabs::Slabs;
pub use spec::{CacheSpec, NAME_BYTES, Name};
pub use validate::Inconsistency;

#[cfg(all(test, any(loom, shuttle)))]
#[path = "tests/models.rs"]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
