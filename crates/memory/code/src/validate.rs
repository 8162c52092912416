//! The exact check: the index, the frames, the page tables and the free bytes agree.

use core::fmt;

use rhumb_machine::VirtAddr;

use crate::block::{Block, MOST_PARTS, Slot};
use crate::changes::Changes;
use crate::home::Home;
use crate::index::Index;
use crate::pages::PAGES;
use crate::pool::CodePool;
use crate::size::{BLOCK_BYTES, GRANULE_BYTES};
use crate::size::{PAGE_BYTES, PageBytes};

/// The thing that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inconsistency {
    /// Its place: a block, or a byte in it.
    pub at: VirtAddr,
    /// The rule that is broken.
    pub rule: BrokenRule,
}

/// A rule of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokenRule {
    /// Parts are in the order of their addresses, do not overlap, and lie within their block, at whole granules.
    Order,
    /// A block has parts, and not too many.
    Parts,
    /// A block's sum of used bytes is that of its parts.
    Sum,
    /// A block has frames, and only a block has.
    Frames,
    /// A block is mapped as its kind says, and only a block is.
    Mapping,
    /// There are spare frames while a block needs them, and only then.
    Spare,
    /// Free code traps, and free data that cannot be written is zero.
    FreeBytes,
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.rule {
            BrokenRule::Order => "two parts overlap or are out of order",
            BrokenRule::Parts => "the block has no part, or too many",
            BrokenRule::Sum => "the sum of used bytes is not that of the parts",
            BrokenRule::Frames => "frames without a block, or a block without frames",
            BrokenRule::Mapping => "the page tables do not say what the pool says",
            BrokenRule::Spare => "spare frames are missing or left over",
            BrokenRule::FreeBytes => "a free byte is not as free bytes are",
        };
        write!(f, "executable memory at {}: {what}", self.at)
    }
}

impl core::error::Error for Inconsistency {}

impl<H: Home> CodePool<H> {
    /// Checks all of it, in its turn. Not from an interrupt.
    ///
    /// # Errors
    /// The first thing that does not fit.
    ///
    /// Cost: all blocks of code and read-only data are read.
    pub fn validate(&self) -> Result<(), Inconsistency> {
        self.home.with_changes(|changes| {
            let mut needs_spare = false;
            for slot in (0..self.slots()).map(Slot) {
                let kind = self.home.with_index(|index| {
                    self.check_parts(slot, index)?;
                    Ok(index.kind_of(slot))
                })?;
                let has_frames = changes.frames.get(slot.index()).is_some_and(Option::is_some);
                self.demand(slot, has_frames == kind.is_some(), BrokenRule::Frames)?;
                let access = self.home.access_of(self.place(slot));
                self.demand(slot, access == kind.map(|kind| kind.access()), BrokenRule::Mapping)?;
                if kind.is_some_and(|kind| kind.is_switched()) {
                    needs_spare = true;
                    self.check_free_bytes(slot)?;
                }
            }
            self.check_spare(changes, needs_spare)
        })
    }

    fn demand(&self, slot: Slot, holds: bool, rule: BrokenRule) -> Result<(), Inconsistency> {
        if holds { Ok(()) } else { Err(Inconsistency { at: self.place(slot).start(), rule }) }
    }

    fn check_parts(&self, slot: Slot, index: &Index) -> Result<(), Inconsistency> {
        let Some(Block { parts, used, .. }) = index.block(slot) else { return Ok(()) };
        let (mut end, mut sum) = (0, 0);
        for part in parts {
            let is_whole =
                [part.offset, part.rounded].iter().all(|it| it.is_multiple_of(GRANULE_BYTES as u32));
            let is_long_enough = 0 < part.bytes && part.bytes <= part.rounded;
            let fits = part.offset >= end && u64::from(part.end()) <= BLOCK_BYTES;
            self.demand(slot, is_whole && is_long_enough && fits, BrokenRule::Order)?;
            end = part.end();
            sum += part.rounded;
        }
        self.demand(slot, (1..=MOST_PARTS).contains(&parts.len()), BrokenRule::Parts)?;
        self.demand(slot, sum == *used, BrokenRule::Sum)
    }

    fn check_free_bytes(&self, slot: Slot) -> Result<(), Inconsistency> {
        let mut image: PageBytes = [0; PAGE_BYTES];
        for page in 0..PAGES {
            let place = self.place(slot);
            self.home.read_page(place, page, &mut image);
            let wrong = self.home.with_index(|index| {
                let block = index.block(slot)?;
                let first = (page * PAGE_BYTES) as u32;
                let mut offset = first;
                let next = block.parts.partition_point(|part| part.end() <= first);
                // Up to the end of the page: the bytes before each part, and those of parts that were not written.
                for part in block.parts.iter().skip(next) {
                    if part.offset >= first + PAGE_BYTES as u32 {
                        break;
                    }
                    let free_end = if part.is_written { part.offset } else { part.end() };
                    let stretch = image.get((offset - first) as usize..).unwrap_or_default();
                    let length = free_end.saturating_sub(offset) as usize;
                    let found = stretch.iter().take(length).position(|&byte| byte != block.kind.fill());
                    if let Some(found) = found {
                        return Some(offset + found as u32);
                    }
                    offset = part.end().min(first + PAGE_BYTES as u32);
                }
                let rest = image.get((offset - first) as usize..).unwrap_or_default();
                let found = rest.iter().position(|&byte| byte != block.kind.fill())?;
                Some(offset + found as u32)
            });
            if let Some(offset) = wrong {
                let at = place.start().plus(u64::from(offset));
                return Err(Inconsistency { at, rule: BrokenRule::FreeBytes });
            }
        }
        Ok(())
    }

    fn check_spare(&self, changes: &Changes<H::Frames>, is_needed: bool) -> Result<(), Inconsistency> {
        match changes.spare.is_some() == is_needed {
            true => Ok(()),
            false => Err(Inconsistency { at: self.range().start(), rule: BrokenRule::Spare }),
        }
    }
}
