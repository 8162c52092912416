//! Object caches over direct-mapped frames.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(any(test, feature = "model"))]
extern crate std;

mod cells;
mod check;
mod checked;
mod class;
pub mod error;
mod heap;
mod large;
mod magazine;
mod memory;
mod node;
mod raw;
mod reclaim;
mod record;
mod registry;
mod report;
mod shape;
mod slab;
mod slabs;
mod slow;
mod spec;
mod sync;
pub mod validate;

pub use check::{CallSite, CheckList, CheckListError, Checks, Track};
pub use error::{AllocError, Fault, Report, SpecError};
pub use heap::Heap;
pub use raw::{InUse, NAMED_SITES, RawCache};
pub use record::{NAME_BYTES, Name};
pub use report::{CacheReport, LeakSite, SlabInfo, Totals};
pub use slabs::{Config, Slabs};
pub use spec::CacheSpec;
pub use validate::Inconsistency;

#[cfg(test)]
mod tests;
