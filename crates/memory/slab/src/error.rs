//! Refusals: one enum for making a cache, one for allocating from it. Faults of objects are in `fault.rs`.

use core::fmt;

/// Why a cache cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpecError {
    /// Objects of no bytes.
    ZeroSize,
    /// An alignment that is no power of two.
    BadAlign(usize),
    /// An alignment above that of the largest slab, 128 KiB.
    AlignTooLarge(usize),
    /// Objects above 32 KiB: those come from frames.
    TooLarge(usize),
    /// There are as many caches as there can be.
    TooManyCaches,
    /// The frame allocator has as many reclaimers as it can have.
    TooManyReclaimers,
    /// The frame allocator was made without descriptors: `Frames::with_descriptors`.
    NoDescriptors,
    /// More CPUs or nodes than a machine can have, or none.
    BadMachine,
    /// No memory for the cache's own records.
    NoMemory,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroSize => f.write_str("objects of no bytes"),
            Self::BadAlign(align) => write!(f, "an alignment of {align}, which is no power of two"),
            Self::AlignTooLarge(align) => write!(f, "an alignment of {align}, above that of any slab"),
            Self::TooLarge(size) => write!(f, "objects of {size} bytes, more than a slab serves"),
            Self::TooManyCaches => f.write_str("too many caches"),
            Self::TooManyReclaimers => f.write_str("too many reclaimers"),
            Self::NoDescriptors => f.write_str("the frame allocator has no descriptors"),
            Self::BadMachine => f.write_str("no CPU or node, or more than can be"),
            Self::NoMemory => f.write_str("no memory for the cache's records"),
        }
    }
}

impl core::error::Error for SpecError {}

/// Why an allocation failed. All counters are as they were before.
///
/// As large as a pointer, so that a result of the two is handed over in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum AllocError {
    /// No memory, after reclaim where the class allows it.
    Exhausted,
    /// A size or an alignment past what frames can give.
    TooLarge,
    /// The CPU of the token is past the count that the allocator was made for.
    NoSuchCpu,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "out of memory",
            Self::TooLarge => "more than can be had in one piece",
            Self::NoSuchCpu => "this CPU is not one of the allocator's",
        })
    }
}

impl core::error::Error for AllocError {}
