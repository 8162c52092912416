//! Frames leave a pool: a batch of single frames, a run within a block, or whole blocks.
//!
//! Each search goes: blocks of the kind that were opened for such orders ([`bin`]), fullest first; then a whole block,
//! which becomes one of this kind; then any partial block of the kind; then blocks of the other kinds
//! ([`Mobility::steals_from`]), emptiest first. A block that is stolen while at least half of it is free changes its
//! kind, and one that unmovable frames enter always does, so that later unmovable frames go to the same block and not
//! to another one.
//!
//! Movable memory is taken from the top of the pool, the rest from the bottom.

use rhumb_machine::{Order, Pfn, PfnRange};

use crate::handle::raw::Raw;
use crate::pool::PoolGuard;
use crate::pool::block::{Info, State, bin};
use crate::pool::tree::End;
use crate::pool::words::{self, Bits, FRAMES, WORDS};
use crate::request::Mobility;
use rhumb_sync::atomic::Relaxed;

/// Single frames of one block that left the pool together.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    /// The block's first frame.
    pub(crate) start: Pfn,
    pub(crate) bits: Bits,
    pub(crate) frames: u64,
}

impl Batch {
    /// Calls `each` with every word that has any frame: the handle number of bit 0, and the bits. `first` is a handle to
    /// the block's first frame.
    pub(crate) fn for_each_word(&self, first: Raw, mut each: impl FnMut(Raw, u64)) {
        let firsts = (first.0..).step_by(64).map(Raw);
        firsts.zip(self.bits).filter(|&(_, word)| word != 0).for_each(|(first, word)| each(first, word));
    }
}

const fn end_for(kind: Mobility) -> End {
    match kind {
        Mobility::Movable => End::High,
        _ => End::Low,
    }
}

impl PoolGuard<'_> {
    /// Takes up to `most` free frames of the best block, and leaves `floor` frames in the pool.
    pub(crate) fn take_batch(&mut self, kind: Mobility, most: u32, floor: u64) -> Option<Batch> {
        let spare = self.pool.free_frames().checked_sub(floor)?;
        let most = u64::from(most).min(spare) as u32;
        if most == 0 {
            return None;
        }
        let block = self.find_block(kind, 0)?;
        let info = self.pool.blocks[block].info();
        let words = &self.pool.words[block * WORDS..][..WORDS];
        let mut bits = self.pool.bits(block);
        let frames = info.free().min(most);
        let mut left = [0; WORDS];
        if frames < info.free() {
            left = split_off(&mut bits, frames);
        }
        for (word, left) in words.iter().zip(left) {
            word.store(left, Relaxed);
        }
        let new = info.partial().with_free(info.free() - frames, words::block_rank(&left));
        self.rebin(block, new);
        self.sub_free(u64::from(frames));
        Some(Batch { start: self.pool.block_start(block), bits, frames: u64::from(frames) })
    }

    /// Tells whether a partial block of `kind` has single frames to give.
    pub(crate) fn has_partial(&self, kind: Mobility) -> bool {
        self.bins(kind).best(bin::grain_of(0), 0).is_some()
    }

    /// Takes aligned runs of `order`, 0..=8, up to `most` of one block, and leaves `floor` frames in the pool. Says
    /// whether there was one.
    pub(crate) fn take_runs(
        &mut self,
        order: Order,
        kind: Mobility,
        floor: u64,
        most: u64,
        each: impl FnMut(Pfn),
    ) -> Option<()> {
        let most = self.spare_runs(order, floor)?.min(most);
        if most == 0 {
            return None;
        }
        let block = self.find_block(kind, u32::from(order.get()))?;
        self.take_runs_of(block, order, most, each)
    }

    /// Returns how many runs of `order` the pool has at most if it keeps `floor` frames.
    fn spare_runs(&self, order: Order, floor: u64) -> Option<u64> {
        Some(self.pool.free_frames().checked_sub(floor)? >> order.get())
    }

    /// Takes runs as [`PoolGuard::take_runs`] takes them, but from partial blocks of this kind that were opened for such
    /// orders only.
    #[inline]
    pub(crate) fn take_spare_runs(
        &mut self,
        order: Order,
        kind: Mobility,
        floor: u64,
        most: u64,
        each: impl FnMut(Pfn),
    ) -> Option<()> {
        let log2 = usize::from(order.get());
        let bin = self.bins(kind).best(bin::grain_of(log2), log2)?;
        let block = self.head(kind, bin)?;
        let most = self.spare_runs(order, floor)?.min(most);
        self.take_runs_of(block, order, most, each)
    }

    /// Takes a run as [`PoolGuard::take_runs`] takes it, but from partial blocks of this kind only.
    pub(crate) fn take_partial(&mut self, order: Order, kind: Mobility) -> Option<Pfn> {
        let log2 = usize::from(order.get());
        let found = || {
            self.bins(kind).best(bin::grain_of(log2), log2).or_else(|| self.bins(kind).best_of_others(log2))
        };
        let bin = (order < Order::LARGE).then(found)??;
        let block = self.head(kind, bin)?;
        let mut run = None;
        self.take_runs_of(block, order, 1, |pfn| run = Some(pfn))?;
        run
    }

    fn take_runs_of(
        &mut self,
        block: usize,
        order: Order,
        most: u64,
        mut each: impl FnMut(Pfn),
    ) -> Option<()> {
        let (log2, frames) = (u32::from(order.get()), order.frames());
        let info = self.pool.blocks[block].info();
        let mut bits = self.pool.bits(block);
        let mut taken = 0;
        while taken < most
            && let Some(start) = words::find_run(&bits, log2)
        {
            let (first, count) = (start as usize / 64, (frames as usize).div_ceil(64));
            let mask = words::run_mask(start % 64, log2.min(6));
            bits[first..first + count].iter_mut().for_each(|word| *word &= !mask);
            each(self.pool.block_start(block).plus(u64::from(start)));
            taken += 1;
        }
        if taken == 0 {
            return None;
        }
        self.write_bits(block, &bits);
        let free = info.free() - (taken * frames) as u32;
        self.rebin(block, info.partial().with_free(free, words::block_rank(&bits)));
        self.sub_free(taken * frames);
        Some(())
    }

    /// Takes an aligned run of whole blocks, `order` being 9 or more.
    pub(crate) fn take_blocks(&mut self, order: Order, kind: Mobility, floor: u64) -> Option<Pfn> {
        if self.pool.free_frames() < floor + order.frames() {
            return None;
        }
        let log2 = u32::from(order.get() - Order::LARGE.get());
        let tree = &self.pool.whole;
        let found = if log2 == 0 { tree.find(end_for(kind)) } else { tree.find_run(log2, end_for(kind)) };
        let block = found? - self.pool.skew;
        self.claim_blocks(block, order, kind);
        Some(self.pool.block_start(block))
    }

    /// Marks whole blocks as one allocated block of `order`.
    pub(crate) fn claim_blocks(&mut self, block: usize, order: Order, kind: Mobility) {
        let count = 1 << (order.get() - Order::LARGE.get());
        self.take_whole(block, count, |at| Info::large(if at == block { order } else { Order::BASE }, kind));
        self.sub_free(order.frames());
    }

    /// Returns the block that a run of 2^`log2` frames, at most 8, is best taken from. A whole block comes back still
    /// whole, and any block with the kind that it shall have.
    #[inline]
    fn find_block(&mut self, kind: Mobility, log2: u32) -> Option<usize> {
        let grain = bin::grain_of(log2 as usize);
        if let Some(bin) = self.bins(kind).best(grain, log2 as usize) {
            return self.head(kind, bin);
        }
        if let Some(bit) = self.pool.whole.find(end_for(kind)) {
            let block = bit - self.pool.skew;
            self.clear_records(block);
            self.pool.blocks[block].set(Info::WHOLE.with_kind(kind).with_grain(grain));
            return Some(block);
        }
        if let Some(bin) = self.bins(kind).best_of_others(log2 as usize) {
            return self.head(kind, bin);
        }
        self.steal(kind, log2)
    }

    #[cold]
    fn steal(&mut self, kind: Mobility, log2: u32) -> Option<usize> {
        for other in kind.steals_from() {
            let Some(bin) = self.bins(other).emptiest(log2 as usize) else { continue };
            let block = self.head(other, bin)?;
            let info = self.pool.blocks[block].info();
            if kind == Mobility::Unmovable || info.free() >= FRAMES / 2 {
                self.rebin(block, info.with_kind(kind));
            }
            return Some(block);
        }
        None
    }

    /// Takes the frames of `range`, which lies in one block, if the block is isolated and all of them are free.
    ///
    /// # Errors
    /// The first frame that is not; nothing has changed then.
    pub(crate) fn claim(&mut self, range: PfnRange) -> Result<(), Pfn> {
        let (start, frames) = (self.pool.offset(range.start()), range.frames());
        let (block, at) = (start / 512, start % 512);
        let info = self.pool.blocks[block].info();
        if info.state() != State::Partial || !info.is_isolated() {
            return Err(range.start());
        }
        let (mut bits, wanted) = (self.pool.bits(block), words::mask_of(at, at + frames as usize));
        if let Some(missing) = words::first_missing(&bits, &wanted) {
            return Err(self.pool.block_start(block).plus(u64::from(missing)));
        }
        bits.iter_mut().zip(wanted).for_each(|(bits, wanted)| *bits &= !wanted);
        self.write_bits(block, &bits);
        self.rebin(block, info.with_free(info.free() - frames as u32, words::block_rank(&bits)));
        self.sub_free(frames);
        Ok(())
    }

    /// Writes all the bits of a block that was whole or is new.
    pub(crate) fn write_bits(&mut self, block: usize, bits: &Bits) {
        for (word, &value) in self.pool.words[block * WORDS..].iter().zip(bits) {
            word.store(value, Relaxed);
        }
    }
}

/// Leaves the first `frames` set bits in `bits` and returns the others.
fn split_off(bits: &mut Bits, frames: u32) -> Bits {
    let (mut wanted, mut left) = (frames, [0; WORDS]);
    for (word, left) in bits.iter_mut().zip(&mut left) {
        let all = *word;
        if all.count_ones() > wanted {
            let mut rest = all;
            for _ in 0..wanted {
                rest &= rest - 1;
            }
            (*word, *left) = (all & !rest, rest);
        }
        wanted -= word.count_ones();
    }
    left
}
