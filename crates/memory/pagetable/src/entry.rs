//! One 64-bit entry of a page table.
//!
//! ```text
//!  63 62..59 58..52 51 ........................ 12 11..9  8    7    6 5   4   3  2 1 0
//!  NX   key  (free)          address               free   G PS|PAT  D A PCD PWT  U W P
//! ```
//!
//! Bit 7 has two meanings: in a level-2 or level-3 entry it says "this maps a page" (PS), in a level-1 entry it is the
//! PAT bit. A large page's PAT bit is bit 12, which in every other entry is the lowest address bit: the address of a
//! large page must be masked by its own size.
//!
//! Canonical form: [`Entry::leaf`] is the only maker of leaves, and its bits are a function of address, size and
//! attributes. So a page that is split and merged again, or made read-only and writable again, gets back the very same
//! bits. Kernel leaves have ACCESSED preset and, where writable, DIRTY, so the CPU never writes into a kernel's table;
//! a read-only leaf has DIRTY clear, since DIRTY without WRITE marks a shadow-stack page. User leaves start with both
//! clear: they are samples for code that ages pages.
//!
//! Source: Intel SDM volume 3, chapter 5 (Paging), tables 5-14 to 5-20.

use core::fmt;

use rhumb_machine::{PageSize, Pfn, PhysAddr};

use crate::attributes::{Attributes, CacheMode, Permissions, Privilege, Scope};
use crate::key::Key;

/// The entry's bits, by the manual's names.
pub mod bits {
    /// Bit 0: the entry maps or refers to something.
    pub const PRESENT: u64 = 1 << 0;
    /// Bit 1: writes are allowed.
    pub const WRITE: u64 = 1 << 1;
    /// Bit 2: ring 3 is allowed.
    pub const USER: u64 = 1 << 2;
    /// Bit 3: bit 0 of the PAT slot.
    pub const PWT: u64 = 1 << 3;
    /// Bit 4: bit 1 of the PAT slot.
    pub const PCD: u64 = 1 << 4;
    /// Bit 5: the CPU has used the entry.
    pub const ACCESSED: u64 = 1 << 5;
    /// Bit 6: the CPU has written to the page (leaves only).
    pub const DIRTY: u64 = 1 << 6;
    /// Bit 7 of a level-2 or level-3 entry: it maps a page (PS). Reserved at levels 4 and 5.
    pub const HUGE: u64 = 1 << 7;
    /// Bit 7 of a level-1 entry: bit 2 of the PAT slot.
    pub const PAT_SMALL: u64 = 1 << 7;
    /// Bit 8: the translation is the same in every address space (leaves only).
    pub const GLOBAL: u64 = 1 << 8;
    /// Bit 9: no CPU looks at it. The writer of a tree may mark its entries with it.
    pub const SOFTWARE: u64 = 1 << 9;
    /// Bit 12 of a large page's entry: bit 2 of the PAT slot.
    pub const PAT_LARGE: u64 = 1 << 12;
    /// Bits 51..12: the address, as far as the page size leaves them to it.
    pub const ADDRESS: u64 = ((1 << 52) - 1) & !0xfff;
    /// Bits 62..59: the protection key (leaves only).
    pub const KEY: u64 = 0xf << KEY_SHIFT;
    /// Where the protection key begins.
    pub const KEY_SHIFT: u32 = 59;
    /// Bit 63: no instruction may be fetched.
    pub const NX: u64 = 1 << 63;
}

/// An entry of a page table. The meaning of bit 7 depends on the level, so most questions take the level.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Entry(u64);

impl Entry {
    /// All bits clear: not present.
    pub const EMPTY: Self = Self(0);

    /// Returns where entry `index` lies in its table, in bytes.
    #[inline(always)]
    pub const fn offset(index: usize) -> u64 {
        index as u64 * 8
    }

    /// Returns the entry with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the canonical entry that maps the page of `size` at `phys`. Address bits below `size` are dropped.
    pub const fn leaf(phys: PhysAddr, size: PageSize, attributes: Attributes) -> Self {
        let wanted = attributes.permissions();
        let slot = attributes.cache.slot();
        let mut bits = bits::PRESENT | (phys.get() & address_mask(size));
        if wanted.writable {
            bits |= bits::WRITE;
        }
        if !wanted.executable {
            bits |= bits::NX;
        }
        if matches!(attributes.scope, Scope::Global) {
            bits |= bits::GLOBAL;
        }
        match attributes.privilege {
            Privilege::User => bits |= bits::USER,
            Privilege::Supervisor if wanted.writable => bits |= bits::ACCESSED | bits::DIRTY,
            Privilege::Supervisor => bits |= bits::ACCESSED,
        }
        if slot & 1 != 0 {
            bits |= bits::PWT;
        }
        if slot & 2 != 0 {
            bits |= bits::PCD;
        }
        if slot & 4 != 0 {
            bits |= pat_bit(size);
        }
        if !matches!(size, PageSize::Size4K) {
            bits |= bits::HUGE;
        }
        match attributes.key {
            Some(key) => Self(bits).with_key(key),
            None => Self(bits),
        }
    }

    /// Returns the entry that refers to a table. It takes no permission away but user access where `privilege` says so:
    /// leaves decide the rest.
    pub const fn table(table: Pfn, privilege: Privilege) -> Self {
        let user = match privilege {
            Privilege::User => bits::USER,
            Privilege::Supervisor => 0,
        };
        Self(bits::PRESENT | bits::WRITE | bits::ACCESSED | user | (table.addr().get() & bits::ADDRESS))
    }

    /// Tells whether the entry maps or refers to something.
    pub const fn is_present(self) -> bool {
        self.0 & bits::PRESENT != 0
    }

    /// Returns the size of the page that it maps in a table at `level`; `None` where it is absent or refers to a table.
    pub const fn page_size(self, level: u8) -> Option<PageSize> {
        if !self.is_present() {
            return None;
        }
        match level {
            1 => Some(PageSize::Size4K),
            2 | 3 if self.0 & bits::HUGE != 0 => PageSize::from_level(level),
            _ => None,
        }
    }

    /// Returns the table that it refers to in a table at `level`; `None` where it is absent or maps a page.
    pub const fn child(self, level: u8) -> Option<Pfn> {
        if self.is_present() && self.page_size(level).is_none() {
            Some(PhysAddr::new(self.0 & bits::ADDRESS).pfn())
        } else {
            None
        }
    }

    /// Returns where the page of `size` that it maps begins.
    pub const fn phys(self, size: PageSize) -> PhysAddr {
        PhysAddr::new(self.0 & address_mask(size))
    }

    /// Returns the rights of this entry alone.
    pub const fn permissions(self) -> Permissions {
        Permissions {
            writable: self.0 & bits::WRITE != 0,
            executable: self.0 & bits::NX == 0,
            user: self.0 & bits::USER != 0,
        }
    }

    /// Returns the cache mode of the page of `size` that it maps, by [`crate::PAT_LAYOUT`].
    pub const fn cache_mode(self, size: PageSize) -> CacheMode {
        let low = (self.0 & bits::PWT != 0) as u8 | ((self.0 & bits::PCD != 0) as u8) << 1;
        CacheMode::of_slot(low | ((self.0 & pat_bit(size) != 0) as u8) << 2)
    }

    /// Tells whether the page's translation is global.
    pub const fn scope(self) -> Scope {
        if self.0 & bits::GLOBAL != 0 { Scope::Global } else { Scope::AddressSpace }
    }

    /// Returns the leaf with this protection key in the place of its own.
    pub const fn with_key(self, key: Key) -> Self {
        Self(self.0 & !bits::KEY | (key.number() as u64) << bits::KEY_SHIFT)
    }

    /// Returns the protection key of the page that it maps; `None` is key 0.
    pub const fn key(self) -> Option<Key> {
        Key::new(((self.0 & bits::KEY) >> bits::KEY_SHIFT) as u8)
    }

    /// Returns which bits are set although they must be clear in a present entry at `level`, where physical addresses
    /// have
    /// `phys_bits` bits (at most 52). A walk that meets one faults. 0 for a good entry.
    pub const fn reserved_bits(self, level: u8, phys_bits: u32) -> u64 {
        if !self.is_present() {
            return 0;
        }
        let mut reserved = if phys_bits < 52 { bits::ADDRESS & !((1 << phys_bits) - 1) } else { 0 };
        if level >= 4 {
            reserved |= bits::HUGE;
        }
        if let Some(size) = self.page_size(level)
            && level > 1
        {
            // Between the PAT bit and the address of a large page.
            reserved |= bits::ADDRESS & !address_mask(size) & !bits::PAT_LARGE;
        }
        self.0 & reserved
    }

    /// Returns the leaf of the same size and attributes `bytes` (a multiple of the page's size) further on.
    pub const fn advanced(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// Returns the attributes of the page of `size` that it maps, or `None` where it is writable and executable.
    pub const fn attributes(self, size: PageSize) -> Option<Attributes> {
        let permissions = self.permissions();
        match permissions.access() {
            Some(access) => Some(Attributes {
                access,
                cache: self.cache_mode(size),
                privilege: if permissions.user { Privilege::User } else { Privilege::Supervisor },
                scope: self.scope(),
                key: self.key(),
            }),
            None => None,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry:{:#018x}", self.0)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// Returns the address bits of an entry that maps a page of `size`.
pub const fn address_mask(size: PageSize) -> u64 {
    bits::ADDRESS & !(size.bytes() - 1)
}

/// Returns the place of bit 2 of the PAT slot in an entry that maps a page of `size`.
const fn pat_bit(size: PageSize) -> u64 {
    match size {
        PageSize::Size4K => bits::PAT_SMALL,
        PageSize::Size2M | PageSize::Size1G => bits::PAT_LARGE,
    }
}
