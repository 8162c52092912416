//! What can go wrong, and with what: one enum for making a cache, one for asking it, one for what is refused.

use core::fmt;

use rhumb_machine::VirtAddr;

use crate::check::Track;
use crate::magazine::Round;
use crate::record::Name;

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

/// What is wrong with an object or with its free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is in no slab.
    Foreign,
    /// It is an object of another cache.
    WrongCache(Name),
    /// It is no object: between two of them, or past the last.
    NoObject,
    /// It is free already.
    DoubleFree,
    /// The byte at this distance from the object's start, before or behind it, was written.
    RedZone(i32),
    /// The byte at this distance was written after the free.
    WrittenFree(i32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("is in no slab"),
            Self::WrongCache(name) => write!(f, "is an object of {name}"),
            Self::NoObject => f.write_str("is not where an object begins"),
            Self::DoubleFree => f.write_str("is free already"),
            Self::RedZone(at) => write!(f, "was overrun: byte {at} was written"),
            Self::WrittenFree(at) => write!(f, "was written after its free: byte {at}"),
        }
    }
}

/// A fault as it is told: which cache, which object, what, and who had it last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The cache that was asked.
    pub cache: Name,
    /// The object.
    pub object: VirtAddr,
    /// What is wrong.
    pub fault: Fault,
    /// Who allocated it, where the cache keeps that.
    pub allocated: Option<Track>,
    /// Who freed it, where the cache keeps that.
    pub freed: Option<Track>,
}

impl Report {
    /// A fault of an object whose users are not known.
    pub(crate) fn of(cache: Name, object: Round, fault: Fault) -> Self {
        Self { cache, object: VirtAddr::new(object.addr().get() as u64), fault, allocated: None, freed: None }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slab: {}: object at {} {}", self.cache, self.object, self.fault)?;
        if let Some(track) = &self.allocated {
            write!(f, "; allocated {track}")?;
        }
        if let Some(track) = &self.freed {
            write!(f, "; freed {track}")?;
        }
        Ok(())
    }
}
