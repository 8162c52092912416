//! Frames.

pub mod frame;

pub use frame::{Frame, UniqueFrame};

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;

/// A physical address.
pub type Paddr = usize;

/// A thing that has a physical address.
pub trait HasPaddr {
    /// It.
    fn paddr(&self) -> Paddr;
}
