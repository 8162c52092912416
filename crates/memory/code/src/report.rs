//! Figures for people: [`Report`], and a walk through the parts.

use core::ops::ControlFlow;

use crate::block::{Record, Slot};
use crate::home::Home;
use crate::kind::Kind;
use crate::part::PartInfo;
use crate::pool::CodePool;
use crate::size::BLOCK_BYTES;

/// The blocks of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KindReport {
    /// Blocks of 2 MiB.
    pub blocks: u64,
    /// Parts in them.
    pub parts: u64,
    /// Bytes of the parts, with what rounding up to whole cache lines adds.
    pub used_bytes: u64,
    /// Bytes that are free in the blocks.
    pub free_bytes: u64,
    /// Bytes of the largest hole.
    pub largest_hole_bytes: u64,
}

impl KindReport {
    /// Returns how much of the free bytes lies outside of the largest hole, in per cent: 0 where all of it is one hole.
    pub const fn fragmentation_percent(&self) -> u64 {
        match self.free_bytes {
            0 => 0,
            free => (free - self.largest_hole_bytes) * 100 / free,
        }
    }
}

/// The state of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// By kind.
    pub kinds: [KindReport; 3],
    /// Blocks that the pool may have.
    pub slots: u64,
    /// Spare blocks of frames: one while there is code or read-only data.
    pub spare_blocks: u64,
    /// Changes that were made by switching frames.
    pub switches: u64,
    /// Pages of 4 KiB that were written for them.
    pub pages_written: u64,
}

impl Report {
    /// Returns the figures of one kind.
    pub const fn of(&self, kind: Kind) -> &KindReport {
        &self.kinds[kind.index()]
    }

    /// Returns how many blocks of 2 MiB are out of the direct map for the pool.
    pub fn blocks_out_of_direct_map(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.blocks).sum::<u64>() + self.spare_blocks
    }
}

/// Parts that are looked at in one hold of the index's lock.
const LOOKED_AT: usize = 32;

impl<H: Home> CodePool<H> {
    /// Adds up the blocks. Waits for its turn, so that no change is half-way. Not from an interrupt.
    pub fn report(&self) -> Report {
        self.home.with_changes(|changes| {
            let mut report = Report {
                slots: u64::from(self.slots()),
                spare_blocks: u64::from(changes.spare.is_some()),
                switches: changes.switches,
                pages_written: changes.pages_written,
                ..Report::default()
            };
            for slot in (0..self.slots()).map(Slot) {
                self.home.with_index(|index| {
                    let Some(block) = index.block(slot) else { return };
                    let figures = &mut report.kinds[block.kind.index()];
                    figures.blocks += 1;
                    figures.parts += block.parts.len() as u64;
                    figures.used_bytes += u64::from(block.used);
                    figures.free_bytes += BLOCK_BYTES - u64::from(block.used);
                    figures.largest_hole_bytes =
                        figures.largest_hole_bytes.max(u64::from(block.largest_hole()));
                });
            }
            report
        })
    }

    /// Calls `act` for each part, in the order of addresses, until it breaks. No lock is held meanwhile: others may come
    /// and go.
    pub fn for_each<B>(&self, mut act: impl FnMut(&PartInfo) -> ControlFlow<B>) -> Option<B> {
        for slot in (0..self.slots()).map(Slot) {
            let mut next = 0;
            loop {
                let mut seen = arrayvec::ArrayVec::<Record, LOOKED_AT>::new();
                let kind = self.home.with_index(|index| {
                    let block = index.block(slot)?;
                    let first = block.parts.partition_point(|part| part.offset < next);
                    seen.extend(block.parts.iter().skip(first).take(LOOKED_AT).copied());
                    Some(block.kind)
                });
                let (Some(kind), Some(last)) = (kind, seen.last()) else { break };
                next = last.end();
                for record in &seen {
                    if let ControlFlow::Break(found) = act(&self.info(slot, kind, record)) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }
}
