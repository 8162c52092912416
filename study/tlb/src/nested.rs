//! Nested paging: the tables of a guest lie in memory that a hypervisor's tables map.
//!
//! Each entry that a guest's walk reads has a guest-physical address, which the host's tables translate first, and so
//! has the address that the walk finds. With four levels on both sides and nothing cached that is 4 entries of the
//! guest, and 5 times 4 of the host: 24 references (Bhargava and others, ASPLOS 2008). A translation in a cache leads
//! from the guest's linear address to the host's physical one, by a page of the smaller of both sizes.

use crate::cache::{Cache, Replacement, Tag};
use crate::page::{MAX_LEVELS, PageSize};

/// The shape of a cache of the host's side: sets and ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Sets.
    pub sets: u32,
    /// Entries of a set.
    pub ways: u32,
}

/// The host's side of nested paging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nested {
    /// The size of the pages that map the guest's memory.
    pub page: PageSize,
    /// Levels of the host's tables.
    pub levels: usize,
    /// A cache from guest-physical to host-physical pages, for the entries that walks read.
    pub translations: Option<Shape>,
    /// A cache of the host's entries that are no pages, of all levels.
    pub tables: Option<Shape>,
}

impl Nested {
    /// A host of four levels that caches nothing of its own.
    pub const fn uncached(page: PageSize) -> Self {
        Self { page, levels: 4, translations: None, tables: None }
    }
}

/// The host's side at work.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    page: PageSize,
    levels: usize,
    translations: Option<Cache>,
    tables: Option<Cache>,
}

impl Host {
    pub(crate) fn new(nested: Nested) -> Self {
        let cache = |shape: Shape| Cache::new(shape.sets, shape.ways, Replacement::Lru);
        Self {
            page: nested.page,
            levels: nested.levels.clamp(4, MAX_LEVELS),
            translations: nested.translations.map(cache),
            tables: nested.tables.map(cache),
        }
    }

    pub(crate) fn page(&self) -> PageSize {
        self.page
    }

    /// Translates a guest-physical address, and returns how many entries of the host that reads.
    pub(crate) fn translate(&mut self, physical: u64) -> u64 {
        let tag = Tag::page(physical, self.page, 0).of_whole(self.page, false);
        if self.translations.as_mut().is_some_and(|cache| cache.touch(tag).is_some()) {
            return 0;
        }
        let leaf = self.page.level();
        let mut first = self.levels;
        if let Some(tables) = &mut self.tables {
            first = (leaf + 1..=self.levels)
                .find(|level| tables.touch(Tag::table(physical, *level, 0)).is_some())
                .map_or(self.levels, |level| level - 1);
            (leaf + 1..=first).for_each(|level| tables.insert(Tag::table(physical, level, 0)));
        }
        if let Some(translations) = &mut self.translations {
            translations.insert(tag);
        }
        (first - leaf + 1) as u64
    }

    /// Drops everything, as a change of the hypervisor's tables does.
    pub(crate) fn clear(&mut self) {
        for cache in [&mut self.translations, &mut self.tables].into_iter().flatten() {
            cache.retain(|_| false);
        }
    }
}
