//! [`CodePool`]: its addresses, and whose part an address lies in.

use rhumb_machine::{VirtAddr, VirtRange};

use crate::block::{Record, Slot};
use crate::home::{BlockPlace, DataPlace, Home};
use crate::kind::Kind;
use crate::part::{PartInfo, PoolId};
use crate::size::BLOCK_BYTES;

/// Blocks that a pool has at most: as many as one table of large pages maps.
const MOST_SLOTS: u64 = 512;

/// A pool of executable memory. See the crate.
#[derive(Debug)]
pub struct CodePool<H: Home> {
    pub(crate) home: H,
    range: VirtRange,
    pub(crate) id: PoolId,
}

impl<H: Home> CodePool<H> {
    /// Makes a pool without blocks, whose addresses are the whole blocks in `range`, 512 at most.
    pub fn new(home: H, range: VirtRange) -> Self {
        let whole = range.start().get().next_multiple_of(BLOCK_BYTES);
        let bytes = range.end().get().saturating_sub(whole).min(MOST_SLOTS * BLOCK_BYTES);
        let range = VirtRange::of_length(VirtAddr::new(whole), bytes & !(BLOCK_BYTES - 1));
        Self { home, range: range.unwrap_or_default(), id: PoolId::next() }
    }

    /// Returns the addresses of all blocks that the pool may have.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    pub(crate) fn slots(&self) -> u16 {
        (self.range.bytes() / BLOCK_BYTES) as u16
    }

    pub(crate) fn place(&self, slot: Slot) -> BlockPlace {
        BlockPlace(self.range.start().plus(slot.index() as u64 * BLOCK_BYTES))
    }

    /// Returns the slot that an address of the pool lies in, and the offset in its block.
    pub(crate) fn slot_of(&self, address: VirtAddr) -> Option<(Slot, u32)> {
        let offset = self.range.contains(address).then(|| address.since(self.range.start()))?;
        Some((Slot((offset / BLOCK_BYTES) as u16), (offset % BLOCK_BYTES) as u32))
    }

    /// Returns the part that an address lies in. For reports and backtraces.
    ///
    /// Cost: a search by halving, with the index's lock held.
    pub fn find(&self, address: VirtAddr) -> Option<PartInfo> {
        let (slot, offset) = self.slot_of(address)?;
        let found =
            self.home.with_index(|index| Some(*index.block(slot)?.at(offset)?).zip(index.kind_of(slot)));
        found.map(|(record, kind)| self.info(slot, kind, &record))
    }

    /// Returns the part that an address lies in, as [`CodePool::find`] does, where the index's lock is free now; `None`
    /// where it is not, or no part is there. For reports of faults.
    pub fn try_find(&self, address: VirtAddr) -> Option<PartInfo> {
        let (slot, offset) = self.slot_of(address)?;
        let found =
            self.home.try_with_index(|index| Some(*index.block(slot)?.at(offset)?).zip(index.kind_of(slot)));
        found.flatten().map(|(record, kind)| self.info(slot, kind, &record))
    }

    /// Names addresses of data that the pool may write now: free ones, or those of a part whose holder has said so.
    pub(crate) fn data_at(&self, start: VirtAddr, bytes: u64) -> DataPlace {
        DataPlace(VirtRange::of_length(start, bytes).unwrap_or_default())
    }

    pub(crate) fn info(&self, slot: Slot, kind: Kind, record: &Record) -> PartInfo {
        let start = self.place(slot).start().plus(u64::from(record.offset));
        PartInfo {
            range: VirtRange::of_length(start, u64::from(record.bytes)).unwrap_or_default(),
            kind,
            owner: record.owner,
            name: record.name,
            is_written: record.is_written,
        }
    }
}
