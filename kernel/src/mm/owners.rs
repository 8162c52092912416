//! The owners of frames: the numbers that descriptors keep, and their names.
//!
//! Code that allocates for itself names its owner in the request ([`rhumb_frames::Request::owner`]), so that `frames
//! FRAME` can tell. What boot took before there was an allocator is named by the memory map instead.

use core::fmt;

use rhumb_frames::Owner;

/// A part of the kernel that holds frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Holder {
    /// The kernel's own tests.
    SelfTest = 1,
    /// `stress frames`.
    Stress,
    /// Object caches.
    Objects,
    /// Page tables and records that the direct map keeps for changes.
    DirectMap,
    /// `count`, while it measures.
    Count,
    /// A person at the monitor: `directmap pool take`.
    Monitor,
    /// Movable frames with known contents: `sample`.
    Sample,
}

impl Holder {
    const ALL: [Self; 7] = [
        Self::SelfTest,
        Self::Stress,
        Self::Objects,
        Self::DirectMap,
        Self::Count,
        Self::Monitor,
        Self::Sample,
    ];

    /// One past the highest number.
    pub const END: usize = Self::ALL.len() + 1;

    /// Returns its number in a descriptor.
    pub const fn owner(self) -> Owner {
        Owner(self as u16)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::SelfTest => "selftest",
            Self::Stress => "stress",
            Self::Objects => "object caches",
            Self::DirectMap => "direct map",
            Self::Count => "count",
            Self::Monitor => "monitor",
            Self::Sample => "movable sample",
        }
    }
}

/// An owner by its name; by its number where no owner has it.
pub struct Name(pub Owner);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Holder::ALL.into_iter().find(|holder| holder.owner() == self.0) {
            Some(holder) => f.write_str(holder.name()),
            None => write!(f, "owner {}", self.0.0),
        }
    }
}
