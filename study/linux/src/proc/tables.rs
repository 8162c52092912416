//! The kernel's own listing of its page tables: `/sys/kernel/debug/page_tables/kernel`.
//!
//! ```text
//! ---[ Low Kernel Mapping ]---
//! 0xffff888000000000-0xffff88800009a000         616K     RW                 GLB NX pte
//! 0xffff888000200000-0xffff888040000000        1022M     RW         PSE     GLB NX pmd
//! ---[ vmalloc() Area ]---
//! ```
//!
//! The direct map is the section "Low Kernel Mapping", and begins at physical address 0.

#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

use rhumb_study_report::Extent;

use super::counters::{GIB_1, KIB_4, MIB_2};

/// The heading of the direct map.
const SECTION: &str = "Low Kernel Mapping";

/// The most lines of the direct map that are read.
const LINES: usize = 2_000_000;

/// The direct map as the kernel lists it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Listing {
    /// Its parts by ascending physical address.
    pub extents: Vec<Extent>,
    /// Whether lines were left out, because there are too many.
    pub is_cut: bool,
}

/// Reads a listing up to the end of the direct map; `None` where it has no direct map.
///
/// # Errors
/// The system's, where the listing cannot be read.
pub fn direct_map(listing: impl BufRead) -> io::Result<Option<Listing>> {
    let mut found = None;
    let mut base = None;
    for (number, line) in listing.lines().enumerate() {
        let line = line?;
        if let Some(heading) = line.strip_prefix("---[ ") {
            if found.is_some() {
                break;
            }
            if heading.starts_with(SECTION) {
                found = Some(Listing::default());
            }
            continue;
        }
        let Some(listing) = &mut found else { continue };
        if number >= LINES {
            listing.is_cut = true;
            break;
        }
        let Some(row) = Row::parse(&line) else { continue };
        let base = *base.get_or_insert(row.start);
        let (Some(start), Some(bytes)) = (row.start.checked_sub(base), row.end.checked_sub(row.start)) else {
            continue;
        };
        match listing.extents.last_mut() {
            Some(last)
                if last.page_bytes == row.page_bytes
                    && last.start.map(|at| at + last.bytes) == Some(start) =>
            {
                last.bytes += bytes;
            }
            _ => listing.extents.push(Extent { start: Some(start), bytes, page_bytes: row.page_bytes }),
        }
    }
    // Addresses past the end of memory are listed as holes; the map ends with its last page.
    if let Some(listing) = &mut found {
        while listing.extents.last().is_some_and(|extent| extent.page_bytes.is_none()) {
            listing.extents.pop();
        }
    }
    Ok(found.filter(|listing| !listing.extents.is_empty()))
}

/// A line of the listing.
struct Row {
    start: u64,
    end: u64,
    page_bytes: Option<u64>,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let address = |digits: &str| u64::from_str_radix(digits.strip_prefix("0x")?, 16).ok();
        let (start, end) = (address(start)?, address(end)?);
        let words: Vec<&str> = words.skip(1).collect();
        let is_mapped = words.len() > 1;
        let page_bytes = match words.last() {
            Some(&"pte") => Some(KIB_4),
            Some(&"pmd") => Some(MIB_2),
            Some(&"pud") => Some(GIB_1),
            _ => None,
        };
        Some(Self { start, end, page_bytes: page_bytes.filter(|_| is_mapped) })
    }
}
