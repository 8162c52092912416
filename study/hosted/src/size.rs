//! Sizes of memory, and how a reader sees them.

use rhumb_machine::PageSize;

/// The smallest page.
pub(crate) const PAGE: u64 = PageSize::Size4K.bytes();
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = PageSize::Size1G.bytes();

/// Returns a size in the largest unit that leaves a whole number: "512 MiB", "2 GiB".
pub(crate) fn sized(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10)];
    let whole = units.into_iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    whole.map_or(format!("{bytes} B"), |(unit, size)| format!("{} {unit}", bytes / size))
}

#[cfg(test)]
mod tests;
