//! The outcomes of an access, and the detector's findings.

use core::fmt;

use rhumb_machine::{CpuId, PageSize, Pfn, VirtAddr};
use rhumb_pagetable::{Entry, Key, Permissions, Rights};

/// A CPU's use of an address, as a supervisor (ring 0, CR0.WP and SMEP on).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Fetches an instruction.
    Execute,
}

impl Use {
    /// Returns the fault that `permissions` raise, or the page's protection key: `keys` is the CPU's register of
    /// rights, which counts for data of supervisor pages.
    pub(crate) fn fault(self, permissions: Permissions, key: Option<Key>, keys: u32) -> Option<Fault> {
        let is_allowed = match self {
            Self::Read => true,
            Self::Write => permissions.writable,
            Self::Execute => permissions.executable && !permissions.user,
        };
        if !is_allowed {
            return Some(Fault::Protection);
        }
        let rights = key.filter(|_| !permissions.user).map_or(Rights::ReadWrite, |key| key.rights(keys));
        match (self, rights) {
            (Self::Execute, _) | (_, Rights::ReadWrite) | (Self::Read, Rights::ReadOnly) => None,
            _ => Some(Fault::ProtectionKey),
        }
    }
}

/// Why an access does not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The walk ended at an absent entry.
    NotPresent,
    /// The page does not allow it.
    Protection,
    /// The page's protection key does not allow it.
    ProtectionKey,
    /// An entry has reserved bits set.
    Reserved,
    /// The address is not canonical.
    NotCanonical,
}

/// The cached entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The translation of a page.
    Translation {
        /// The size of the page that it was walked from.
        size: PageSize,
        /// The first frame that it shows.
        frame: Pfn,
        /// The leaf entry that it was made of.
        entry: Entry,
    },
    /// An entry that refers to a table.
    Table {
        /// Its level: 2 to 5.
        level: u8,
        /// The table that it refers to.
        table: Pfn,
        /// The entry.
        entry: Entry,
    },
}

impl What {
    /// Returns the first frame that a CPU reaches by it.
    pub const fn target(self) -> Pfn {
        match self {
            Self::Translation { frame, .. } => frame,
            Self::Table { table, .. } => table,
        }
    }

    /// Returns the entry that was cached.
    pub const fn entry(self) -> Entry {
        match self {
            Self::Translation { entry, .. } | Self::Table { entry, .. } => entry,
        }
    }
}

/// When a stale entry was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundAt {
    /// A CPU used it after its flush was promised.
    Access,
    /// It was there when its flush was promised.
    Promise,
    /// It was there when the frame behind it was about to be reused.
    Reuse,
    /// It gives the frame another memory type than a second cached translation of the frame does.
    MemoryType,
}

/// A cached entry that should be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaleUse {
    /// The CPU that holds it.
    pub cpu: CpuId,
    /// The first address that it translates.
    pub virt: VirtAddr,
    /// The cached entry.
    pub what: What,
    /// The entry that a walk of the address ends at now.
    pub current: Option<Entry>,
    /// When it was found.
    pub found: FoundAt,
}

impl fmt::Display for StaleUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.found {
            FoundAt::Access => "uses",
            FoundAt::Promise => "still holds, after its flush,",
            FoundAt::Reuse => "still holds, when the frame is reused,",
            FoundAt::MemoryType => "holds, beside one of another memory type,",
        };
        write!(f, "CPU {} {when} ", self.cpu)?;
        match self.what {
            What::Translation { size, frame, entry } => {
                write!(f, "the {size} translation of {} to frame {frame}: {entry}", self.virt)?;
            }
            What::Table { level, table, entry } => {
                write!(f, "the level-{level} entry of {} for table {table}: {entry}", self.virt)?;
            }
        }
        match self.current {
            Some(entry) => write!(f, "; the walk ends at {entry} now"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StaleUse {}
