//! Object caches over direct-mapped frames: memory for a kernel's objects, and for `Box` and `Vec`.
//!
//! | module | owns |
//! |---|---|
//! | `cache`, `heap`, `raw` | [`Cache`]; [`Heap`] for `#[global_allocator]`; [`RawCache`] |
//! | `validate`, `report` | the exact check; [`CacheReport`], [`Totals`], the call sites that hold objects |
//! | `reclaim` | returning memory: [`Slabs::reclaim`], [`Slabs::tick`], [`Slabs::trim`], as a reclaimer of frames |
//! | `traced` | telling of each allocation and free, while that is asked for |
//! | `large` | objects larger than the size classes: whole frames |
//! | `drain`, `refill`, `checked` | the slow paths of a free and of an allocation; a checked cache uses them for every operation |
//! | `slabs` | [`Slabs`]: the common path by size and by cache |
//! | `registry`, `config` | the table of caches; [`Config`]: the machine and the hooks |
//! | `record`, `node`, `depot` | a cache's records; slabs by fullness, one lock for each node; spare magazines, one lock for each four CPUs |
//! | `fault`, `check` | [`Fault`], [`Report`]; `slab_debug=`: red zones, poison, users, quarantine |
//! | `line`, `magazine` | a CPU's part of a cache, and with it the common path; arrays of objects, and stacks of them |
//! | `slab`, `shape`, `class` | a slab's header and bits; how objects lie in slabs; size classes |
//! | `cells`, `memory` | memory for this crate's own records; frames and their descriptors |
//! | `spec`, `error` | [`CacheSpec`], [`Name`]; [`SpecError`], [`AllocError`] |
//!
//! # Theory
//!
//! 1. **The common path belongs to the CPU.** An object comes from, and goes to, an array of addresses that only this
//!    CPU touches: plain loads and stores, no lock, no locked operation, no shared line, and not a byte of the object.
//!    `Pinned` proves the CPU; an interrupt handler that finds the busy flag set uses the slabs.
//! 2. **What is shared is visited seldom, and in bulk.** Each CPU has a loaded magazine, up to four full ones and a few
//!    empty ones. A CPU whose use goes up and down within these visits nothing that is shared, however many CPUs do the
//!    same. One whose objects are freed on a different CPU takes two full magazines from its neighbourhood's depot at a
//!    visit, and the other CPU leaves two; objects of another node return to that node's slabs. Magazines start small and grow
//!    with visits, so that idle caches hold little: up to 16 KiB of objects in one.
//! 3. **Slabs are described outside of their pages.** A header of 64 bytes with one bit for each slot, reached from an
//!    object's frame through its descriptor. Nothing is written into free objects, so there is no free list to corrupt,
//!    a second free is seen, and objects keep their natural alignment.
//! 4. **Fullest first.** Requests take from the fullest slab, so the others empty. Nearly all slabs of an emptied cache
//!    are freed at once. Reclaim frees the contents of magazines and depots.
//! 5. **Small slabs.** The least order that loses at most a ninth, 4 KiB for most sizes, never above 128 KiB: no object
//!    holds back a large page.
//! 6. **No recursion** (I10). Headers, magazines and caches' records are cells of frames, never objects; nothing is
//!    allocated under a lock. If there is no memory for a magazine, or for a CPU's lines, the operation uses the slab
//!    directly, and calls no reclaimer.
//! 7. **Failure is an answer** (I12): a request that fails returns an error and leaves the counters of use as they
//!    were. A free needs no memory, so it cannot fail for lack of it.
//! 8. **Only a checked cache pays for checks.** A checked cache has magazines of no rounds: all its operations take the
//!    slow path.
//!
//! Locking: each lock (registry, node, depot, cells, quarantine) is a leaf, taken with interrupts off and released before the
//! next. A walk of the registry holds no lock while it looks at a cache. Frames are requested with no lock held,
//! because reclaim may run.
//!
//! Sources: Bonwick, *The Slab Allocator* (USENIX 1994): colours, object caching; Bonwick and Adams,
//! *Magazines and Vmem* (USENIX 2001): magazines, depot, working set. Linux's SLUB: checks and their letters, fullest
//! slabs first.
//!
//! Why not free lists through the objects: a batch of frees would touch one cold line for each object; the bitmap costs
//! one for each slab. Why not one depot for all sizes: magazines of one cache never need to be searched. Why not
//! page-sized headers in the page: a 4-KiB object would take two pages.
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
mod depot;
mod drain;
mod error;
mod fault;
mod heap;
mod large;
mod line;
mod lines;
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
mod space;
mod spec;
mod traced;
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
pub use space::Space;
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
