//! [`Request`]: what is asked for.

use rhumb_frames::Owner;

use crate::error::CodeError;
use crate::kind::Kind;
use crate::part::PartName;
use crate::size::{BLOCK_BYTES, GRANULE_BYTES};

/// A request for a part of a block.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) align: u64,
    pub(crate) owner: Owner,
    pub(crate) name: PartName,
}

impl Request {
    /// Asks for so many bytes, aligned to a cache line, of no owner in particular.
    pub const fn new(kind: Kind, bytes: u64) -> Self {
        Self { kind, bytes, align: GRANULE_BYTES, owner: Owner::NONE, name: PartName::EMPTY }
    }

    /// Asks for an address that is a multiple of `align`, a power of two up to 2 MiB; at less than a cache line, for
    /// that of a cache line.
    #[must_use]
    pub const fn aligned(self, align: u64) -> Self {
        Self { align, ..self }
    }

    /// Names the part of the kernel that the memory is for.
    #[must_use]
    pub const fn owner(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    /// Names the module or the program, for reports. A long name is cut short.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: PartName::new(name), ..self }
    }

    /// Refuses what no pool has, and rounds up.
    pub(crate) fn shape(&self) -> Result<Shape, CodeError> {
        if self.bytes == 0 {
            return Err(CodeError::NoBytes);
        }
        if !self.align.is_power_of_two() || self.align > BLOCK_BYTES {
            return Err(CodeError::BadAlignment { align: self.align });
        }
        if self.bytes > BLOCK_BYTES {
            return Err(CodeError::TooLarge { bytes: self.bytes });
        }
        Ok(Shape {
            bytes: self.bytes.next_multiple_of(GRANULE_BYTES) as u32,
            align: self.align.max(GRANULE_BYTES) as u32,
        })
    }
}

/// Size and alignment, in whole granules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) bytes: u32,
    pub(crate) align: u32,
}
