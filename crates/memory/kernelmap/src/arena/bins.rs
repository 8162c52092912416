//! The free ranges by size: a list for each class, and two levels of bits that say which lists are not empty. Finding
//! the first list from a class on is two searches for a bit.
//!
//! Sources: Masmano, Ripoll, Crespo and Real, *TLSF: a New Dynamic Memory Allocator for Real-Time Systems* (ECRTS 2004);
//! Bonwick and Adams, *Magazines and Vmem* (USENIX 2001) for boundary tags outside of the memory.

use super::class::{COLUMNS, Class, ROWS};
use super::tag::TagRef;

/// The lists of free ranges.
pub(super) struct Bins {
    /// The rows that have a list.
    rows: u64,
    /// The columns of each row that have a list.
    columns: [u32; ROWS],
    heads: [[Option<TagRef>; COLUMNS]; ROWS],
}

impl Bins {
    pub(super) const fn new() -> Self {
        Self { rows: 0, columns: [0; ROWS], heads: [[None; COLUMNS]; ROWS] }
    }

    /// Puts a free range first in the list of its size.
    #[inline]
    pub(super) fn insert(&mut self, tag: TagRef) {
        let Class { row, column } = Class::of(tag.units());
        let head = &mut self.heads[row][column];
        tag.in_bin.set_prev(None);
        tag.in_bin.set_next(*head);
        if let Some(second) = *head {
            second.in_bin.set_prev(Some(tag));
        }
        *head = Some(tag);
        self.columns[row] |= 1 << column;
        self.rows |= 1 << row;
    }

    /// Takes a range out of the list of its size, which is still the size that it was inserted with.
    #[inline]
    pub(super) fn remove(&mut self, tag: TagRef) {
        let (prev, next) = (tag.in_bin.prev(), tag.in_bin.next());
        if let Some(next) = next {
            next.in_bin.set_prev(prev);
        }
        if let Some(prev) = prev {
            prev.in_bin.set_next(next);
            return;
        }
        let Class { row, column } = Class::of(tag.units());
        self.heads[row][column] = next;
        if next.is_none() {
            self.columns[row] &= !(1 << column);
            if self.columns[row] == 0 {
                self.rows &= !(1 << row);
            }
        }
    }

    /// Gives a range of a list another place and size.
    #[inline]
    pub(super) fn resize(&mut self, tag: TagRef, start: u64, units: u64) {
        if Class::of(tag.units()) == Class::of(units) {
            tag.set_range(start, units);
        } else {
            self.remove(tag);
            tag.set_range(start, units);
            self.insert(tag);
        }
    }

    /// Returns the first range of a class's list.
    #[inline]
    pub(super) fn head(&self, class: Class) -> Option<TagRef> {
        self.heads[class.row][class.column]
    }

    /// Returns the first class from this one on that has a list.
    #[inline]
    pub(super) fn first_from(&self, class: Class) -> Option<Class> {
        let columns = self.columns.get(class.row)? & (!0 << class.column);
        if columns != 0 {
            return Some(Class { row: class.row, column: columns.trailing_zeros() as usize });
        }
        let rows = self.rows & (!0u64).checked_shl(class.row as u32 + 1).unwrap_or(0);
        if rows == 0 {
            return None;
        }
        let row = rows.trailing_zeros() as usize;
        Some(Class { row, column: self.columns[row].trailing_zeros() as usize })
    }

    /// Returns the class after this one, in the order of sizes.
    pub(super) const fn after(class: Class) -> Option<Class> {
        if class.column + 1 < COLUMNS {
            Some(Class { column: class.column + 1, ..class })
        } else if class.row + 1 < ROWS {
            Some(Class { row: class.row + 1, column: 0 })
        } else {
            None
        }
    }

    /// Tells whether the bits and the lists of a row agree, and whether each list begins with a free range of its size.
    pub(super) fn row_agrees(&self, row: usize) -> bool {
        let is_first = |column: usize, tag: TagRef| {
            tag.is_free() && tag.in_bin.prev().is_none() && Class::of(tag.units()) == Class { row, column }
        };
        let mut firsts = self.heads[row].iter().enumerate();
        if !firsts.all(|(column, head)| head.is_none_or(|tag| is_first(column, tag))) {
            return false;
        }
        let lists = self.heads[row].iter().enumerate();
        let columns = lists.fold(0, |bits, (column, head)| bits | u32::from(head.is_some()) << column);
        columns == self.columns[row] && (self.rows >> row & 1 == 1) == (columns != 0)
    }
}
