//! Errors: one enum for building the allocator, one for asking it, one for giving back.

use core::fmt;

use rhumb_machine::{NodeId, Order, Pfn, PfnRange};

use crate::request::Zone;

/// Why an allocator cannot be built, or memory not be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// No memory was named.
    NoMemory,
    /// The second range begins before the first ends: unsorted or overlapping.
    Overlap(PfnRange, PfnRange),
    /// A range holds no frame.
    Empty(PfnRange),
    /// A frame number past 2^40 - 1, more than any x86-64 CPU addresses.
    PastLimit(Pfn),
    /// A free range is not wholly inside the memory that was named.
    NotMemory(PfnRange),
    /// The machine's node count, as the layout says it, does not reach this node.
    NoSuchNode(NodeId),
    /// The machine has more CPUs than the layout provides for.
    TooManyCpus(usize),
    /// More separate pieces of memory (per node, zone and hole of 1 GiB) than can be managed.
    TooManyPools(usize),
    /// Fewer bytes than [`crate::Layout::storage_bytes`] asks for: (given, needed).
    StorageTooSmall(usize, usize),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("no memory to manage"),
            Self::Overlap(a, b) => write!(f, "frames {b} begin before {a} ends"),
            Self::Empty(range) => write!(f, "frames {range}: an empty range"),
            Self::PastLimit(pfn) => write!(f, "frame {pfn} is past 2^40"),
            Self::NotMemory(range) => write!(f, "frames {range} are not all memory"),
            Self::NoSuchNode(node) => write!(f, "node {node} does not exist"),
            Self::TooManyCpus(cpus) => write!(f, "{cpus} CPUs, more than the layout was made for"),
            Self::TooManyPools(pools) => {
                write!(f, "{pools} separate pieces of memory, more than can be managed")
            }
            Self::StorageTooSmall(given, needed) => {
                write!(f, "{given} bytes of storage where {needed} are needed")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// Why an allocation failed. All counters are as they were before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// No free block of this order within the request's zones, nodes and class, after reclaim.
    Exhausted(Order),
    /// No free block of this order in the direct map, after reclaim, while memory past the map is free, which the request
    /// does not reach. Counted by [`crate::Frames::refused_for_low_memory`].
    LowExhausted(Order),
    /// The node of a binding has no memory, or does not exist.
    NoSuchNode(NodeId),
    /// There is no memory at or below this zone ceiling.
    NothingBelow(Zone),
    /// The range is empty, or not all of it is memory of one zone of one node.
    BadRange(PfnRange),
    /// A frame within the wanted range cannot be moved.
    Unmovable(Pfn),
    /// Another compaction or allocation of a range is running.
    Busy,
    /// The CPU of the token is past the layout's count.
    NoSuchCpu,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted(order) => write!(f, "no free block of order {order}"),
            Self::LowExhausted(order) => {
                write!(f, "no free block of order {order} in the direct map, only past it")
            }
            Self::NoSuchNode(node) => write!(f, "node {node} has no memory"),
            Self::NothingBelow(zone) => write!(f, "no memory at or below zone {zone}"),
            Self::BadRange(range) => write!(f, "frames {range} cannot be asked for"),
            Self::Unmovable(pfn) => write!(f, "frame {pfn} cannot be moved"),
            Self::Busy => f.write_str("another compaction is running"),
            Self::NoSuchCpu => f.write_str("this CPU is not one of the layout's"),
        }
    }
}

impl AllocError {
    /// Tells whether the request would have been served if more memory had been free.
    pub const fn is_exhaustion(&self) -> bool {
        matches!(self, Self::Exhausted(_) | Self::LowExhausted(_))
    }
}

impl core::error::Error for AllocError {}

/// The fault of a frame that was named by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameFault {
    /// It belongs to no memory of this allocator.
    Foreign(Pfn),
    /// It is free already.
    Free(Pfn),
    /// Its number is no multiple of the order's size.
    Misaligned(Pfn, Order),
    /// It was allocated with the first order and named with the second (checked builds).
    WrongOrder(Pfn, Order, Order),
    /// It is past the direct map's limit, and was named as a mapped frame.
    NotMapped(Pfn),
}

impl FrameFault {
    /// Returns the frame.
    pub const fn pfn(&self) -> Pfn {
        match *self {
            Self::Foreign(pfn)
            | Self::Free(pfn)
            | Self::Misaligned(pfn, _)
            | Self::WrongOrder(pfn, _, _)
            | Self::NotMapped(pfn) => pfn,
        }
    }
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(pfn) => write!(f, "frame {pfn} is not managed here"),
            Self::Free(pfn) => write!(f, "frame {pfn} is free already"),
            Self::Misaligned(pfn, order) => write!(f, "frame {pfn} cannot begin a block of order {order}"),
            Self::WrongOrder(pfn, real, said) => {
                write!(f, "frame {pfn} was allocated with order {real}, not {said}")
            }
            Self::NotMapped(pfn) => write!(f, "frame {pfn} is not in the direct map"),
        }
    }
}

impl core::error::Error for FrameFault {}
