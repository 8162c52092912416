//! [`BlockLists`]: the accounts and their blocks by how full they are, and the blocks that have no owner. All of it is
//! behind the pool's lock.
//!
//! Each account has bins for its blocks that have something free: seven steps of fullness (at most 8, 16, 32, 64, 128,
//! 256, 511 frames free), nine largest free orders each. A request is served from the first bin that can: the fullest,
//! and of these the tightest. Wholly free members of a 1-GiB block come after all others. Another block that becomes
//! wholly free is a *spare*: it belongs to no account, and is the next block that any account gets.
//!
//! Cost: a search of one 64-bit word; twelve descriptors read and at most as many written, and two more for each list
//! entry moved.

mod bins;

use rhumb_frames::words::{FRAMES, find_run, run_mask};
use rhumb_frames::{Frames, Owner};
use rhumb_machine::{CpuId, Machine, Order, Pfn, impossible};

use crate::account::{Account, Holdings, Limits};
use crate::block_lists::bins::Turned;
use crate::counters::PoolCounters;
use crate::error::{GiveError, PoolError};
use crate::record::{BlockId, Kind, Link, MEMBERS, Record, Records};

/// Wholly free blocks that stay at least, so that a frame given and taken again does not cost two flushes and 2 MiB of
/// clearing each time.
const KEPT_BLOCKS: u64 = 4;

/// One in so many blocks that are out stays when it is wholly free, so that a large load that swings by an eighth
/// changes the map no more often than a small one.
const KEPT_FRACTION: u64 = 8;

/// The result of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Served {
    /// The block that begins here.
    Frame(Pfn),
    /// Nothing has room. The frames and a block have been charged to the owner: take the block from the map.
    NeedsBlock,
    /// Nothing has room yet: another CPU is taking a block for this owner.
    Wait,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) owner: Owner,
    pub(crate) order: Order,
    pub(crate) cpu: CpuId,
}

/// Blocks and accounts.
#[derive(Debug)]
pub struct BlockLists {
    pub(crate) spares: Link,
    pub(crate) spare_blocks: u64,
    pub(crate) free_groups: Link,
    kept_blocks: u64,
    pub(crate) accounts: &'static mut [Account],
    pub(crate) counters: PoolCounters,
}

impl BlockLists {
    /// Makes an empty one. `accounts` has a place for each owner number that will have an account.
    pub const fn new(accounts: &'static mut [Account]) -> Self {
        Self {
            spares: None,
            spare_blocks: 0,
            free_groups: None,
            kept_blocks: KEPT_BLOCKS,
            accounts,
            counters: PoolCounters::NONE,
        }
    }

    pub(crate) const fn keep_blocks(&mut self, blocks: u64) {
        self.kept_blocks = blocks;
    }

    pub(crate) const fn kept_blocks(&self) -> u64 {
        self.kept_blocks
    }

    pub(crate) fn open_account(&mut self, owner: Owner, limits: Limits) -> Result<(), PoolError> {
        let place = self.accounts.get_mut(usize::from(owner.0)).ok_or(PoolError::NoAccount { owner })?;
        place.set_limits(limits);
        Ok(())
    }

    pub(crate) fn close_account(&mut self, owner: Owner, now_ns: u64) -> Result<(), PoolError> {
        let account = self.account_mut(owner)?;
        if account.blocks > 0 || account.frames > 0 {
            return Err(PoolError::AccountInUse { owner });
        }
        let wait_ns = account.debt_ns(now_ns);
        if wait_ns > 0 {
            return Err(PoolError::TooFast { owner, wait_ns });
        }
        *account = Account::CLOSED;
        Ok(())
    }

    pub(crate) fn holdings(&self, owner: Owner) -> Option<Holdings> {
        self.accounts.get(usize::from(owner.0))?.holdings()
    }

    fn account_mut(&mut self, owner: Owner) -> Result<&mut Account, PoolError> {
        let account = self.accounts.get_mut(usize::from(owner.0));
        account.filter(|account| account.is_open()).ok_or(PoolError::NoAccount { owner })
    }

    /// Returns the account to which blocks or frames are charged: it cannot be closed before they are given back.
    fn charged(&mut self, owner: Owner) -> Option<&mut Account> {
        let account = self.account_mut(owner).ok();
        if account.is_none() {
            impossible!("{owner:?} has blocks, so its account is open");
        }
        account
    }

    /// Serves a request, or charges the frames and the block that it takes to serve it.
    pub(crate) fn take<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        request: Request,
    ) -> Result<Served, PoolError> {
        let Request { owner, order, cpu } = request;
        let has_spare = self.spare_blocks > 0;
        let account = self.account_mut(owner)?;
        if order > Order::LARGE {
            return Err(PoolError::TooLarge { order });
        }
        account.charge_frames(owner, order.frames())?;
        let records = Records(frames);
        let pfn = if let Some(id) = account.find(order) {
            self.take_run(&records, id, request)
        } else if has_spare && !account.is_full() {
            self.adopt_spare(&records, owner).and_then(|id| self.take_run(&records, id, request))
        } else {
            // The block that is on its way may be the last that the owner may have. An interrupt's handler does not
            // wait for what it interrupted.
            let served = match account.grower {
                Some(grower) if grower != cpu => Ok(Served::Wait),
                _ => account.begin_growing(frames.machine(), owner, cpu, 1).map(|()| Served::NeedsBlock),
            };
            match served {
                Ok(Served::NeedsBlock) => self.counters.frames_out += order.frames(),
                _ => account.frames -= order.frames(),
            }
            return served;
        };
        match pfn {
            Some(pfn) => {
                self.counters.frames_out += order.frames();
                Ok(Served::Frame(pfn))
            }
            None => {
                self.account_mut(owner)?.frames -= order.frames();
                Err(PoolError::NotABlock { pfn: Pfn::new(0) })
            }
        }
    }

    /// Charges 1 GiB that is about to be taken in advance.
    pub(crate) fn begin_group<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        owner: Owner,
        cpu: CpuId,
    ) -> Result<(), PoolError> {
        self.account_mut(owner)?.begin_growing(frames.machine(), owner, cpu, MEMBERS)
    }

    /// Takes the charges of a request back: there is no block for it.
    pub(crate) fn end_growing(&mut self, owner: Owner, blocks: u64, frames: u64) {
        if let Some(account) = self.charged(owner) {
            account.blocks -= blocks;
            account.frames -= frames;
            account.grower = None;
        }
        self.counters.frames_out -= frames;
        self.counters.refusals += 1;
    }

    /// Serves the request for which the block was taken out of the map, and puts what is left on the lists.
    pub(crate) fn insert_and_take<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        id: BlockId,
        request: Request,
    ) -> Option<Pfn> {
        let records = Records(frames);
        self.counters.blocks_taken += 1;
        if let Some(account) = self.charged(request.owner) {
            account.grower = None;
        }
        records.store(id, &Record::new(Kind::Alone, request.owner));
        self.take_run(&records, id, request)
    }

    /// Puts a member of a 1-GiB block on the lists; the block's first is the first.
    pub(crate) fn insert_member<M: Machine>(&mut self, frames: &Frames<M>, id: BlockId, owner: Owner) {
        let records = Records(frames);
        if id == id.group() {
            records.set_free_members(id, 0);
        }
        let mut record = Record::new(Kind::Member, owner);
        self.place(&records, id, &mut record);
        self.count_free_member(&records, id.group(), Turned::Whole);
    }

    /// Puts a wholly free block on the lists.
    pub(crate) fn insert_spare<M: Machine>(&mut self, frames: &Frames<M>, id: BlockId, owner: Owner) {
        self.place(&Records(frames), id, &mut Record::new(Kind::Alone, owner));
    }

    /// Ends the arrival of 1 GiB, all of which is on the lists.
    pub(crate) fn end_group(&mut self, owner: Owner) {
        self.counters.blocks_taken += MEMBERS;
        if let Some(account) = self.charged(owner) {
            account.grower = None;
        }
    }

    /// Ends the charge for 1 GiB, which is in the map again.
    pub(crate) fn uncharge_group(&mut self, owner: Owner) {
        if let Some(account) = self.charged(owner) {
            account.blocks -= MEMBERS;
        }
    }

    /// Tells whether a block of `order` that begins at `pfn` is out; its owner.
    pub(crate) fn check_out<M: Machine>(
        &self,
        frames: &Frames<M>,
        pfn: Pfn,
        order: Order,
    ) -> Result<Owner, GiveError> {
        find_out(&Records(frames), pfn, order).map(|(owner, _)| owner)
    }

    /// Takes back what is out, zeroed.
    pub(crate) fn give<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        pfn: Pfn,
        order: Order,
    ) -> Result<(), GiveError> {
        let (records, id) = (Records(frames), BlockId::around(pfn));
        let (owner, mut record) = find_out(&records, pfn, order)?;
        records.clear_taken(pfn);
        for (word, bits) in record.bits.iter_mut().zip(mask(pfn, order)) {
            *word |= bits;
        }
        record.free += order.frames() as u32;
        if let Some(account) = self.charged(owner) {
            account.frames -= order.frames();
            account.blocks -= u64::from(record.is_whole() && record.kind == Kind::Alone);
        }
        self.place(&records, id, &mut record);
        if record.is_whole() && record.kind == Kind::Member {
            self.count_free_member(&records, id.group(), Turned::Whole);
        }
        self.counters.frames_out -= order.frames();
        Ok(())
    }

    /// Takes a spare off the lists if more than those that stay are there; `keep` says how many stay at most.
    pub(crate) fn pop_spare<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        keep: u64,
    ) -> Option<(BlockId, Owner)> {
        let stay = self.kept_blocks.max(self.counters.blocks() / KEPT_FRACTION);
        if self.spare_blocks <= keep.min(stay) {
            return None;
        }
        let (records, id) = (Records(frames), self.spares?);
        let record = records.load(id)?;
        self.unlink_from_bin(&records, id, &record);
        records.wipe(id, record.owner);
        Some((id, record.owner))
    }

    /// Takes a wholly free member of a 1-GiB block off the lists, and says whose it is.
    pub(crate) fn pop_member<M: Machine>(&mut self, frames: &Frames<M>, id: BlockId) -> Option<Owner> {
        let records = Records(frames);
        let record = records.load(id).filter(|record| record.is_whole() && record.kind == Kind::Member)?;
        self.unlink_from_bin(&records, id, &record);
        self.count_free_member(&records, id.group(), Turned::Partial);
        records.wipe(id, if id == id.group() { record.owner } else { Owner::NONE });
        Some(record.owner)
    }

    /// Makes a spare `owner`'s.
    fn adopt_spare<M: Machine>(&mut self, records: &Records<'_, M>, owner: Owner) -> Option<BlockId> {
        let id = self.spares?;
        let record = records.load(id)?;
        self.account_mut(owner).ok()?.charge_blocks(owner, 1).ok()?;
        self.unlink_from_bin(records, id, &record);
        records.store(id, &Record::new(Kind::Alone, owner));
        Some(id)
    }

    /// Marks a free run of a block as taken.
    fn take_run<M: Machine>(
        &mut self,
        records: &Records<'_, M>,
        id: BlockId,
        Request { owner, order, .. }: Request,
    ) -> Option<Pfn> {
        let mut record = records.load(id)?;
        let was_whole = record.is_whole();
        let run = if order == Order::LARGE { 0 } else { find_run(&record.bits, order.get().into())? };
        let pfn = id.start().plus(run.into());
        for (word, bits) in record.bits.iter_mut().zip(mask(pfn, order)) {
            *word &= !bits;
        }
        record.free -= order.frames() as u32;
        if was_whole && record.kind == Kind::Member {
            self.count_free_member(records, id.group(), Turned::Partial);
        }
        self.place(records, id, &mut record);
        records.set_taken(pfn, owner, order.get());
        Some(pfn)
    }
}

impl Account {
    fn begin_growing<M: Machine>(
        &mut self,
        machine: &M,
        owner: Owner,
        cpu: CpuId,
        blocks: u64,
    ) -> Result<(), PoolError> {
        self.charge_blocks(owner, blocks)?;
        if let Err(error) = self.spend_change(owner, || machine.now_ns()) {
            self.blocks -= blocks;
            return Err(error);
        }
        self.grower = Some(cpu);
        Ok(())
    }
}

/// Returns the owner of the block of `order` that begins at `pfn` and is out, and the state of the 2 MiB around it.
fn find_out<M: Machine>(
    records: &Records<'_, M>,
    pfn: Pfn,
    order: Order,
) -> Result<(Owner, Record), GiveError> {
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
    Ok((owner, record))
}

/// Returns the bits of a block of `order` that begins at `pfn`, in its 2-MiB block.
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
