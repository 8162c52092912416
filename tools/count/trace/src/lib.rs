//! From an emulator's accesses to misses of translation caches.
//!
//! ```text
//!  marks, accesses, fetches, flushes ──> Tracer: a model for each CPU and geometry ──> Report
//!                                            │ where no model has a translation
//!                                            ▼
//!                                        GuestTables: the guest's own page tables, in its memory
//! ```
//!
//! The emulator tells a [`Tracer`] of all accesses since the first mark, inside of regions and outside, because the
//! code outside decides which translations are cached when a region begins. Only accesses inside are counted.
//!
//! | module | owns |
//! |---|---|
//! | [`flush`] | which instructions drop translations |
//! | [`guest`] | the guest's page tables |
//! | [`place`] | the parts of Rhumb's address space |
//! | [`tracer`] | the models, region by region |
//! | [`report`] | the counts, and their text |
#![forbid(unsafe_code)]

pub mod flush;
pub mod guest;
pub mod place;
pub mod report;
pub mod tracer;

pub use flush::{Flushing, Operand};
pub use guest::{GuestTables, PhysicalMemory};
pub use place::Place;
pub use report::{Content, Region, Report, Sums, Tally};
pub use tracer::Tracer;

/// The example of the page.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
