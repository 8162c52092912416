//! [`Shelf`]: the blocks of the pool by how full they are, and the accounts. What its lock protects.
//!
//! Blocks that have something free stand in bins: seven steps of fullness (at most 8, 16, 32, 64, 128, 256, 511 frames
//! free), nine largest free orders each. A request is served from the first bin that can: the fullest, and of these the
//! tightest. Wholly free blocks come after all others: members of a 1-GiB block first, then those that could go back by
//! themselves.
//!
//! Cost: a search of one 64-bit word; twelve descriptors read and at most as many written, and two more for each list
//! entry moved.

use rhumb_frames::words::{FRAMES, find_run, run_mask};
use rhumb_frames::{Frames, Owner};
use rhumb_machine::{Machine, Order, Pfn};

use crate::pool::account::Account;
use crate::pool::counters::PoolCounters;
use crate::pool::error::{GiveError, PoolError};
use crate::pool::record::{
    BINS, BlockId, Chain, FREE_MEMBERS_BIN, Kind, Link, Links, MEMBERS, NO_BIN, Record, Records, SPARE_BIN,
};

/// Wholly free blocks that stay, so that a frame given and taken again does not cost two flushes and 2 MiB of clearing
/// each time. Four are 8 MiB at most that lie idle, and go when the allocator is short.
const KEPT_BLOCKS: u64 = 4;

/// Which bins have a free run of an order or more.
const SERVING: [u64; 9] = {
    let mut masks = [0; 9];
    let mut order = 0;
    while order < 9 {
        let mut bin = 0;
        while bin < 63 {
            if bin % 9 >= order {
                masks[order] |= 1 << bin;
            }
            bin += 1;
        }
        order += 1;
    }
    masks
};

/// What a request got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Served {
    /// The block that begins here.
    Frame(Pfn),
    /// Nothing has room. A block has been charged to the owner: take it from the map and put it on the shelf.
    NeedsBlock,
}

/// Blocks and accounts.
#[derive(Debug)]
pub struct Shelf {
    pub(crate) bins: [Link; BINS],
    /// Which of bins 0 to 63 are not empty.
    pub(crate) occupied: u64,
    pub(crate) free_groups: Link,
    pub(crate) spares: u64,
    kept_blocks: u64,
    pub(crate) accounts: &'static mut [Account],
    pub(crate) counters: PoolCounters,
}

impl Shelf {
    /// An empty one. `accounts` has a place for each owner number that will have an account.
    pub const fn new(accounts: &'static mut [Account]) -> Self {
        Self {
            bins: [None; BINS],
            occupied: 0,
            free_groups: None,
            spares: 0,
            kept_blocks: KEPT_BLOCKS,
            accounts,
            counters: PoolCounters::NONE,
        }
    }

    /// How many wholly free blocks stay in the pool; four if not set.
    pub const fn keep_blocks(&mut self, blocks: u64) {
        self.kept_blocks = blocks;
    }

    /// How many that is.
    pub const fn kept_blocks(&self) -> u64 {
        self.kept_blocks
    }

    /// What was done so far.
    pub const fn counters(&self) -> PoolCounters {
        self.counters
    }

    pub(crate) fn open_account(&mut self, owner: Owner, new: Account) -> Result<(), PoolError> {
        let place = self.accounts.get_mut(usize::from(owner.0)).ok_or(PoolError::NoAccount { owner })?;
        if place.blocks > 0 && place.map_owner != new.map_owner {
            return Err(PoolError::AccountInUse { owner });
        }
        *place = Account { blocks: place.blocks, frames: place.frames, ..new };
        Ok(())
    }

    pub(crate) fn close_account(&mut self, owner: Owner) -> Result<(), PoolError> {
        let account = self.account_mut(owner)?;
        if account.blocks > 0 || account.frames > 0 {
            return Err(PoolError::AccountInUse { owner });
        }
        *account = Account::CLOSED;
        Ok(())
    }

    pub(crate) fn account(&self, owner: Owner) -> Option<&Account> {
        self.accounts.get(usize::from(owner.0)).filter(|account| account.map_owner.is_some())
    }

    fn account_mut(&mut self, owner: Owner) -> Result<&mut Account, PoolError> {
        let account = self.accounts.get_mut(usize::from(owner.0));
        account.filter(|account| account.map_owner.is_some()).ok_or(PoolError::NoAccount { owner })
    }

    /// Serves a request, or charges the block that it takes to serve it.
    pub(crate) fn take<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        owner: Owner,
        order: Order,
    ) -> Result<Served, PoolError> {
        let account = self.account_mut(owner)?;
        if order > Order::LARGE {
            return Err(PoolError::TooLarge { order });
        }
        if account.limits.frames.saturating_sub(account.frames) < order.frames() {
            return Err(PoolError::OverFrames { owner, limit: account.limits.frames });
        }
        let records = Records(frames);
        if let Some(pfn) = self.carve(&records, owner, order) {
            self.account_mut(owner)?.frames += order.frames();
            self.counters.frames_out += order.frames();
            return Ok(Served::Frame(pfn));
        }
        self.charge(owner, 1)?;
        Ok(Served::NeedsBlock)
    }

    /// Charges blocks that are about to be taken.
    pub(crate) fn charge(&mut self, owner: Owner, blocks: u64) -> Result<(), PoolError> {
        let account = self.account_mut(owner)?;
        if account.limits.blocks.saturating_sub(account.blocks) < blocks {
            return Err(PoolError::OverBlocks { owner, limit: account.limits.blocks });
        }
        account.blocks += blocks;
        Ok(())
    }

    /// Takes a charge back: the blocks are in the map again, or were not taken.
    pub(crate) fn uncharge(&mut self, owner: Owner, blocks: u64) {
        if let Ok(account) = self.account_mut(owner) {
            account.blocks -= blocks;
        }
    }

    /// Puts a block that is out of the map, and zero, on the shelf.
    pub(crate) fn insert<M: Machine>(&mut self, frames: &Frames<M>, id: BlockId, kind: Kind, owner: Owner) {
        let records = Records(frames);
        if kind == Kind::Alone || id == id.group() {
            self.counters.blocks_taken += if kind == Kind::Alone { 1 } else { MEMBERS };
            records.set_free_members(id, 0);
        }
        let mut record = Record::new(kind, owner);
        self.place(&records, id, &mut record);
        if kind == Kind::Member {
            self.count_free_member(&records, id.group(), Turned::Whole);
        }
    }

    /// Whether a block of `order` that begins at `pfn` is out; its owner.
    pub(crate) fn check_out<M: Machine>(
        &self,
        frames: &Frames<M>,
        pfn: Pfn,
        order: Order,
    ) -> Result<Owner, GiveError> {
        let records = Records(frames);
        let record = records.load(BlockId::around(pfn)).ok_or(GiveError::Foreign { pfn })?;
        let bits = mask(pfn, order);
        if record.bits.iter().zip(&bits).any(|(free, wanted)| free & wanted != 0) {
            return Err(GiveError::NotOut { pfn });
        }
        let (owner, taken) = records.taken(pfn).ok_or(GiveError::NotOut { pfn })?;
        if taken != order.get() {
            let taken = Order::new(taken).unwrap_or_default();
            return Err(GiveError::WrongOrder { pfn, given: order, taken });
        }
        Ok(owner)
    }

    /// Takes back what is out, zeroed.
    pub(crate) fn give<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        pfn: Pfn,
        order: Order,
    ) -> Result<(), GiveError> {
        let owner = self.check_out(frames, pfn, order)?;
        let (records, id) = (Records(frames), BlockId::around(pfn));
        let mut record = records.load(id).ok_or(GiveError::Foreign { pfn })?;
        records.clear_taken(pfn);
        for (word, bits) in record.bits.iter_mut().zip(mask(pfn, order)) {
            *word |= bits;
        }
        record.free += order.frames() as u32;
        self.place(&records, id, &mut record);
        if record.is_whole() && record.kind == Kind::Member {
            self.count_free_member(&records, id.group(), Turned::Whole);
        }
        if let Ok(account) = self.account_mut(owner) {
            account.frames -= order.frames();
        }
        self.counters.frames_out -= order.frames();
        Ok(())
    }

    /// A wholly free block above those that stay, off the shelf; `keep` says how many stay at most.
    pub(crate) fn pop_spare<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        keep: u64,
    ) -> Option<(BlockId, Owner)> {
        if self.spares <= keep.min(self.kept_blocks) {
            return None;
        }
        let records = Records(frames);
        let id = self.bins[usize::from(SPARE_BIN)]?;
        let record = records.load(id)?;
        self.unlink_from_bin(&records, id, record.bin);
        records.wipe(id, record.owner);
        Some((id, record.owner))
    }

    /// A wholly free block of 1 GiB, off the shelf.
    pub(crate) fn pop_group<M: Machine>(&mut self, frames: &Frames<M>) -> Option<(BlockId, Owner)> {
        let records = Records(frames);
        let group = self.free_groups?;
        let owner = records.load(group)?.owner;
        let mut head = self.free_groups;
        unlink(&records, &mut head, group, Chain::Groups);
        self.free_groups = head;
        for id in group.members() {
            self.unlink_from_bin(&records, id, FREE_MEMBERS_BIN);
            records.wipe(id, if id == group { owner } else { Owner::NONE });
        }
        Some((group, owner))
    }

    /// Finds room and marks it as taken.
    fn carve<M: Machine>(&mut self, records: &Records<'_, M>, owner: Owner, order: Order) -> Option<Pfn> {
        let id = self.find(order)?;
        let mut record = records.load(id)?;
        let was_whole = record.is_whole();
        let run = if order == Order::LARGE { 0 } else { find_run(&record.bits, order.get().into())? };
        let pfn = id.start().plus(run.into());
        for (word, bits) in record.bits.iter_mut().zip(mask(pfn, order)) {
            *word &= !bits;
        }
        record.free -= order.frames() as u32;
        if was_whole && record.kind == Kind::Member {
            self.count_free_member(records, id.group(), Turned::Broken);
        }
        self.place(records, id, &mut record);
        records.set_taken(pfn, owner, order.get());
        Some(pfn)
    }

    fn find(&self, order: Order) -> Link {
        let serving = SERVING.get(usize::from(order.get())).copied().unwrap_or(0) | 1 << FREE_MEMBERS_BIN;
        let bins = self.occupied & serving;
        let bin = if bins == 0 { u32::from(SPARE_BIN) } else { bins.trailing_zeros() };
        self.bins.get(bin as usize).copied().flatten()
    }

    /// Writes a block's state, and moves it to the bin that it belongs in.
    fn place<M: Machine>(&mut self, records: &Records<'_, M>, id: BlockId, record: &mut Record) {
        let (old, new) = (record.bin, record.wanted_bin());
        record.bin = new;
        records.store(id, record);
        if old != new {
            self.unlink_from_bin(records, id, old);
            self.link_to_bin(records, id, new);
        }
    }

    fn link_to_bin<M: Machine>(&mut self, records: &Records<'_, M>, id: BlockId, bin: u8) {
        let Some(head) = self.bins.get_mut(usize::from(bin)) else { return };
        link(records, head, id, Chain::Bin);
        if bin == SPARE_BIN {
            self.spares += 1;
        } else {
            self.occupied |= 1 << bin;
        }
    }

    fn unlink_from_bin<M: Machine>(&mut self, records: &Records<'_, M>, id: BlockId, bin: u8) {
        debug_assert!(bin == NO_BIN || usize::from(bin) < BINS);
        let Some(head) = self.bins.get_mut(usize::from(bin)) else { return };
        unlink(records, head, id, Chain::Bin);
        if bin == SPARE_BIN {
            self.spares -= 1;
        } else if head.is_none() {
            self.occupied &= !(1 << bin);
        }
    }

    /// A member of `group` became wholly free, or is so no longer.
    fn count_free_member<M: Machine>(&mut self, records: &Records<'_, M>, group: BlockId, turned: Turned) {
        let members = records.free_members(group);
        match turned {
            Turned::Whole => {
                records.set_free_members(group, members + 1);
                if members + 1 == MEMBERS {
                    link(records, &mut self.free_groups, group, Chain::Groups);
                }
            }
            Turned::Broken => {
                records.set_free_members(group, members - 1);
                if members == MEMBERS {
                    unlink(records, &mut self.free_groups, group, Chain::Groups);
                }
            }
        }
    }
}

/// What became of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turned {
    Whole,
    Broken,
}

/// Puts a block at the head of a list.
fn link<M: Machine>(records: &Records<'_, M>, head: &mut Link, id: BlockId, chain: Chain) {
    records.set_links(id, chain, Links { before: None, next: *head });
    if let Some(next) = *head {
        let links = records.links(next, chain);
        records.set_links(next, chain, Links { before: Some(id), ..links });
    }
    *head = Some(id);
}

/// Takes a block out of a list.
fn unlink<M: Machine>(records: &Records<'_, M>, head: &mut Link, id: BlockId, chain: Chain) {
    let Links { before, next } = records.links(id, chain);
    match before {
        Some(before) => {
            let links = records.links(before, chain);
            records.set_links(before, chain, Links { next, ..links });
        }
        None => *head = next,
    }
    if let Some(next) = next {
        let links = records.links(next, chain);
        records.set_links(next, chain, Links { before, ..links });
    }
}

/// The bits of a block of `order` that begins at `pfn`, in its 2-MiB block.
fn mask(pfn: Pfn, order: Order) -> [u64; 8] {
    let first = (pfn.get() % u64::from(FRAMES)) as u32;
    let order = u32::from(order.get());
    core::array::from_fn(|word| {
        let start = word as u32 * 64;
        if order >= 6 {
            let inside = first <= start && start < first + (1 << order);
            if inside { u64::MAX } else { 0 }
        } else if first / 64 == word as u32 {
            run_mask(first % 64, order)
        } else {
            0
        }
    })
}
