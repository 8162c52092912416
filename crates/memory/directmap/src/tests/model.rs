//! The plain model: one cell for each 4-KiB frame, with its owner and its state; no page sizes, no tables.
//!
//! The right map follows from the cells alone: each block whose cells are all alike is one page, as large as the
//! CPU has it, unless it is pinned small.

use super::fixture::{RAM, TABLE, TEXT};
use super::*;
use rhumb_machine::PfnRange;

/// The facts about one hold.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) frames: PfnRange,
    pub(super) state: State,
    pub(super) pinned: Option<PageSize>,
}

/// A cell that is no RAM.
const HOLE: u32 = 0;
/// Ordinary RAM.
const ORDINARY: u32 = 1;
/// The kernel's text, read-only since boot.
const TEXT_CELL: u32 = 2;
/// The first number of a hold.
const FIRST_HOLD: u32 = 3;

pub(super) struct Model {
    cells: Vec<u32>,
    /// By number, less [`FIRST_HOLD`].
    known: Vec<Known>,
    largest: PageSize,
}

/// A page that the map should have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) block: Block,
    /// Zero where it is absent.
    pub(super) entry: Entry,
}

impl Model {
    pub(super) fn new(largest: PageSize) -> Self {
        let mut cells = std::vec![HOLE; (5 * GIB / 4096) as usize];
        for (start, end) in RAM {
            cells[(start / 4096) as usize..(end / 4096) as usize].fill(ORDINARY);
        }
        cells[(TEXT.0 / 4096) as usize..(TEXT.1 / 4096) as usize].fill(TEXT_CELL);
        Self { cells, known: Vec::new(), largest }
    }

    fn cells(&self, frames: PfnRange) -> Option<&[u32]> {
        self.cells.get(frames.start().get() as usize..frames.end().get() as usize)
    }

    /// Tells whether all of `frames` are ordinary RAM and none is off limits.
    pub(super) fn may_change(&self, frames: PfnRange) -> bool {
        let table = fixture::frames(TABLE.0, TABLE.1);
        !frames.overlaps(table)
            && self.cells(frames).is_some_and(|cells| cells.iter().all(|&cell| cell == ORDINARY))
    }

    /// Tells whether all of `frames` are RAM without a hold.
    pub(super) fn may_pin(&self, frames: PfnRange, size: PageSize) -> bool {
        let free = |&cell: &u32| cell == ORDINARY || cell == TEXT_CELL;
        size < self.largest
            && frames.addrs().is_aligned(size)
            && self.cells(frames).is_some_and(|cells| cells.iter().all(free))
    }

    /// Writes a hold down and returns its number.
    pub(super) fn hold(&mut self, known: Known) -> u32 {
        let number = FIRST_HOLD + self.known.len() as u32;
        self.known.push(known);
        self.fill(known.frames, number);
        number
    }

    /// Makes the cells of a hold ordinary. (Text is what it was: it can only have been pinned.)
    pub(super) fn restore(&mut self, number: u32) {
        let frames = self.known(number).frames;
        self.fill(frames, ORDINARY);
        let text = fixture::frames(TEXT.0, TEXT.1).intersection(frames);
        self.fill(text, TEXT_CELL);
    }

    pub(super) fn known(&self, number: u32) -> Known {
        self.known[(number - FIRST_HOLD) as usize]
    }

    pub(super) fn set_state(&mut self, number: u32, state: State) {
        self.known[(number - FIRST_HOLD) as usize].state = state;
    }

    fn fill(&mut self, frames: PfnRange, number: u32) {
        self.cells[frames.start().get() as usize..frames.end().get() as usize].fill(number);
    }

    /// Returns the pages that the map must consist of, absent ones of holds included, in ascending order.
    pub(super) fn pages(&self) -> Vec<Page> {
        let mut pages = Vec::new();
        let end = self.cells.len() as u64;
        for start in (0..end).step_by(PageSize::Size1G.frames() as usize) {
            self.pages_of(Block::around(Pfn::new(start), PageSize::Size1G), &mut pages);
        }
        pages
    }

    fn pages_of(&self, block: Block, pages: &mut Vec<Page>) {
        let Some(cells) = self.cells(block.frames()) else { panic!("RAM ends within {block}") };
        let first = cells[0];
        // Alike, if each is like the one before, and not partly text: a pin may cover both.
        let text = fixture::frames(TEXT.0, TEXT.1);
        let partly_text = text.overlaps(block.frames()) && !text.covers(block.frames());
        let alike = !partly_text && cells[1..] == cells[..cells.len() - 1];
        if alike && first == HOLE {
            return;
        }
        let held = first.checked_sub(FIRST_HOLD).map(|number| self.known[number as usize]);
        let largest = held.and_then(|known| known.pinned).unwrap_or(self.largest);
        if alike && block.size() <= largest {
            let state = match held {
                Some(known) if known.pinned.is_none() => known.state,
                _ if self.is_text(block.start()) => State { access: Access::ReadOnly, ..State::ORDINARY },
                _ => State::ORDINARY,
            };
            pages.push(Page { block, entry: state.entry(block.start().addr(), block.size()) });
            return;
        }
        let Some(smaller) = block.size().smaller() else { return };
        for start in (block.start().get()..block.end().get()).step_by(smaller.frames() as usize) {
            self.pages_of(Block::around(Pfn::new(start), smaller), pages);
        }
    }

    fn is_text(&self, pfn: Pfn) -> bool {
        fixture::frames(TEXT.0, TEXT.1).contains(pfn)
    }
}
