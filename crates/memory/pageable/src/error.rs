//! Why pageable memory refuses.

use core::fmt;

use rhumb_frames::AllocError;
use rhumb_kernelmap::AreaError;
use rhumb_machine::VirtAddr;

/// Why a page cannot be had. All pages hold what they held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageError {
    /// The caller is in a context that must not wait: interrupts are off, or it is an interrupt handler.
    MayNotFault,
    /// The area does not have these bytes.
    OutOfArea,
    /// No frame is left for the page, and none could be paged out.
    NoFrame(AllocError),
    /// The store does not give the page's contents back.
    Lost(VirtAddr),
    /// The page is pinned as often as a page can be.
    TooManyPins(VirtAddr),
    /// The address is no pageable page's.
    NotPageable(VirtAddr),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayNotFault => f.write_str("pageable memory is not to be had where faults are not allowed"),
            Self::OutOfArea => f.write_str("the area does not have these bytes"),
            Self::NoFrame(error) => write!(f, "no memory for a page: {error}"),
            Self::Lost(at) => write!(f, "the store has lost the page at {at}"),
            Self::TooManyPins(at) => write!(f, "the page at {at} has too many pins"),
            Self::NotPageable(at) => write!(f, "{at} is not in pageable memory"),
        }
    }
}

impl core::error::Error for PageError {}

/// Why an area of pageable memory cannot be made. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MakeError {
    /// The kernel map refuses.
    Area(AreaError),
    /// The caller may not wait.
    MayNotFault,
}

impl fmt::Display for MakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Area(error) => error.fmt(f),
            Self::MayNotFault => PageError::MayNotFault.fmt(f),
        }
    }
}

impl core::error::Error for MakeError {}
