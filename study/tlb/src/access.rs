//! The inputs of the model: accesses, page walks, flushes.

use crate::page::{MAX_LEVELS, PageSize};

/// The purpose of an access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Instructions are fetched.
    Fetch,
    /// Data is loaded.
    Load,
    /// Data is stored.
    Store,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 3] = [Self::Fetch, Self::Load, Self::Store];
}

/// The side that an access is counted for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The kernel.
    Kernel,
    /// A user program.
    User,
}

/// The class that an access is counted in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Loads and stores of the kernel.
    KernelData,
    /// Instructions of the kernel.
    KernelCode,
    /// Loads and stores of a user program.
    UserData,
    /// Instructions of a user program.
    UserCode,
}

impl Class {
    /// All classes, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::KernelData, Self::KernelCode, Self::UserData, Self::UserCode];

    /// Returns the class of accesses of a side for a purpose.
    pub const fn of(side: Side, purpose: Purpose) -> Self {
        match (side, purpose) {
            (Side::Kernel, Purpose::Fetch) => Self::KernelCode,
            (Side::Kernel, _) => Self::KernelData,
            (Side::User, Purpose::Fetch) => Self::UserCode,
            (Side::User, _) => Self::UserData,
        }
    }

    /// Returns the class in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KernelData => "kernel data",
            Self::KernelCode => "kernel code",
            Self::UserData => "user data",
            Self::UserCode => "user code",
        }
    }
}

/// One access to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// The linear address. An access across the end of a page is two accesses.
    pub address: u64,
    /// Its purpose.
    pub purpose: Purpose,
    /// The side that it is counted for.
    pub side: Side,
}

/// The answer of the page tables for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The size of the page that maps it.
    pub page: PageSize,
    /// Whether the translation survives a change of the address space.
    pub is_global: bool,
    /// The physical addresses of the entries on the way, by level: the entry that maps the page is at
    /// `page.level() - 1`. Only a model with nested paging reads them.
    pub entries: [u64; MAX_LEVELS],
    /// The physical address. Only a model with nested paging reads it.
    pub physical: u64,
}

impl Translation {
    /// Returns a translation by a page of this size, for models without nested paging.
    pub const fn by(page: PageSize) -> Self {
        Self { page, is_global: false, entries: [0; MAX_LEVELS], physical: 0 }
    }
}

/// The page tables.
///
/// The model asks for an address only where none of its caches has the translation, as a CPU does: a changed entry is
/// seen late where nothing was flushed.
pub trait Tables {
    /// Returns what the tables say of `address`; `None` where they do not map it.
    fn translate(&mut self, address: u64) -> Option<Translation>;
}

/// Tables that map every address by pages of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uniform(pub PageSize);

impl Tables for Uniform {
    fn translate(&mut self, _: u64) -> Option<Translation> {
        Some(Translation::by(self.0))
    }
}

/// An instruction that drops translations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// `invlpg`: the page of this address, global or not, and all walk caches of the address space.
    Page(u64),
    /// A load of CR3 without process-context identifiers: all that is not global.
    NonGlobal,
    /// A change of CR4.PGE, or `invpcid` of type 2: everything.
    All,
    /// A load of CR3 with the identifier of an address space whose translations go: all of this space that is not
    /// global.
    Space(u16),
}
