//! Addresses as types: physical, virtual, and the number of a 4-KiB frame.
//!
//! Arithmetic is explicit and checked where it can leave the type's range. [`VirtAddr`] does not insist on a
//! canonical form, since ranges end one past their last byte; [`VirtAddr::is_canonical`] asks.

use core::fmt;

use crate::page::{BASE_PAGE_SHIFT, PageSize};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Address zero.
            pub const ZERO: Self = Self(0);

            /// Returns the address with this numeric value.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// Returns the numeric value.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Returns `self + bytes`, or `None` past 2^64.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// Returns `self + bytes`; the caller knows that the sum does not wrap (debug builds check).
            pub const fn plus(self, bytes: u64) -> Self {
                Self(self.0 + bytes)
            }

            /// Returns the bytes from `earlier` to `self`; the caller knows that `earlier <= self` (debug builds
            /// check).
            pub const fn since(self, earlier: Self) -> u64 {
                self.0 - earlier.0
            }

            /// Returns the greatest multiple of `size` at or below this address.
            pub const fn align_down(self, size: PageSize) -> Self {
                Self(self.0 & !(size.bytes() - 1))
            }

            /// Returns the least multiple of `size` at or above this address, or `None` past 2^64.
            pub const fn checked_align_up(self, size: PageSize) -> Option<Self> {
                match self.0.checked_add(size.bytes() - 1) {
                    Some(value) => Some(Self(value & !(size.bytes() - 1))),
                    None => None,
                }
            }

            /// Tells whether this address is a multiple of `size`.
            pub const fn is_aligned(self, size: PageSize) -> bool {
                self.0 & (size.bytes() - 1) == 0
            }

            /// Returns the bytes from the start of the page of `size` that holds this address.
            pub const fn offset_in(self, size: PageSize) -> u64 {
                self.0 & (size.bytes() - 1)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, ":{:#x}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// A physical address: what page tables hold and devices see.
    PhysAddr, "phys"
}

address! {
    /// A virtual address, canonical or not.
    VirtAddr, "virt"
}

impl PhysAddr {
    /// Returns the frame that holds this address.
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> BASE_PAGE_SHIFT)
    }
}

impl VirtAddr {
    /// Tells whether bits 63..`bits-1` are all alike, `bits` being 48 (4-level paging) or 57 (5-level).
    pub const fn is_canonical(self, bits: u32) -> bool {
        let shift = 64 - bits;
        (((self.0 << shift) as i64) >> shift) as u64 == self.0
    }

    /// Returns the address as a pointer. Making the pointer is safe; that it may be dereferenced is the caller's
    /// argument.
    pub const fn as_ptr<T>(self) -> *const T {
        self.0 as usize as *const T
    }

    /// Returns the address as a mutable pointer. Making the pointer is safe; that it may be dereferenced is the
    /// caller's argument.
    pub const fn as_mut_ptr<T>(self) -> *mut T {
        self.0 as usize as *mut T
    }
}

impl<T: ?Sized> From<*const T> for VirtAddr {
    fn from(pointer: *const T) -> Self {
        Self(pointer.cast::<()>() as usize as u64)
    }
}

/// The number of a 4-KiB page frame: physical address / 4096.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// Returns the frame with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the physical address of its first byte.
    pub const fn addr(self) -> PhysAddr {
        PhysAddr(self.0 << BASE_PAGE_SHIFT)
    }

    /// Returns the frame `frames` further on.
    pub const fn plus(self, frames: u64) -> Self {
        Self(self.0 + frames)
    }

    /// Returns the frames from `earlier` to `self`; the caller knows that `earlier <= self` (debug builds check).
    pub const fn since(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn:{:#x}", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
