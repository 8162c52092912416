//! Which physical frame is free: nodes, zones, orders 0 to 18, per-CPU magazines, fullest block first.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod error;
pub mod frame;
mod frames;
pub mod layout;
mod leak;
pub mod request;

pub use error::{AllocError, FrameFault, LayoutError};
pub use frame::{Anywhere, Frame, FrameRange, Mapped, Unmapped};
pub use frames::Frames;
pub use layout::{Layout, MemoryRange};
pub use leak::{Leaks, leaks};
pub use request::{AllocClass, Contents, Mobility, Owner, Preference, Request, Zone};
