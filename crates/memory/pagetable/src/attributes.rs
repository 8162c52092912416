//! The attributes of a mapping: access, cache mode, privilege, scope, protection key.
//!
//! [`Attributes`] is what a caller may ask for; a page that is writable *and* executable cannot be said in it
//! (invariant I4). [`Permissions`] is what tables were found to say, which can be anything.
//!
//! # The page attribute table
//! Cache modes are chosen by three bits (PAT, PCD, PWT) that index IA32_PAT. This crate assumes [`PAT_LAYOUT`]. Slots 0
//! to 4 and 7 are as after reset; an entry made before the register is programmed gets, in the other two, a mode that
//! is slower and not less ordered: write-through in place of write-protected, UC- in place of write-combining. Source:
//! Intel SDM volume 3, 12.12 (Page Attribute Table).

use core::fmt;

use crate::key::Key;

/// The number of the model-specific register that holds the page attribute table.
pub const IA32_PAT: u32 = 0x277;

/// The value that the kernel writes to [`IA32_PAT`]: slot 0 WB, 1 WT, 2 UC-, 3 UC, 4 WB, 5 WP, 6 WC, 7 UC.
pub const PAT_LAYOUT: u64 = {
    let mut value = 0;
    let mut slot = 0;
    while slot < 8 {
        value |= CacheMode::of_slot(slot).encoding() << (8 * slot);
        slot += 1;
    }
    value
};

/// The rights of code to a page. Readable it always is; writable and executable it never is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// How the CPU caches a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CacheMode {
    /// WB: ordinary memory.
    WriteBack,
    /// WT: reads cached, writes go through.
    WriteThrough,
    /// UC-: uncached, unless an MTRR says write-combining.
    Uncached,
    /// UC: uncached, whatever an MTRR says.
    UncachedStrong,
    /// WC: uncached, writes gathered. UC- until the kernel has written [`PAT_LAYOUT`].
    WriteCombining,
    /// WP: reads cached, writes go past the cache. WT until the kernel has written [`PAT_LAYOUT`].
    WriteProtected,
}

impl CacheMode {
    /// Returns its slot in [`PAT_LAYOUT`]: bit 0 is PWT, bit 1 PCD, bit 2 PAT.
    pub const fn slot(self) -> u8 {
        match self {
            Self::WriteBack => 0,
            Self::WriteThrough => 1,
            Self::Uncached => 2,
            Self::UncachedStrong => 3,
            Self::WriteProtected => 5,
            Self::WriteCombining => 6,
        }
    }

    /// Returns the mode in a slot of [`PAT_LAYOUT`]; only the low three bits of `slot` count.
    pub const fn of_slot(slot: u8) -> Self {
        match slot % 8 {
            1 => Self::WriteThrough,
            2 => Self::Uncached,
            3 | 7 => Self::UncachedStrong,
            5 => Self::WriteProtected,
            6 => Self::WriteCombining,
            _ => Self::WriteBack,
        }
    }

    /// Tells whether reads may be served from a cache: right for RAM, wrong for a device.
    pub const fn is_cached(self) -> bool {
        matches!(self, Self::WriteBack | Self::WriteThrough | Self::WriteProtected)
    }

    /// Returns its value in a field of IA32_PAT.
    const fn encoding(self) -> u64 {
        match self {
            Self::UncachedStrong => 0,
            Self::WriteCombining => 1,
            Self::WriteThrough => 4,
            Self::WriteProtected => 5,
            Self::WriteBack => 6,
            Self::Uncached => 7,
        }
    }
}

impl fmt::Display for CacheMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WriteBack => "WB",
            Self::WriteThrough => "WT",
            Self::Uncached => "UC-",
            Self::UncachedStrong => "UC",
            Self::WriteCombining => "WC",
            Self::WriteProtected => "WP",
        })
    }
}

/// The rings that may use a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Privilege {
    /// Rings 0 to 2 only.
    Supervisor,
    /// Ring 3, too.
    User,
}

/// Whether the translation is the same in every address space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// In all: it survives a switch of CR3 (the GLOBAL bit).
    Global,
    /// In one.
    AddressSpace,
}

/// The attributes that a caller asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Attributes {
    /// Read, write, execute.
    pub access: Access,
    /// Cache mode.
    pub cache: CacheMode,
    /// The rings that may use it.
    pub privilege: Privilege,
    /// One address space or all.
    pub scope: Scope,
    /// The protection key; `None` is key 0, that of all other memory.
    pub key: Option<Key>,
}

impl Attributes {
    /// Returns a page of the kernel: write-back, supervisor, global.
    pub const fn kernel(access: Access) -> Self {
        Self {
            access,
            cache: CacheMode::WriteBack,
            privilege: Privilege::Supervisor,
            scope: Scope::Global,
            key: None,
        }
    }

    /// Returns a page of a program: write-back, user, of one address space.
    pub const fn user(access: Access) -> Self {
        Self { privilege: Privilege::User, scope: Scope::AddressSpace, ..Self::kernel(access) }
    }

    /// Returns the same with another cache mode.
    #[must_use]
    pub const fn with_cache(mut self, cache: CacheMode) -> Self {
        self.cache = cache;
        self
    }

    /// Returns the same with another protection key.
    #[must_use]
    pub const fn with_key(mut self, key: Option<Key>) -> Self {
        self.key = key;
        self
    }

    /// Returns the permissions that the tables must have for these attributes to hold.
    pub const fn permissions(self) -> Permissions {
        Permissions {
            writable: matches!(self.access, Access::ReadWrite),
            executable: matches!(self.access, Access::ReadExecute),
            user: matches!(self.privilege, Privilege::User),
        }
    }
}

/// The permissions of entries; combined over all levels, those that the CPU enforces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Permissions {
    /// WRITE is set (at every level).
    pub writable: bool,
    /// NX is clear (at every level).
    pub executable: bool,
    /// USER is set (at every level).
    pub user: bool,
}

impl Permissions {
    /// Nothing taken away: where a walk starts.
    pub const ALL: Self = Self { writable: true, executable: true, user: true };

    /// Returns the permissions that both give: so levels combine.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            writable: self.writable && other.writable,
            executable: self.executable && other.executable,
            user: self.user && other.user,
        }
    }

    /// Tells whether all that `wanted` allows is allowed here.
    pub const fn cover(self, wanted: Self) -> bool {
        (self.writable || !wanted.writable)
            && (self.executable || !wanted.executable)
            && (self.user || !wanted.user)
    }

    /// Returns them as an access, or `None` where they are writable and executable at once.
    pub const fn access(self) -> Option<Access> {
        match (self.writable, self.executable) {
            (false, false) => Some(Access::ReadOnly),
            (true, false) => Some(Access::ReadWrite),
            (false, true) => Some(Access::ReadExecute),
            (true, true) => None,
        }
    }
}

impl fmt::Display for Permissions {
    /// `r`, `w` or `-`, `x` or `-`, then `u` (user) or `k` (kernel).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use core::fmt::Write;
        f.write_char('r')?;
        f.write_char(if self.writable { 'w' } else { '-' })?;
        f.write_char(if self.executable { 'x' } else { '-' })?;
        f.write_char(if self.user { 'u' } else { 'k' })
    }
}
