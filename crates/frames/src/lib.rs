//! Which physical frame is free: nodes, zones, orders 0 to 18, per-CPU magazines, fullest block first.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(any(test, feature = "model"))]
extern crate std;

mod block;
mod build;
mod cache;
mod checked;
pub mod compact;
mod depot;
pub mod descriptor;
pub mod error;
mod flow;
pub mod frame;
mod frames;
mod give;
pub mod layout;
mod leak;
mod pool;
pub mod pressure;
pub mod report;
pub mod request;
mod slow;
mod storage;
mod sync;
mod take;
mod tree;
pub mod validate;
mod words;
mod zero;

pub use compact::{Compaction, Extent, Relocate};
pub use descriptor::{Descriptor, History};
pub use error::{AllocError, FrameFault, LayoutError};
pub use frame::{Anywhere, Frame, FrameRange, Freeable, Mapped, Presence, Unmapped};
pub use frames::Frames;
pub use layout::{Layout, MemoryRange};
pub use leak::{Leaks, leaks};
pub use pressure::{Levels, Reclaimer, Registration, Shortage};
pub use report::{Description, Place, Totals, UnmovableBlock, ZoneReport};
pub use request::{AllocClass, Contents, Mobility, Owner, Preference, Request, Zone};
pub use validate::Inconsistency;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
