//! Faults of objects, as they are found and as they are reported.

use core::fmt;

use rhumb_machine::VirtAddr;

use crate::check::Track;
use crate::magazine::Round;
use crate::spec::Name;

/// The fault of an object or of its free.
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

/// A fault as it is reported: its cache, its object, and the object's last users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The cache that was asked.
    pub cache: Name,
    /// The object.
    pub object: VirtAddr,
    /// The fault.
    pub fault: Fault,
    /// The caller that allocated it, where the cache keeps that.
    pub allocated: Option<Track>,
    /// The caller that freed it, where the cache keeps that.
    pub freed: Option<Track>,
}

impl Report {
    /// Returns a fault of an object whose users are not known.
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
