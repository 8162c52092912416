//! Runs of adjacent pages that are alike, of which a list of mappings shows a line each.

use core::fmt;

use rhumb_machine::{PhysAddr, PhysRange, VirtAddr};

use crate::attributes::{CacheMode, Permissions, Scope};
use crate::key::Key;
use crate::memory::TableMemory;
use crate::runs::PageCounts;
use crate::scan::{Leaves, Visit};
use crate::walk::{Leaf, scope_word};

/// Which neighbours make one span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Join {
    /// Pages with adjacent virtual addresses, wherever their frames lie.
    Virtual,
    /// Pages whose virtual and physical addresses both adjoin.
    Physical,
}

/// Adjacent pages with the same permissions, cache mode, scope and protection key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Where the first page begins.
    pub virt: VirtAddr,
    /// The frame at the first page; at the others, too, if joined by [`Join::Physical`].
    pub phys: PhysAddr,
    /// Bytes in all. `virt + bytes` may be 2^64.
    pub bytes: u64,
    /// The permissions of the pages.
    pub permissions: Permissions,
    /// Their cache mode.
    pub cache: CacheMode,
    /// One address space or all.
    pub scope: Scope,
    /// Their protection key; `None` is key 0.
    pub key: Option<Key>,
    /// How many pages of each size.
    pub pages: PageCounts,
}

impl Span {
    /// Returns its last byte's address.
    pub const fn last(&self) -> VirtAddr {
        VirtAddr::new(self.virt.get() + (self.bytes - 1))
    }

    /// Returns the frames there, if joined by [`Join::Physical`]. Empty past 2^64, where no frame lies.
    pub fn phys_range(&self) -> PhysRange {
        PhysRange::of_length(self.phys, self.bytes).unwrap_or_default()
    }

    /// Makes the span of `count` pages that adjoin each other from `leaf` on.
    fn of(leaf: &Leaf, count: u64) -> Self {
        let mut pages = PageCounts::NONE;
        pages.add(leaf.size, count);
        Self {
            virt: leaf.virt,
            phys: leaf.phys,
            bytes: count << leaf.size.shift(),
            permissions: leaf.permissions,
            cache: leaf.cache,
            scope: leaf.scope,
            key: leaf.entry.key(),
            pages,
        }
    }

    /// Tells whether `leaf` goes on where this ends.
    fn joins(&self, leaf: &Leaf, join: Join) -> bool {
        self.virt.checked_add(self.bytes) == Some(leaf.virt)
            && self.permissions == leaf.permissions
            && self.cache == leaf.cache
            && self.scope == leaf.scope
            && self.key == leaf.entry.key()
            && (join == Join::Virtual || self.phys.checked_add(self.bytes) == Some(leaf.phys))
    }
}

impl fmt::Display for Span {
    /// `0xffff800000000000-0xffff80003fffffff rw-k WB global 1x1G`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}-{:#018x} {} ", self.virt.get(), self.last().get(), self.permissions)?;
        write!(f, "{}{} ", self.cache, scope_word(self.scope))?;
        if let Some(key) = self.key {
            write!(f, "{key} ")?;
        }
        self.pages.fmt(f)
    }
}

/// Joins pages that come in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Joiner {
    join: Join,
    open: Option<Span>,
}

impl Joiner {
    pub(crate) const fn new(join: Join) -> Self {
        Self { join, open: None }
    }

    /// Takes `count` pages that adjoin each other from `leaf` on; returns the span that they do not belong to.
    pub(crate) fn push(&mut self, leaf: &Leaf, count: u64) -> Option<Span> {
        match &mut self.open {
            Some(span) if span.joins(leaf, self.join) => {
                span.bytes += count << leaf.size.shift();
                span.pages.add(leaf.size, count);
                None
            }
            open => open.replace(Span::of(leaf, count)),
        }
    }

    /// Returns the last span.
    pub(crate) const fn finish(&mut self) -> Option<Span> {
        self.open.take()
    }
}

/// The spans of an ascending sequence of leaves.
#[derive(Clone, Debug)]
pub struct Spans<'memory, M: TableMemory + ?Sized> {
    leaves: Leaves<'memory, M>,
    joiner: Joiner,
}

impl<'memory, M: TableMemory + ?Sized> Spans<'memory, M> {
    /// Joins what `leaves` finds.
    pub const fn new(leaves: Leaves<'memory, M>, join: Join) -> Self {
        Self { leaves, joiner: Joiner::new(join) }
    }
}

impl<M: TableMemory + ?Sized> Iterator for Spans<'_, M> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while let Some((visit, count)) = self.leaves.0.next_run(u64::MAX) {
            if let Visit::Leaf(leaf) = visit
                && let Some(span) = self.joiner.push(&leaf, count)
            {
                return Some(span);
            }
        }
        self.joiner.finish()
    }
}
