//! Frames come back to a pool: masks of single frames, runs within a block, whole blocks, and any range.
//!
//! Nothing is merged: a run is free when its bits are set, and a block whose last bit comes back goes to the tree of
//! whole blocks. A frame that is free already is refused and counted, and nothing else changes.

use rhumb_machine::{Order, Pfn, PfnRange};

use crate::pool::PoolGuard;
use crate::pool::block::{Block, Info, Isolated, State};
use crate::pool::words::{self, FRAMES, WORDS};
use rhumb_sync::atomic::Relaxed;

/// Whether a block that was named is free now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    Back,
    /// It was not allocated like this: nothing has changed.
    Refused,
}

impl PoolGuard<'_> {
    /// Gives back an allocated block of any order.
    pub(crate) fn give_block(&mut self, pfn: Pfn, order: Order) {
        if order < Order::LARGE {
            self.give_run(pfn, order);
        } else {
            self.give_blocks(pfn, order);
        }
    }

    /// Gives back the frames of `mask` in the word of the pool with this number.
    #[inline]
    pub(crate) fn give_word(&mut self, word: usize, mask: u64) {
        self.give(word / WORDS, word % WORDS, 1, mask);
    }

    /// Gives back an aligned run of `order`, at most 8; frames of it that are free already are refused.
    pub(crate) fn give_run(&mut self, pfn: Pfn, order: Order) {
        let offset = self.pool.offset(pfn);
        let log2 = u32::from(order.get());
        let mask = words::run_mask((offset % 64) as u32, log2.min(6));
        let count = (order.frames() as usize).div_ceil(64);
        self.give(offset / 512, offset % 512 / 64, count, mask);
    }

    /// Sets `mask` in `count` words of `block` from word `first` on.
    #[inline]
    fn give(&mut self, block: usize, first: usize, count: usize, mask: u64) {
        let pool = self.pool;
        let (Some(record), Some(words)) = (pool.blocks.get(block), pool.words.get(block * WORDS..)) else {
            return;
        };
        let info = record.info();
        if info.state() != State::Partial {
            self.refuse(u64::from(mask.count_ones()) * count as u64);
            return;
        }
        let (mut frames, mut rank) = (0, info.rank());
        for word in &words[first..first + count] {
            let old = word.load(Relaxed);
            let new = old | mask;
            if old & mask != 0 {
                self.refuse(u64::from((old & mask).count_ones()));
            }
            word.store(new, Relaxed);
            frames += (new & !old).count_ones();
            while rank < 7 && words::run_starts(new, rank) != 0 {
                rank += 1;
            }
        }
        let free = info.free() + frames;
        if rank >= 7 {
            // A word is all free: perhaps its neighbours are, too.
            let full =
                (0..WORDS).fold(0, |full, at| full | u32::from(words[at].load(Relaxed) == u64::MAX) << at);
            rank = words::full_words_rank(full);
        }
        let whole = free == FRAMES && !info.is_isolated();
        self.rebin(block, if whole { Info::WHOLE } else { info.with_free(free, rank) });
        self.add_free(u64::from(frames));
    }

    /// Gives back an allocated block of `order`, at least 9, unless there is no such block. Parts of it that are
    /// isolated stay so: they are free, and are not given out.
    pub(crate) fn give_blocks(&mut self, pfn: Pfn, order: Order) -> Given {
        let first = self.pool.offset(pfn) / 512;
        let count = 1 << (order.get() - Order::LARGE.get());
        let head = self.pool.blocks.get(first).map(Block::info);
        if head.is_none_or(|info| info.state() != State::Large || info.order() != order) {
            self.refuse(order.frames());
            return Given::Refused;
        }
        let blocks = first..first + count;
        if blocks.clone().any(|block| self.pool.blocks[block].info().is_isolated()) {
            for block in blocks {
                let info = self.pool.blocks[block].info();
                let new = if info.is_isolated() { self.isolated(block, info) } else { Info::WHOLE };
                self.rebin(block, new);
            }
        } else {
            self.make_whole(first, count);
        }
        self.add_free(order.frames());
        Given::Back
    }

    /// Gives back any range within the pool's span, none of which is free. The caller bounds its length.
    pub(crate) fn give_range(&mut self, range: PfnRange) {
        let (mut at, end) = (self.pool.offset(range.start()), self.pool.offset(range.end()));
        while at < end {
            let stop = end.min((at / 64 + 1) * 64);
            let mask = (u64::MAX >> (64 - (stop - at))) << (at % 64);
            self.give_word(at / 64, mask);
            at = stop;
        }
    }

    /// Keeps the frames of a block that are free, now or later, from being given out.
    pub(crate) fn isolate(&mut self, block: usize) {
        self.clear_records(block);
        let info = self.pool.blocks[block].info();
        let new = match info.state() {
            State::Whole => self.isolated(block, info),
            State::Partial | State::Large => info.with_isolated(Isolated::Yes),
            State::Absent => info,
        };
        self.rebin(block, new);
    }

    /// Returns the record of a block that is wholly free, and isolated.
    fn isolated(&mut self, block: usize, info: Info) -> Info {
        self.write_bits(block, &[u64::MAX; WORDS]);
        let partial = Info::full(info.kind()).with_free(FRAMES, words::full_words_rank(0xff));
        partial.with_isolated(Isolated::Yes)
    }

    /// Ends the isolation of a block.
    pub(crate) fn release(&mut self, block: usize) {
        let old = self.pool.blocks[block].info();
        if old.is_isolated() {
            let info = old.with_isolated(Isolated::No);
            self.rebin(block, if info.free() == FRAMES { Info::WHOLE } else { info });
        }
    }

    #[cold]
    fn refuse(&mut self, frames: u64) {
        let refused = &self.pool.refused;
        refused.store(refused.load(Relaxed) + frames, Relaxed);
    }
}
