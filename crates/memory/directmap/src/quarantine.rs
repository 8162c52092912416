//! The quarantine: tables of pages that were merged, from the merge until each CPU has dropped everything.
//!
//! A merge writes the large page back and flushes nothing, because the large page says what the small ones said
//! (I3: the map is whole at once; the table waits, not the map). Until every CPU has dropped everything, a CPU may
//! hold the entry that referred to the table, walk the table, and hold small pages of it. So a table is *kept* here,
//! and untouched, and then *leaves* with a batch whose flush drops everything:
//!
//! ```text
//!              split again: the very table, as it is
//!        <────────────────────────────────────────────┐
//!   in the map ──merge──> kept ───────────────────────┘
//!                          │ the bound, a shortage, a quiet moment; or its page is set
//!                          └──> leaves with a batch ──flush──> reserve
//! ```
//!
//! Three rules make that right (I6):
//! 1. *A kept table says what the page says that has taken its place.* The page is set: then its table leaves, with the
//!    batch that flushes the page. So a table that is put back needs no look at its entries.
//! 2. *A page whose table is here is flushed as small pages.* CPUs may hold these, and one `invlpg` drops one of them.
//!    The rule is for blocks: a page with no table here is flushed by its size, whatever others merge meanwhile.
//! 3. *A table comes out by a split of its own block or by a flush of everything*, lazy CPUs included, because those
//!    walk on speculation.
//!
//! A block may have a kept table and others that leave: it was merged, set, and split with a new table meanwhile. It
//! has one kept table at most. A kept table of 1 GiB may have, in its place for a block of 2 MiB, the page of which the
//! table is kept, too: each says what the map says of its block, by rule 1, whichever is put back first.
//!
//! The places are an array in the order of their blocks, so that a look takes seven steps and nothing is allocated
//! (I10). Where it is full, tables leave with the batch of their merge and no place: as long as there are such, every
//! page is flushed as small ones.

use arrayvec::ArrayVec;
use rhumb_machine::{Block, PageSize, Pfn, PfnRange, impossible};
use rhumb_pagetable::CachedAs;

use crate::records::SplitId;

/// Tables that are kept at most. One flush of everything, at most 23 us of misses for a CPU (see
/// [`FLUSH_PAGES_MAX`](rhumb_pagetable::flush::FLUSH_PAGES_MAX)), frees so many, so that a merge costs 0.4 us of it;
/// and 64 tables are 256 KiB.
pub const KEPT_MAX: usize = 64;

/// Places: for all that are kept, and for as many that leave meanwhile.
const PLACES: usize = 2 * KEPT_MAX;

/// Whether a table may be put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stay {
    /// It says what its page says.
    Kept,
    /// It waits for the flush of a batch.
    Leaving,
}

/// A table here, by the record of its split.
#[derive(Clone, Copy, Debug)]
struct Place {
    block: Block,
    table: SplitId,
    stay: Stay,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Quarantine {
    /// By the first frames of their blocks.
    places: ArrayVec<Place, PLACES>,
    kept: usize,
    /// Tables that leave and have no place.
    unplaced: u64,
}

impl Quarantine {
    pub(crate) const fn new() -> Self {
        Self { places: ArrayVec::new_const(), kept: 0, unplaced: 0 }
    }

    /// Returns how many tables are kept.
    pub(crate) const fn kept(&self) -> u64 {
        self.kept as u64
    }

    /// Returns how many tables there are, those that leave included.
    pub(crate) const fn tables(&self) -> u64 {
        self.places.len() as u64 + self.unplaced
    }

    /// Returns the kept tables, by block, each with its block.
    pub(crate) fn each_kept(&self) -> impl Iterator<Item = (Block, SplitId)> + '_ {
        self.places.iter().filter(|place| place.stay == Stay::Kept).map(|place| (place.block, place.table))
    }

    /// Returns the tables that have a place, kept or leaving, each with its block.
    pub(crate) fn each_placed(&self) -> impl Iterator<Item = (Block, SplitId)> + '_ {
        self.places.iter().map(|place| (place.block, place.table))
    }

    /// Tells whether the table of `block` is kept.
    pub(crate) fn keeps(&self, block: Block) -> bool {
        self.place_of(block).is_some()
    }

    /// Returns how many tables are kept of blocks that overlap `frames` and are larger than `size`.
    pub(crate) fn kept_above(&self, frames: PfnRange, size: PageSize) -> u64 {
        let is_meant = |block: Block| block.size() > size && block.frames().overlaps(frames);
        self.each_kept().filter(|&(block, _)| is_meant(block)).count() as u64
    }

    /// Keeps the table of `block`, if there is room.
    pub(crate) fn keep(&mut self, block: Block, table: SplitId) -> bool {
        let has_room = self.kept < KEPT_MAX && self.put(Place { block, table, stay: Stay::Kept });
        self.kept += usize::from(has_room);
        has_room
    }

    /// Takes the kept table of `block` out, to be put back into the map.
    pub(crate) fn take(&mut self, block: Block) -> Option<SplitId> {
        let index = self.place_of(block)?;
        self.kept -= 1;
        Some(self.places.remove(index).table)
    }

    /// Notes that a table leaves with a batch that was never kept.
    pub(crate) fn add_leaving(&mut self, block: Block, table: SplitId) {
        if !self.put(Place { block, table, stay: Stay::Leaving }) {
            self.unplaced += 1;
        }
    }

    /// Has each kept table of a block within `frames` leave, by `leave`. Returns how CPUs may have cached the pages
    /// there: as small ones if there is any table of such a block, for tables that are leaving have not left.
    pub(crate) fn release_in(&mut self, frames: PfnRange, mut leave: impl FnMut(SplitId)) -> CachedAs {
        let mut cached = if self.unplaced == 0 { CachedAs::Mapped } else { CachedAs::Smallest };
        let start = self.first_at(frames.start());
        for place in self.places[start..].iter_mut().take_while(|place| place.block.start() < frames.end()) {
            if !frames.covers(place.block.frames()) {
                continue;
            }
            cached = CachedAs::Smallest;
            if place.stay == Stay::Kept {
                place.stay = Stay::Leaving;
                self.kept -= 1;
                leave(place.table);
            }
        }
        cached
    }

    /// Forgets a table whose batch was flushed.
    pub(crate) fn forget(&mut self, block: Block, table: SplitId) {
        let start = self.first_at(block.start());
        let same = self.places[start..].iter().take_while(|place| place.block.start() == block.start());
        match same.enumerate().find(|(_, place)| place.table == table).map(|(index, _)| index) {
            Some(index) => {
                self.places.remove(start + index);
            }
            None if self.unplaced > 0 => self.unplaced -= 1,
            None => impossible!("a merged table is in the quarantine until its flush"),
        }
    }

    /// Returns the first place of a block that begins at `start` or later.
    fn first_at(&self, start: Pfn) -> usize {
        self.places.partition_point(|place| place.block.start() < start)
    }

    /// Returns the place of the kept table of `block`.
    fn place_of(&self, block: Block) -> Option<usize> {
        let start = self.first_at(block.start());
        let is_it = |place: &Place| place.block == block && place.stay == Stay::Kept;
        let same = self.places[start..].iter().take_while(|place| place.block.start() == block.start());
        same.enumerate().find(|(_, place)| is_it(place)).map(|(index, _)| start + index)
    }

    fn put(&mut self, place: Place) -> bool {
        let index = self.first_at(place.block.start());
        self.places.try_insert(index, place).is_ok()
    }
}
