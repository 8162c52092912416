//! [`Area`]: the handle to addresses of the map and to what is mapped there; [`AreaRequest`].

use core::fmt;

use rhumb_frames::{AllocClass, Contents, Owner, Preference};
use rhumb_machine::{PageSize, Pfn, VirtAddr, VirtRange};
use rhumb_pagetable::{Access, ENTRIES};

use crate::arena::HeldRange;

/// A request for memory at contiguous addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaRequest {
    pub(super) pages: u64,
    pub(super) access: Access,
    pub(super) contents: Contents,
    pub(super) near: Preference,
    pub(super) largest: PageSize,
    pub(super) owner: Owner,
    pub(super) class: AllocClass,
    pub(super) is_movable: bool,
}

impl AreaRequest {
    /// Returns a request for `pages` pages of 4 KiB: readable and writable, with stale contents, from this CPU's node
    /// if it has any, by the largest pages that fit, for no owner in particular.
    #[inline]
    pub const fn new(pages: u64) -> Self {
        Self {
            pages,
            access: Access::ReadWrite,
            contents: Contents::Stale,
            near: Preference::Any,
            largest: PageSize::Size1G,
            owner: Owner::NONE,
            class: AllocClass::Ordinary,
            is_movable: false,
        }
    }

    /// Returns a request for `bytes` bytes, rounded up to pages.
    #[inline]
    pub const fn bytes(bytes: u64) -> Self {
        Self::new(bytes.div_ceil(PageSize::Size4K.bytes()))
    }

    /// Asks for memory with these rights. Code is refused.
    #[must_use]
    #[inline]
    pub const fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Asks for zeroes.
    #[must_use]
    #[inline]
    pub const fn zeroed(self) -> Self {
        Self { contents: Contents::Zeroed, ..self }
    }

    /// Asks for frames placed as `preference` says.
    #[must_use]
    #[inline]
    pub const fn near(self, preference: Preference) -> Self {
        Self { near: preference, ..self }
    }

    /// Asks for pages of `size` at most, and smaller ones where no frames are to be had.
    #[must_use]
    #[inline]
    pub const fn largest(self, size: PageSize) -> Self {
        Self { largest: size, ..self }
    }

    /// Asks for small frames of this class. Large ones are asked for as a convenience only.
    #[must_use]
    #[inline]
    pub const fn class(self, class: AllocClass) -> Self {
        Self { class, ..self }
    }

    /// Lets the map exchange the area's frames for those of another node while CPUs use the area
    /// ([`KernelMap::move_to`](super::KernelMap::move_to), [`KernelMap::move_at`](super::KernelMap::move_at)).
    ///
    /// The holder keeps four rules then. A breach of one stops the kernel, and corrupts no memory.
    /// - A write to the area may flush CPUs, as [`Home::flush`](super::Home::flush) does: the CPU holds no lock for
    ///   which another CPU waits without answering calls. Interrupts may be on or off. A read never waits.
    /// - A CPU that writes the area has one window open at most.
    /// - No stack lies in the area, and nothing that handlers of non-maskable interrupts, or CPUs that idle, use.
    /// - Frames of the area are known by no number: no device and no other mapping uses them.
    #[must_use]
    #[inline]
    pub const fn movable(self) -> Self {
        Self { is_movable: true, ..self }
    }

    /// Attributes addresses and frames to `owner`, whose limit counts.
    #[must_use]
    #[inline]
    pub const fn owner(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }
}

/// The use of an area.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AreaKind {
    /// Memory of the frame allocator.
    Memory,
    /// A device's memory.
    Device,
    /// Memory whose pages come and go ([`KernelMap::reserve`](super::KernelMap::reserve)).
    Pageable,
    /// An area that was given back, and waits for a flush.
    Waiting,
}

impl fmt::Display for AreaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Device => "device",
            Self::Pageable => "pageable",
            Self::Waiting => "waiting",
        })
    }
}

/// The facts about an area that its range's word holds, for reports.
///
/// ```text
///   63        | 62 .. 61 | 60 .. 52            | 51 .. 36 | 35      | 34      | 33    | 32 ... 0
///   charged   | kind     | 512ths of the unit | owner    | movable | claimed | freed | pages of 4 KiB
/// ```
/// A movable area is claimed while its entries change, and freed if it was given back meanwhile: see [`super::claim`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) kind: AreaKind,
    pub(super) owner: Owner,
    pub(super) pages: u64,
    /// How many 512ths of its first unit lie before the area.
    pub(super) skipped: u64,
    /// Whether the pages count against the owner's limit.
    pub(super) is_charged: bool,
    /// Whether the frames may be exchanged.
    pub(super) is_movable: bool,
}

const PAGES_BITS: u32 = 33;
pub(super) const FREED: u64 = 1 << PAGES_BITS;
pub(super) const CLAIMED: u64 = FREED << 1;
pub(super) const MOVABLE: u64 = CLAIMED << 1;
const OWNER_SHIFT: u32 = PAGES_BITS + 3;
const SKIPPED_SHIFT: u32 = OWNER_SHIFT + 16;
const KIND_SHIFT: u32 = SKIPPED_SHIFT + PARTS.trailing_zeros();
const CHARGED: u64 = 1 << 63;

/// An area begins at one of so many parts of its first unit.
const PARTS: u64 = ENTRIES as u64;

/// The most pages of an area: 32 TiB.
pub(super) const MOST_PAGES: u64 = (1 << PAGES_BITS) - 1;

impl Facts {
    #[inline]
    pub(super) const fn pack(self) -> u64 {
        let kind = match self.kind {
            AreaKind::Pageable => 0,
            AreaKind::Memory => 1,
            AreaKind::Device => 2,
            AreaKind::Waiting => 3,
        };
        let charged = if self.is_charged { CHARGED } else { 0 };
        let movable = if self.is_movable { MOVABLE } else { 0 };
        let skipped = (self.skipped % PARTS) << SKIPPED_SHIFT;
        charged
            | kind << KIND_SHIFT
            | skipped
            | movable
            | (self.owner.0 as u64) << OWNER_SHIFT
            | self.pages & MOST_PAGES
    }

    /// Returns the facts in a range's word; `None` where none were set.
    pub(super) const fn unpack(word: u64) -> Option<Self> {
        let kind = match (word & !CHARGED) >> KIND_SHIFT {
            // An area has pages.
            0 if word & MOST_PAGES != 0 => AreaKind::Pageable,
            1 => AreaKind::Memory,
            2 => AreaKind::Device,
            3 => AreaKind::Waiting,
            _ => return None,
        };
        let owner = Owner((word >> OWNER_SHIFT) as u16);
        let skipped = (word >> SKIPPED_SHIFT) % PARTS;
        let (is_charged, is_movable) = (word & CHARGED != 0, word & MOVABLE != 0);
        Some(Self { kind, owner, pages: word & MOST_PAGES, skipped, is_charged, is_movable })
    }

    /// Returns how many bytes of its first unit, which is a page of `unit`, lie before the area.
    pub(super) const fn skipped_bytes(self, unit: PageSize) -> u64 {
        self.skipped * (unit.bytes() / PARTS)
    }
}

/// Addresses of the map, and what is mapped there. Its holder alone has both, until it gives the handle back to the
/// map. Below the area lies an absent page, and above it the absent page of its neighbour: an access beyond either end
/// faults.
///
/// The handle can be moved, and not copied. One that is lost keeps addresses and memory permanently.
///
/// ```compile_fail,E0382
/// use rhumb_kernelmap::{Area, Home, KernelMap};
/// fn twice<H: Home>(map: &KernelMap<H>, pinned: rhumb_machine::Pinned<'_>, area: Area) {
///     let _ = map.free(pinned, area);
///     let _ = map.free(pinned, area);
/// }
/// ```
/// ```compile_fail
/// #![deny(unused_must_use)]
/// use rhumb_kernelmap::{AreaRequest, Home, KernelMap};
/// fn lose<H: Home>(map: &KernelMap<H>, pinned: rhumb_machine::Pinned<'_>) -> Option<()> {
///     map.alloc(pinned, AreaRequest::new(4)).ok()?;
///     Some(())
/// }
/// ```
#[must_use = "an area that is lost stays mapped permanently"]
pub struct Area {
    pub(super) held: HeldRange,
    pub(super) start: VirtAddr,
    pub(super) pages: u64,
    pub(super) owner: Owner,
    /// The level of the entries that are the area's own.
    pub(super) level: u8,
    pub(super) kind: AreaKind,
    /// Whether its pages count against its owner's limit.
    pub(super) is_charged: bool,
    /// Whether its frames may be exchanged.
    pub(super) is_movable: bool,
    /// The table of its first entry: it stays permanently, so that no later call looks for it.
    pub(super) table: Pfn,
}

impl Area {
    /// Returns the facts for its range's word.
    pub(super) fn facts(&self) -> Facts {
        let &Self { owner, pages, kind, is_charged, is_movable, .. } = self;
        let skipped = PageSize::from_level(self.level)
            .map_or(0, |unit| self.start.offset_in(unit) / (unit.bytes() / PARTS));
        Facts { kind, owner, pages, skipped, is_charged, is_movable }
    }

    /// Returns its first address.
    #[inline]
    pub const fn start(&self) -> VirtAddr {
        self.start
    }

    /// Returns how many pages of 4 KiB it has.
    #[inline]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns its addresses, without the absent page below.
    pub fn range(&self) -> VirtRange {
        VirtRange::of_length(self.start, self.pages * PageSize::Size4K.bytes()).unwrap_or_default()
    }

    /// Returns its owner.
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns its use.
    pub const fn kind(&self) -> AreaKind {
        self.kind
    }

    /// Tells whether its frames may be exchanged for those of another node.
    pub const fn is_movable(&self) -> bool {
        self.is_movable
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Area({}, {})", self.range(), self.kind)
    }
}

/// An area that a map refuses, because another map handed it out.
#[must_use = "the area is the caller's still"]
#[derive(Debug)]
pub struct ForeignArea(pub Area);

impl fmt::Display for ForeignArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the area {} is another map's", self.0.range())
    }
}

impl core::error::Error for ForeignArea {}
