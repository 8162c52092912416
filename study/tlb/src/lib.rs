//! A model of translation caches: from a trace of accesses to hits, walks, and the memory that walks read.
//!
//! ```text
//!  access ──> first level, by purpose and page size ──> second level ──> walk caches ──> page tables
//!             64 entries of 4 KiB, 32 of 2 MiB, ...     1,536 of both    PDE, PDPTE      1 to 4 references, or 24
//! ```
//!
//! A [`Model`] of a [`Geometry`] takes one [`Access`] after another and [`Flush`]es in between. It asks the [`Tables`]
//! for a page's size only where no cache has the translation, as a CPU does. [`Totals`] are split by [`Class`]: kernel
//! data, kernel code, user data, user code.
//!
//! | module | owns |
//! |---|---|
//! | [`access`] | the inputs: accesses, tables, flushes |
//! | [`geometry`] | the shape of a CPU's caches; from published figures or from a description |
//! | [`published`] | the geometries of real CPUs, with their sources |
//! | [`model`] | the caches at work |
//! | [`nested`] | tables under tables: guests of a hypervisor |
//! | [`counts`] | the outputs |
//! | [`ladder`](mod@ladder) | the reach of a geometry: misses over the size of a working set |
//!
//! The model knows no time: a walk's cost depends on where its entries are cached, which it does not follow.
#![forbid(unsafe_code)]

pub mod access;
mod cache;
pub mod counts;
pub mod geometry;
pub mod ladder;
pub mod model;
pub mod nested;
mod page;
pub mod published;

pub use access::{Access, Class, Flush, Purpose, Side, Tables, Translation, Uniform};
pub use cache::Replacement;
pub use counts::{Counts, Totals};
pub use geometry::{Array, Geometry, Serves, WalkCache, WrongGeometry};
pub use ladder::{Step, ladder};
pub use model::{Model, Outcome};
pub use nested::Nested;
pub use page::{MAX_LEVELS, PageSize};

/// The example of the page.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
