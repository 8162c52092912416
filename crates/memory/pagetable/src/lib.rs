//! x86-64 page tables, 4 and 5 levels deep: entries, mapping and unmapping, splits and merges, walks, lists of all that
//! a tree maps, and an audit of it.
//!
//! | module | owns |
//! |---|---|
//! | [`attributes`] | [`Attributes`] (of a request), [`Permissions`] (of a walk), the PAT layout |
//! | [`entry`] | [`Entry`]: the bits, and the one canonical form of a leaf |
//! | [`key`] | [`Key`]: protection keys, and the rights that the register gives them |
//! | [`levels`] | [`Levels`], [`Root`]: depth, indices, canonical addresses |
//! | [`memory`] | [`TableMemory`], [`TableEntry`], [`TableSource`]: access to tables, and their source; [`TableChain`] |
//! | [`runs`] | [`Mapping`] divided into runs of equal pages; [`PageCounts`]; [`tables_needed`] |
//! | [`mapper`], [`error`] | [`Mapper`]: map and unmap, whole or not at all; [`MapOutcome`], [`UnmapOutcome`]; [`MapError`] |
//! | [`edit`] | [`Editor`]: splits pages, sets their attributes, merges them again |
//! | [`flush`] | [`FlushBatch`], [`Flushed`], [`FlushStats`], [`LazyCpu`]: translations of changed tables that CPUs may have cached |
//! | [`walk`](mod@walk) | [`walk()`](walk::walk): one address, level by level; [`descend`]: its last entry alone |
//! | [`scan`], [`span`] | [`Leaves`], [`Spans`]: all that a tree maps |
//! | [`audit`], [`finding`] | [`Audit`]: W^X across all aliases, offsets, device memory, overlaps |
//! | [`planted`], `sim` | faults that tests inject; tables in a hash map, for tests (feature `sim`) |
//!
//! Principles:
//! 1. Policy is elsewhere. This crate knows neither what is RAM nor why something is mapped.
//! 2. Writable and executable at once cannot be asked for (invariant I4).
//! 3. The bits of a leaf are a function of address, size and attributes, so a page that is split and merged again has
//!    its old bits.
//! 4. Every step that can fail runs before the first write (I7). Nothing allocates (I10).
#![no_std]
#![cfg_attr(not(test), deny(unsafe_code))]

pub mod attributes;
pub mod audit;
pub mod edit;
pub mod entry;
pub mod error;
pub mod finding;
pub mod flush;
pub mod key;
pub mod levels;
pub mod mapper;
pub mod memory;
pub mod planted;
pub mod runs;
pub mod scan;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod span;
pub mod walk;

pub use attributes::{Access, Attributes, CacheMode, IA32_PAT, PAT_LAYOUT, Permissions, Privilege, Scope};
pub use audit::{Audit, AuditSummary, DirectMapRule};
pub use edit::{CachedAs, Editor};
pub use entry::{Entry, bits};
pub use error::MapError;
pub use finding::Finding;
pub use flush::{FlushBatch, FlushCause, FlushCounters, FlushStats, Flushed, LazyCpu, Unflushed};
pub use key::{Key, Rights};
pub use levels::{ENTRIES, Levels, Root};
pub use mapper::{DetachedTables, EmptyTables, MapOutcome, Mapper, UnmapOutcome};
pub use memory::{OutOfTables, TableChain, TableEntry, TableMemory, TableSource};
pub use runs::{Mapping, PageCounts, Run, tables_needed};
pub use scan::{Leaves, Malformed, Scan, Visit};
pub use span::{Join, Span, Spans};
pub use walk::{Leaf, Outcome, Step, Walk, descend, entry_at, walk};

#[cfg(test)]
mod tests;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
