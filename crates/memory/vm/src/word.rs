//! The state of a page, in the entry of the page table that maps it: there is no other record of a page.
//!
//! ```text
//!   state     63  62..59    58    57..56   55..54  53..52  51..12           11     10       9       8..4  3..1  0
//!   empty      0    0       0       0        0       0      0                0      0       0         0     0   0
//!   fresh      0    0       0    inherit     0     access  all ones          0      0       0         0     1   0
//!   hidden     0    0    device  inherit   cache   access  frame, inverted  wired  object  shared     0     2   0
//!   busy       0    0       0    inherit     0     access  frame, inverted   0      0      shared     0     3   0
//!   object     0  index     0    inherit     0     access  sheet, inverted   0     object   0       index   4   0
//!   present   NX    0    device  inherit   cache   access  frame            wired  object  shared  bits of the CPU's
//! ```
//!
//! *Access* is what the map's holder asked for; the CPU's own bits allow less where the frame is shared, so that the
//! first write faults. The marks have the same places in all states, so that a change of one mark is the same for each.
//!
//! *Object* says that the frame is a [sheet](crate::sheet)'s, whose page several maps may write; the word of such a page
//! that the map has not used yet names the sheet and the place in it.
//!
//! *Device* says that the frame is a device's, and how CPUs cache it.
//!
//! A word at level 2 or 3 is the word of each of the pages that the entry spans: *fresh* memory of any size has a word
//! for each 2 MiB or 1 GiB of it, and no table below, until a page of it is used.
//!
//! The address of an absent entry is inverted, so that it names no memory that there is: a CPU with the L1 terminal
//! fault reads, on speculation, the cached memory that a non-present entry names.
//!
//! ACCESSED is set in each leaf that is written here, and DIRTY in each writable one, so that a CPU never writes into a
//! table by itself, and a word that is read under its lock stays as it was read.

use rhumb_machine::{PageSize, Pfn};
use rhumb_pagetable::{Access, Attributes, CacheMode, ENTRIES, Entry, bits};

/// The rights of code to a page. Writable and executable it never is (I4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Protection {
    /// None: each access is an error. The contents stay.
    Nothing,
    /// Read.
    Read,
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// The use of a page that has raised a fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Use {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A fetch of an instruction.
    Execute,
}

/// The page that a fork gives to the new map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Inherit {
    /// A copy, made when either writes.
    #[default]
    Copy,
    /// None.
    Nothing,
    /// The same page: each map sees what the other one writes. [`crate::Map::inherit`] makes pages fit for that.
    Share,
}

impl Protection {
    const fn number(self) -> u64 {
        self as u64
    }

    const fn of_number(number: u64) -> Self {
        match number & 3 {
            0 => Self::Nothing,
            1 => Self::Read,
            2 => Self::ReadWrite,
            _ => Self::ReadExecute,
        }
    }

    /// Tells whether it allows a use.
    pub const fn allows(self, wanted: Use) -> bool {
        matches!(
            (self, wanted),
            (Self::Read | Self::ReadWrite | Self::ReadExecute, Use::Read)
                | (Self::ReadWrite, Use::Write)
                | (Self::ReadExecute, Use::Execute)
        )
    }

    /// Tells whether one of them writes and the other executes.
    pub(crate) const fn swaps(self, other: Self) -> bool {
        matches!((self, other), (Self::ReadWrite, Self::ReadExecute) | (Self::ReadExecute, Self::ReadWrite))
    }

    /// Tells whether all that it allows is allowed by `other`.
    pub const fn is_within(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Nothing, _)
                | (Self::Read, Self::Read | Self::ReadWrite | Self::ReadExecute)
                | (Self::ReadWrite, Self::ReadWrite)
                | (Self::ReadExecute, Self::ReadExecute)
        )
    }

    const fn access(self) -> Option<Access> {
        match self {
            Self::Nothing => None,
            Self::Read => Some(Access::ReadOnly),
            Self::ReadWrite => Some(Access::ReadWrite),
            Self::ReadExecute => Some(Access::ReadExecute),
        }
    }
}

impl core::fmt::Display for Protection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Nothing => "---",
            Self::Read => "r--",
            Self::ReadWrite => "rw-",
            Self::ReadExecute => "r-x",
        })
    }
}

const SHARED: u64 = 1 << 9;
const OBJECT: u64 = 1 << 10;
const WIRED: u64 = 1 << 11;
const ACCESS_SHIFT: u32 = 52;
const ACCESS: u64 = 3 << ACCESS_SHIFT;
const CACHE_SHIFT: u32 = 54;
const CACHE: u64 = 3 << CACHE_SHIFT;
const DEVICE: u64 = 1 << 58;
const INHERIT_SHIFT: u32 = 56;
const INHERIT: u64 = 3 << INHERIT_SHIFT;
const MARKS: u64 = SHARED | OBJECT | WIRED | ACCESS | INHERIT | CACHE | DEVICE;

const TAG: u64 = 7 << 1;
const FRESH: u64 = 1 << 1;
const HIDDEN: u64 = 2 << 1;
const BUSY: u64 = 3 << 1;
const NAMED: u64 = 4 << 1;

/// Where the low and the high bits of a place in a sheet are.
const LOW_INDEX_SHIFT: u32 = 4;
const LOW_INDEX_BITS: u32 = 5;
const HIGH_INDEX_SHIFT: u32 = 59;

/// Bits of a place in a sheet.
const INDEX_BITS: u32 = 9;

/// A page of a [sheet](crate::sheet).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) sheet: Pfn,
    pub(crate) index: usize,
}

impl Slot {
    pub(crate) const fn bits(self) -> u64 {
        self.sheet.get() << INDEX_BITS | self.index as u64
    }

    pub(crate) const fn of_bits(bits: u64) -> Self {
        Self { sheet: Pfn::new(bits >> INDEX_BITS), index: (bits & (ENTRIES as u64 - 1)) as usize }
    }
}

/// How CPUs cache the pages of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeviceCache {
    UncachedStrong,
    Uncached,
    WriteCombining,
    WriteThrough,
}

impl DeviceCache {
    /// Returns the mode; `None` where reads or writes may be kept.
    pub(crate) const fn of(mode: CacheMode) -> Option<Self> {
        match mode {
            CacheMode::UncachedStrong => Some(Self::UncachedStrong),
            CacheMode::Uncached => Some(Self::Uncached),
            CacheMode::WriteCombining => Some(Self::WriteCombining),
            CacheMode::WriteThrough => Some(Self::WriteThrough),
            CacheMode::WriteBack | CacheMode::WriteProtected => None,
        }
    }
}

/// The marks of a page: what its map's holder asked for, and whether its frame is in several maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marks(u64);

impl Marks {
    pub(crate) const fn new(protection: Protection, inherit: Inherit) -> Self {
        Self(protection.number() << ACCESS_SHIFT | (inherit as u64) << INHERIT_SHIFT)
    }

    pub(crate) const fn protection(self) -> Protection {
        Protection::of_number(self.0 >> ACCESS_SHIFT)
    }

    pub(crate) const fn with_protection(self, protection: Protection) -> Self {
        Self(self.0 & !ACCESS | protection.number() << ACCESS_SHIFT)
    }

    pub(crate) const fn inherit(self) -> Inherit {
        match self.0 >> INHERIT_SHIFT & 3 {
            0 => Inherit::Copy,
            1 => Inherit::Nothing,
            _ => Inherit::Share,
        }
    }

    pub(crate) const fn with_inherit(self, inherit: Inherit) -> Self {
        Self(self.0 & !INHERIT | (inherit as u64) << INHERIT_SHIFT)
    }

    /// Tells whether the frame has a count, because other maps or copies may have it, too.
    pub(crate) const fn is_shared(self) -> bool {
        self.0 & SHARED != 0
    }

    pub(crate) const fn device(self, cache: DeviceCache) -> Self {
        Self(self.0 & !CACHE | DEVICE | (cache as u64) << CACHE_SHIFT)
    }

    /// Tells whether the frame is a device's.
    pub(crate) const fn is_device(self) -> bool {
        self.0 & DEVICE != 0
    }

    const fn cache(self) -> CacheMode {
        if !self.is_device() {
            return CacheMode::WriteBack;
        }
        match self.0 >> CACHE_SHIFT & 3 {
            0 => CacheMode::UncachedStrong,
            1 => CacheMode::Uncached,
            2 => CacheMode::WriteCombining,
            _ => CacheMode::WriteThrough,
        }
    }

    /// Tells whether the page keeps its frame.
    pub(crate) const fn is_wired(self) -> bool {
        self.0 & WIRED != 0
    }

    pub(crate) const fn wired(self) -> Self {
        Self(self.0 | WIRED)
    }

    pub(crate) const fn unwired(self) -> Self {
        Self(self.0 & !WIRED)
    }

    /// Tells whether the page is one of a sheet.
    pub(crate) const fn is_object(self) -> bool {
        self.0 & OBJECT != 0
    }

    pub(crate) const fn object(self) -> Self {
        Self(self.0 | OBJECT)
    }

    /// Returns the marks of a copy of the page that is one map's.
    pub(crate) const fn private(self) -> Self {
        Self(self.0 & !(OBJECT | SHARED | WIRED))
    }

    pub(crate) const fn shared(self) -> Self {
        Self(self.0 | SHARED)
    }

    pub(crate) const fn exclusive(self) -> Self {
        Self(self.0 & !SHARED)
    }

    /// Returns the access that the CPU is to have: none where a page is hidden.
    const fn hardware(self) -> Option<Access> {
        match self.protection().access() {
            Some(Access::ReadWrite) if self.is_shared() => Some(Access::ReadOnly),
            access => access,
        }
    }
}

/// The state of the pages of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing is there.
    Empty,
    /// It reads as zeroes, and has no frame yet.
    Fresh(Marks),
    /// It is a page of a sheet, which the map has not used yet.
    Named(Slot, Marks),
    /// It has a frame, which the CPU reaches or, without any access, does not.
    Mapped(Pfn, Marks),
    /// A CPU copies it.
    Busy(Marks),
}

impl State {
    /// Returns the marks of the pages, if there are any.
    pub(crate) const fn marks(self) -> Option<Marks> {
        match self {
            Self::Empty => None,
            Self::Fresh(marks) | Self::Named(_, marks) | Self::Mapped(_, marks) | Self::Busy(marks) => {
                Some(marks)
            }
        }
    }
}

/// An entry of a table, as this crate reads and writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(pub(crate) Entry);

impl Word {
    pub(crate) const fn is_empty(self) -> bool {
        self.0.bits() == 0
    }

    pub(crate) const fn fresh(marks: Marks) -> Self {
        Self(Entry::from_bits(FRESH | bits::ADDRESS | marks.0))
    }

    /// Returns the word of a page that has a frame. `attributes` says what an access is in this map's tables.
    pub(crate) fn mapped(
        pfn: Pfn,
        size: PageSize,
        marks: Marks,
        attributes: impl FnOnce(Access) -> Attributes,
    ) -> Self {
        let Some(access) = marks.hardware() else {
            return Self(Entry::from_bits(HIDDEN | inverted(pfn) | marks.0));
        };
        let leaf = Entry::leaf(pfn.addr(), size, attributes(access).with_cache(marks.cache())).bits();
        let used = if access == Access::ReadWrite { bits::ACCESSED | bits::DIRTY } else { bits::ACCESSED };
        Self(Entry::from_bits(leaf | used | marks.0))
    }

    /// Returns the word of a page whose contents are being copied.
    pub(crate) const fn busy(pfn: Pfn, marks: Marks) -> Self {
        Self(Entry::from_bits(BUSY | inverted(pfn) | marks.0))
    }

    /// Returns the word of a page of a sheet that has no frame in this map.
    pub(crate) const fn named(slot: Slot, marks: Marks) -> Self {
        let low = (slot.index as u64 & ((1 << LOW_INDEX_BITS) - 1)) << LOW_INDEX_SHIFT;
        let high = slot.index as u64 >> LOW_INDEX_BITS << HIGH_INDEX_SHIFT;
        Self(Entry::from_bits(NAMED | inverted(slot.sheet) | low | high | marks.0 | OBJECT))
    }

    pub(crate) fn state(self, size: PageSize) -> State {
        let word = self.0.bits();
        let marks = Marks(word & MARKS);
        if self.0.is_present() {
            return State::Mapped(self.0.phys(size).pfn(), marks);
        }
        match word & TAG {
            FRESH => State::Fresh(marks),
            HIDDEN => State::Mapped(frame_of(word), marks),
            NAMED => {
                let low = word >> LOW_INDEX_SHIFT & ((1 << LOW_INDEX_BITS) - 1);
                let high = word >> HIGH_INDEX_SHIFT & 0xf;
                let index = (high << LOW_INDEX_BITS | low) as usize;
                State::Named(Slot { sheet: frame_of(word), index }, marks)
            }
            BUSY => State::Busy(marks),
            _ => State::Empty,
        }
    }
}

const fn inverted(pfn: Pfn) -> u64 {
    !pfn.addr().get() & bits::ADDRESS
}

const fn frame_of(word: u64) -> Pfn {
    rhumb_machine::PhysAddr::new(!word & bits::ADDRESS).pfn()
}

#[cfg(test)]
mod tests;
