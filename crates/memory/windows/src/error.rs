//! Errors: why a window is not opened, or a copy not made.

use core::fmt;

use crate::slots::DEPTH;

/// Why a window cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowError {
    /// This CPU has [`DEPTH`] open already, one within the other.
    TooDeep,
    /// The CPU has no slots: it is past those that the windows were made for.
    NoSuchCpu,
    /// The frame is not of the allocator that the windows were made for: its number means other memory there.
    OtherAllocator,
    /// The frame has no page of this number.
    NoSuchPage {
        /// The number.
        page: u64,
        /// How many it has.
        pages: u64,
    },
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(f, "{DEPTH} windows are open already, one within the other"),
            Self::NoSuchCpu => f.write_str("this CPU has no windows"),
            Self::OtherAllocator => f.write_str("the frame is another allocator's"),
            Self::NoSuchPage { page, pages } => write!(f, "page {page} of a frame that has {pages}"),
        }
    }
}

impl core::error::Error for WindowError {}

/// A stretch of bytes that is not within the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfFrame {
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// The frame's length.
    pub size_bytes: u64,
}

impl fmt::Display for OutOfFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} of a frame of {}", self.bytes, self.offset, self.size_bytes)
    }
}

impl core::error::Error for OutOfFrame {}

/// A copy that could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyError {
    /// It is not within the frame. Nothing was copied.
    OutOfFrame(OutOfFrame),
    /// There is no window: the CPU has none, or its reserve is held by the caller itself. The pages before this one
    /// were copied.
    Window(WindowError),
}

impl From<OutOfFrame> for CopyError {
    fn from(error: OutOfFrame) -> Self {
        Self::OutOfFrame(error)
    }
}

impl From<WindowError> for CopyError {
    fn from(error: WindowError) -> Self {
        Self::Window(error)
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFrame(error) => error.fmt(f),
            Self::Window(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CopyError {}
