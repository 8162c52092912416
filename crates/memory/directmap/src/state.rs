//! The changes that frames in the map can have, by the names that people know, and their results.
//!
//! | here | elsewhere | makes of the frames |
//! |---|---|---|
//! | [`Change::ReadOnly`] | `set_memory_ro` | not writable; executable if they were |
//! | [`Change::ReadWrite`] | `set_memory_rw` | writable; refused where they are executable (I4) |
//! | [`Change::Execute`] | `set_memory_x` | executable, if they are read-only; refused where they are writable (I4) |
//! | [`Change::ReadOnlyExecute`] | `set_memory_rox` | read-only and executable, whatever they were |
//! | [`Change::NoExecute`] | `set_memory_nx` | not executable |
//! | [`Change::NotPresent`] | `set_memory_np`, `set_direct_map_invalid` | absent; refused a second time |
//! | [`Change::Present`] | `set_memory_p` | present, with the permissions that they had |
//! | [`Change::Default`] | `set_direct_map_default` | ordinary RAM: read-write, write-back |
//! | [`Change::Cache`] | `set_memory_uc`, `_wc`, `_wt`, `_wb` | cached in that mode |
//! | [`Change::Key`] | | of this protection key, which decides whether they can be written |
//!
//! Access, cache mode, key and presence are independent: frames that are taken out and put back are as they were
//! before. A change of cache mode drops translations; lines that are cached in the old mode are the caller's to write
//! back.

use core::fmt;
use core::str::FromStr;

use rhumb_machine::{PageSize, PhysAddr};
use rhumb_pagetable::{Access, Attributes, CacheMode, Entry, Key};

/// Whether frames can be reached through the map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Presence {
    /// They can.
    Present,
    /// They are taken out of it.
    Absent,
}

/// The state of frames in the map. Writable and executable at once cannot be said (I4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Read, write, execute: now, or once the frames are back.
    pub access: Access,
    /// Cache mode.
    pub cache: CacheMode,
    /// Protection key; `None` is that of all other memory.
    pub key: Option<Key>,
    /// In the map or out of it.
    pub presence: Presence,
}

impl State {
    /// Ordinary RAM: in the map, read-write, write-back.
    pub const ORDINARY: Self = Self {
        access: Access::ReadWrite,
        cache: CacheMode::WriteBack,
        key: None,
        presence: Presence::Present,
    };

    /// Returns the state after `change`, or the rule that forbids the change.
    pub const fn after(self, change: Change) -> Result<Self, BadChange> {
        let mut next = self;
        match (change, self.access) {
            (Change::ReadOnly, Access::ReadWrite) | (Change::NoExecute, Access::ReadExecute) => {
                next.access = Access::ReadOnly;
            }
            (Change::ReadWrite, Access::ReadExecute) | (Change::Execute, Access::ReadWrite) => {
                return Err(BadChange::WriteExecute);
            }
            (Change::ReadWrite, _) => next.access = Access::ReadWrite,
            (Change::Execute | Change::ReadOnlyExecute, _) => next.access = Access::ReadExecute,
            (Change::Cache(mode), _) => next.cache = mode,
            (Change::Key(key), _) => next.key = key,
            (Change::NotPresent, _) => {
                if matches!(self.presence, Presence::Absent) {
                    return Err(BadChange::AlreadyRemoved);
                }
                next.presence = Presence::Absent;
            }
            (Change::Present, _) => next.presence = Presence::Present,
            (Change::Default, _) => next = Self::ORDINARY,
            (Change::ReadOnly | Change::NoExecute, _) => {}
        }
        Ok(next)
    }

    /// Tells whether it is that of ordinary RAM.
    pub fn is_ordinary(self) -> bool {
        self == Self::ORDINARY
    }

    /// Returns the one entry of a page of `size` at `phys` in this state: all bits clear where absent.
    pub const fn entry(self, phys: PhysAddr, size: PageSize) -> Entry {
        match self.attributes() {
            Some(attributes) => Entry::leaf(phys, size, attributes),
            None => Entry::EMPTY,
        }
    }

    /// Returns the attributes of a page in this state; `None` where it is absent.
    pub(crate) const fn attributes(self) -> Option<Attributes> {
        match self.presence {
            Presence::Present => {
                Some(Attributes::kernel(self.access).with_cache(self.cache).with_key(self.key))
            }
            Presence::Absent => None,
        }
    }
}

impl fmt::Display for State {
    /// `rw WB`, `ro UC-`, `rox WB`, `rw WB key 1`, `np`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.presence == Presence::Absent {
            return f.pad("np");
        }
        let access = match self.access {
            Access::ReadOnly => "ro",
            Access::ReadWrite => "rw",
            Access::ReadExecute => "rox",
        };
        write!(f, "{access} {}", self.cache)?;
        match self.key {
            Some(key) => write!(f, " {key}"),
            None => Ok(()),
        }
    }
}

/// A change of how frames are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// Not writable.
    ReadOnly,
    /// Writable.
    ReadWrite,
    /// Executable, of what is read-only.
    Execute,
    /// Read-only and executable at once.
    ReadOnlyExecute,
    /// Not executable.
    NoExecute,
    /// Out of the map.
    NotPresent,
    /// Back in the map, with the permissions from before.
    Present,
    /// Ordinary RAM.
    Default,
    /// Another cache mode.
    Cache(CacheMode),
    /// Another protection key. No word names it: keys are given out by the kernel.
    Key(Option<Key>),
}

/// Why a change makes no sense for frames in their state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadChange {
    /// The frames would be writable and executable.
    WriteExecute,
    /// They are out of the map already.
    AlreadyRemoved,
}

/// The words of changes; the first word of a change is the one by which it is shown.
const WORDS: [(&str, Change); 16] = [
    ("ro", Change::ReadOnly),
    ("rw", Change::ReadWrite),
    ("x", Change::Execute),
    ("rox", Change::ReadOnlyExecute),
    ("rx", Change::ReadOnlyExecute),
    ("nx", Change::NoExecute),
    ("np", Change::NotPresent),
    ("invalid", Change::NotPresent),
    ("p", Change::Present),
    ("default", Change::Default),
    ("wb", Change::Cache(CacheMode::WriteBack)),
    ("wt", Change::Cache(CacheMode::WriteThrough)),
    ("uc", Change::Cache(CacheMode::UncachedStrong)),
    ("uc-", Change::Cache(CacheMode::Uncached)),
    ("wc", Change::Cache(CacheMode::WriteCombining)),
    ("wp", Change::Cache(CacheMode::WriteProtected)),
];

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only a change of key is in no row.
        f.pad(WORDS.iter().find(|(_, change)| change == self).map_or("key", |(word, _)| word))
    }
}

/// A word that names no [`Change`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseChangeError {
    /// It asks for writable and executable.
    WriteExecute,
    /// It is not known.
    Unknown,
}

impl fmt::Display for ParseChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteExecute => "writable and executable at once cannot be had",
            Self::Unknown => "not one of ro rw x rox nx np p invalid default wb wt uc uc- wc wp",
        })
    }
}

impl core::error::Error for ParseChangeError {}

impl FromStr for Change {
    type Err = ParseChangeError;

    fn from_str(word: &str) -> Result<Self, ParseChangeError> {
        if matches!(word, "wx" | "rwx" | "xw") {
            return Err(ParseChangeError::WriteExecute);
        }
        let row = WORDS.iter().find(|(known, _)| *known == word);
        row.map(|(_, change)| *change).ok_or(ParseChangeError::Unknown)
    }
}
