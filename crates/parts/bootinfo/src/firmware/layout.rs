//! Bytes as the ACPI crate's structures: the one place here that needs `unsafe`.
//!
//! The crate `acpi` knows how each entry is laid out and what the fields of the FADT mean over its revisions. It
//! does not doubt: its iterators believe each length, loop without end on a length of 0, and read past the end of
//! a table that was cut. So tables and entries are found and measured by safe code ([`super::tables`]), and only then,
//! one at a time, *copied* into the crate's types by [`read`], which checks that all of it is there.
#![allow(unsafe_code)]

use acpi::fadt::Fadt;
use acpi::madt::{
    InterruptSourceOverrideEntry, IoApicEntry, LocalApicAddressOverrideEntry, LocalApicEntry,
    LocalApicNmiEntry, LocalX2ApicEntry, NmiSourceEntry, X2ApicNmiEntry,
};

/// A structure that is what its bytes are.
///
/// # Safety
/// Any bytes at all are a valid value: the type holds integers (or arrays, or `MaybeUninit`, of them) and nothing else.
pub(super) unsafe trait Layout: Copy {}

macro_rules! layouts {
    ($($entry:ty),* $(,)?) => {$(
        // SAFETY: a packed structure of u8, u16, u32 and u64, public and private fields alike (acpi 5.2.0, madt.rs).
        unsafe impl Layout for $entry {}
    )*};
}

layouts! {
    LocalApicEntry,
    LocalX2ApicEntry,
    IoApicEntry,
    InterruptSourceOverrideEntry,
    NmiSourceEntry,
    LocalApicNmiEntry,
    X2ApicNmiEntry,
    LocalApicAddressOverrideEntry,
}

// SAFETY: a packed structure of integers, of newtypes of integers, of byte arrays, and of `MaybeUninit` of those
// (acpi 5.2.0, fadt.rs, sdt.rs, address.rs).
unsafe impl Layout for Fadt {}

/// Returns the structure at the beginning of `bytes`, or `None` where they are too few.
pub(super) fn read<T: Layout>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: the slice has just been cut to the size of `T`; `read_unaligned` asks for no alignment, and by `Layout`
    // any bytes are a `T`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
