//! Moving the frames of areas to another node, while CPUs read and write there.
//!
//! ```text
//!   move_to, move_at ──claim──> entries of the area, a table at a time ──> Batch: 512 small pages, or 2 MiB of a large one
//! ```
//!
//! **Sizes.** A page of 2 MiB or 1 GiB moves whole to a block of its size on the node, and stays where it is if the
//! node has none; so does a block whose page was split by a change of rights. A small page moves to a frame. Pages that
//! are on the node already stay. Addresses, rights, owner and the sizes of pages are as before.
//!
//! **Flushes.** Two for each batch, of which one is left out where no page of it is writable. A batch is what one table
//! of small pages has of the area, 512 pages at most, or 2 MiB of a large page. A page of 1 GiB is mapped by 2-MiB pages
//! while it moves, so that a writer waits for the copy of 2 MiB at most; a last flush ends that.
//!
//! **Memory.** One table, and new frames for one batch or one large page: the old ones are given back before the next
//! batch begins.

use core::ops::Range;

use rhumb_frames::{AllocClass, Frame, Owner, Preference, Request};
use rhumb_machine::{NodeId, PageSize, Pfn, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::edit::is_uniform;
use rhumb_pagetable::{ENTRIES, Entry, Privilege, TableMemory, bits};

use super::KernelMap;
use super::area::Area;
use super::batch::{Batch, with_attributes_of};
use super::claim::{Ended, claim, end_claim};
use super::error::AreaError;
use super::flushes::flush_exactly;
use super::home::Home;
use super::release::{clear_split, first_page, free_frames, give_back};

/// The outcome of a move, in pages of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Moved {
    /// They have other frames now, of the node.
    pub moved: u64,
    /// They were on the node before.
    pub there: u64,
    /// They have the frames that they had, because the node has no free block of their size.
    pub left: u64,
}

impl Moved {
    /// Adds what another move has done.
    pub const fn add(&mut self, other: Self) {
        self.moved += other.moved;
        self.there += other.there;
        self.left += other.left;
    }
}

impl<H: Home> KernelMap<H> {
    /// Moves the frames of a movable area to a node, as far as the node has free ones. Other CPUs may read and write the
    /// area meanwhile; see [`AreaRequest::movable`](super::AreaRequest::movable).
    ///
    /// # Errors
    /// [`AreaError::Foreign`], [`AreaError::NotMovable`], [`AreaError::Busy`], [`AreaError::NoTable`]; nothing has
    /// changed then.
    ///
    /// Called with no lock held for which an interrupt handler waits, and with no window open.
    ///
    /// Cost: for each 2 MiB, or each table of small pages, two flushes; for each small page a frame, a copy, and six
    /// writes of entries.
    pub fn move_to(&self, pinned: Pinned<'_>, area: &mut Area, node: NodeId) -> Result<Moved, AreaError> {
        if !self.is_mine(area) {
            return Err(AreaError::Foreign);
        }
        if !area.is_movable {
            return Err(AreaError::NotMovable);
        }
        claim(area)?;
        let result = self.move_claimed(pinned, area, node);
        if end_claim(area) == Ended::Freed {
            impossible!("the holder of an area gives it back");
        }
        result
    }

    /// Moves the frames of the movable area that has an address: as [`KernelMap::move_to`], for callers that have no
    /// handle. The area's holder may give it back meanwhile.
    ///
    /// # Errors
    /// [`AreaError::NoArea`], [`AreaError::NotMovable`], [`AreaError::Busy`], [`AreaError::TooManyWalks`],
    /// [`AreaError::NoTable`]; nothing has changed then.
    ///
    /// Called as [`KernelMap::move_to`]. Cost: a walk through the areas below it, too.
    pub fn move_at(&self, pinned: Pinned<'_>, address: VirtAddr, node: NodeId) -> Result<Moved, AreaError> {
        let area = self.claim_at(pinned, address)?;
        let result = self.move_claimed(pinned, &area, node);
        self.end_claim_at(pinned, area);
        result
    }

    fn move_claimed(&self, pinned: Pinned<'_>, area: &Area, node: NodeId) -> Result<Moved, AreaError> {
        let shadow = self.take_table(pinned)?;
        let mut tables = self.home.tables();
        let mut mover = Mover {
            map: self,
            pinned,
            node,
            owner: area.owner,
            shadow,
            has_reclaimed: false,
            sum: Moved::default(),
        };
        let Some(unit) = PageSize::from_level(area.level) else {
            return impossible!("the entries of an area are leaves or tables" => Ok(mover.sum));
        };
        // Runs of entries, each in one table.
        let mut run: Option<(Pfn, Range<usize>, VirtAddr)> = None;
        let first = area.start.align_down(unit);
        let Ok(()) = self.for_each_entry_of(
            &mut tables,
            area.level,
            (area.held.range(), area.table),
            |tables, table, index, nth| {
                match &mut run {
                    Some((of, entries, _)) if *of == table && entries.end == index => entries.end += 1,
                    _ => {
                        let address = first.plus(nth * unit.bytes());
                        if let Some((table, entries, at)) = run.replace((table, index..index + 1, address)) {
                            mover.entries(tables, area.level, table, entries, at);
                        }
                    }
                }
                Ok::<_, core::convert::Infallible>(())
            },
        );
        if let Some((table, entries, at)) = run {
            mover.entries(&mut tables, area.level, table, entries, at);
        }
        let sum = mover.sum;
        give_back(&self.home, pinned, shadow);
        self.moves.add_pages(sum.moved);
        Ok(sum)
    }
}

/// A move under way. Between two batches its shadow is clear.
struct Mover<'map, H: Home> {
    map: &'map KernelMap<H>,
    pinned: Pinned<'map>,
    node: NodeId,
    owner: Owner,
    shadow: Pfn,
    has_reclaimed: bool,
    sum: Moved,
}

impl<H: Home> Mover<'_, H> {
    /// Moves what entries of a table at `level` map, the first of them `at` an address. A recursion at most three deep.
    fn entries(
        &mut self,
        tables: &mut H::Tables,
        level: u8,
        table: Pfn,
        entries: Range<usize>,
        at: VirtAddr,
    ) {
        let Some(size) = PageSize::from_level(level) else { return };
        if size == PageSize::Size4K {
            return self.pages(tables, table, entries, at);
        }
        for (nth, index) in (0..).zip(entries) {
            let (entry, at) = (tables.read(table, index), at.plus(nth * size.bytes()));
            match entry.child(level) {
                Some(below) if entry.bits() & bits::SOFTWARE == 0 => {
                    self.entries(tables, level - 1, below, 0..ENTRIES, at);
                }
                below if entry.is_present() => self.block(tables, (table, index), size, below, at),
                _ => {}
            }
        }
    }

    fn is_there(&self, pfn: Pfn) -> bool {
        self.map.home.frames().node_at(pfn) == Some(self.node)
    }

    /// Takes a block of the node.
    fn take(&mut self, size: PageSize) -> Option<Pfn> {
        // A large block is a convenience: no reclaimer runs for it.
        let is_small = size == PageSize::Size4K;
        let class = if is_small { AllocClass::Ordinary } else { AllocClass::Atomic };
        let request = Request::FRAME.order(size.order()).class(class).owner(self.owner);
        let request = request.near(Preference::Bind(self.node));
        let alloc = || self.map.home.alloc(self.pinned, request).map(Frame::into_pfn).ok();
        if let Some(frame) = alloc() {
            return Some(frame);
        }
        // Frames that wait for a flush are as good as others.
        if !is_small || core::mem::replace(&mut self.has_reclaimed, true) {
            return None;
        }
        self.map.reclaim(self.pinned);
        alloc()
    }

    /// Moves small pages, each of which has a frame of its own.
    fn pages(&mut self, tables: &mut H::Tables, table: Pfn, entries: Range<usize>, at: VirtAddr) {
        let size = PageSize::Size4K;
        let (mut is_short, mut is_any) = (false, false);
        for index in entries.clone() {
            let entry = tables.read(table, index);
            if !entry.is_present() {
                continue;
            }
            if self.is_there(entry.phys(size).pfn()) {
                self.sum.there += 1;
                continue;
            }
            match if is_short { None } else { self.take(size) } {
                Some(frame) => {
                    tables.write(self.shadow, index, with_attributes_of(entry, frame, size));
                    is_any = true;
                }
                None => {
                    is_short = true;
                    self.sum.left += 1;
                }
            }
        }
        if !is_any {
            return;
        }
        self.exchange(table, entries.clone(), (size, size), at);
        for index in entries {
            let shadow = tables.read(self.shadow, index);
            if shadow.is_present() {
                tables.write(self.shadow, index, Entry::EMPTY);
                free_frames(&self.map.home, self.pinned, shadow.phys(size).pfn(), size);
                self.sum.moved += 1;
            }
        }
    }

    /// Moves a block of frames that one entry maps, by a large page or by a table that took its place.
    fn block(
        &mut self,
        tables: &mut H::Tables,
        (table, index): (Pfn, usize),
        size: PageSize,
        below: Option<Pfn>,
        at: VirtAddr,
    ) {
        let (level, entry) = (size.level(), tables.read(table, index));
        let old = match below {
            Some(below) => first_page(tables, below, level - 1),
            None => entry.phys(size).pfn(),
        };
        if self.is_there(old) {
            self.sum.there += size.frames();
            return;
        }
        let Some(new) = self.take(size) else {
            self.sum.left += size.frames();
            return;
        };
        match (below, size.smaller()) {
            (Some(below), _) => self.pieces(tables, below, level - 1, (new, size), at),
            (None, Some(smaller)) if size == PageSize::Size1G => {
                let Ok(below) = self.map.take_table(self.pinned) else {
                    free_frames(&self.map.home, self.pinned, new, size);
                    self.sum.left += size.frames();
                    return;
                };
                let first = with_attributes_of(entry, old, smaller);
                tables.write_run(below, 0, first, smaller.bytes(), ENTRIES);
                let marked = Entry::table(below, Privilege::Supervisor).bits() | bits::SOFTWARE;
                tables.write(table, index, Entry::from_bits(marked));
                self.pieces(tables, below, level - 1, (new, size), at);
                self.merge(tables, (table, index), size, below, at);
            }
            _ => {
                tables.write(self.shadow, index, with_attributes_of(entry, new, size));
                self.exchange(table, index..index + 1, (size, size), at);
                tables.write(self.shadow, index, Entry::EMPTY);
            }
        }
        free_frames(&self.map.home, self.pinned, old, size);
        self.sum.moved += size.frames();
    }

    /// Moves what a table at `level` maps, in which each entry maps its part of one block, to the parts of another block
    /// of `block`, which begins at `new`. A recursion at most two deep.
    fn pieces(
        &self,
        tables: &mut H::Tables,
        table: Pfn,
        level: u8,
        (new, block): (Pfn, PageSize),
        at: VirtAddr,
    ) {
        let Some(size) = PageSize::from_level(level) else { return };
        // The pages of a table of small ones move together, large ones each by itself.
        let together = if size == PageSize::Size4K { ENTRIES } else { 1 };
        for first in (0..ENTRIES).step_by(together) {
            let place = |index: usize| new.plus(index as u64 * size.frames());
            let at = at.plus(first as u64 * size.bytes());
            if let Some(below) = tables.read(table, first).child(level) {
                self.pieces(tables, below, level - 1, (place(first), block), at);
                continue;
            }
            let entries = first..first + together;
            for index in entries.clone() {
                let entry = tables.read(table, index);
                tables.write(self.shadow, index, with_attributes_of(entry, place(index), size));
            }
            self.exchange(table, entries.clone(), (size, block), at);
            entries.for_each(|index| tables.write(self.shadow, index, Entry::EMPTY));
        }
    }

    /// Exchanges the frames of entries for those in the shadow.
    fn exchange(&self, table: Pfn, entries: Range<usize>, (size, block): (PageSize, PageSize), at: VirtAddr) {
        let bytes = entries.len() as u64 * size.bytes();
        let addresses = VirtRange::of_length(at, bytes).unwrap_or_default();
        let batch = Batch { addresses, table, shadow: self.shadow, entries, size, block };
        let number = self.map.begin_batch(self.pinned, batch);
        while self.map.drive(self.pinned, number).is_err() {
            impossible!("a CPU without an open window sees each frame of the map");
            self.map.home.relax();
        }
    }

    /// Maps a block of frames by one page again.
    fn merge(
        &self,
        tables: &mut H::Tables,
        (table, index): (Pfn, usize),
        size: PageSize,
        below: Pfn,
        at: VirtAddr,
    ) {
        let first = tables.read(below, 0);
        if !is_uniform(tables, below, size) {
            return impossible!("the parts of a page that moved are alike");
        }
        let frame = size.smaller().map_or(first.phys(size), |smaller| first.phys(smaller)).pfn();
        tables.write(table, index, whole(first, frame, size));
        let is_flushed = flush_exactly(&self.map.home, self.pinned, |batch| {
            batch.add_table(at);
            batch.add_everything();
        });
        if is_flushed {
            clear_split(&self.map.home, self.pinned, tables, below, size.level() - 1);
        } else {
            impossible!("the home flushes the CPUs of its own machine");
        }
    }
}

/// Returns the leaf of a block whose first part has the leaf `part`.
fn whole(part: Entry, frame: Pfn, size: PageSize) -> Entry {
    match size.smaller().and_then(|smaller| part.attributes(smaller)) {
        Some(attributes) => Entry::leaf(frame.addr(), size, attributes),
        None => impossible!("no page of an area is writable and executable" => part),
    }
}
