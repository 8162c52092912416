//! [`Flushes`]: the numbers of the map's full flushes, by which an area knows that one has happened since it was given
//! back.
//!
//! ```text
//!   CPU 0: hide entries, fence, stamp = begun + 1 ─────────────────────────────── over >= stamp: reuse
//!   CPU 1:                                   begun += 1, full flush of all CPUs, over = that number
//! ```
//!
//! **Why a stamp is right** (I6). The CPU that gives an area back hides its entries, passes a full fence, and then reads
//! `begun`. A flusher adds to `begun` first. Where the reader has not seen that addition, the addition comes later in
//! the order of sequentially consistent operations, and so does the flush: each CPU drops what it has cached after the
//! entries were hidden. So the flush of number `begun + 1`, or of a higher one, drops the area's translations.
//! A flush that began before proves nothing: some CPUs may have answered it already.
//!
//! The number of a flush is the memory that waits for it ([`Unflushed`]), and comes out by the flush alone.
//!
//! Two numbers are kept of what is over, because a flush may be left to lazy CPUs, which walk tables on speculation: the
//! tables of an area wait for a flush that lazy CPUs made at once, too.

use rhumb_machine::Pinned;
use rhumb_pagetable::flush::{FlushStats, Unflushed};
use rhumb_sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

use super::home::{FlushKey, FlushNumber, Home, identity};

const KEY: FlushKey = FlushKey(());

/// The CPUs that a flush reaches at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reach {
    /// Those that run; lazy ones flush before they use anything.
    Running,
    /// All, because tables wait.
    All,
}

/// The numbers, on a line of their own: written once for each flush, read at each free.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Flushes {
    begun: AtomicU64,
    over: AtomicU64,
    over_for_all: AtomicU64,
}

impl Flushes {
    pub(super) fn new() -> Self {
        Self { begun: AtomicU64::new(0), over: AtomicU64::new(0), over_for_all: AtomicU64::new(0) }
    }

    /// Returns the number of the next flush to begin: for entries that this CPU has hidden before the call.
    #[inline]
    pub(super) fn stamp(&self) -> u64 {
        fence(SeqCst);
        self.begun.load(SeqCst) + 1
    }

    /// Tells whether a flush of this number, or of a later one, is over.
    #[inline]
    pub(super) fn is_over(&self, stamp: u64, reach: Reach) -> bool {
        let over = match reach {
            Reach::Running => &self.over,
            Reach::All => &self.over_for_all,
        };
        over.load(Acquire) >= stamp
    }

    /// Returns how many full flushes have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Flushes everything on every CPU that the reach names.
    pub(super) fn flush<H: Home>(&self, home: &H, pinned: Pinned<'_>, reach: Reach) -> FlushStats {
        let number = self.begin();
        let mut unflushed = Unflushed::new(FlushNumber(number), KEY);
        unflushed.batch_mut(KEY).add_everything();
        if reach == Reach::All {
            unflushed.batch_mut(KEY).refuse_laziness();
        }
        let flushed = home.flush(pinned, &mut unflushed);
        let stats = flushed.stats();
        if let Some(FlushNumber(number)) = flushed.redeem(identity(home)) {
            self.end(number, reach);
        }
        stats
    }

    /// Returns the number of a flush that begins now.
    fn begin(&self) -> u64 {
        self.begun.fetch_add(1, SeqCst) + 1
    }

    /// Notes that the flush of this number is over on the CPUs that it reached.
    fn end(&self, number: u64, reach: Reach) {
        if reach == Reach::All {
            self.over_for_all.fetch_max(number, Release);
        }
        self.over.fetch_max(number, Release);
    }
}

/// Flushes what `add` adds to the batch. Tells whether it was done, as the home should.
pub(super) fn flush_exactly<H: Home>(
    home: &H,
    pinned: Pinned<'_>,
    add: impl FnOnce(&mut rhumb_pagetable::FlushBatch),
) -> bool {
    let mut unflushed = Unflushed::new(FlushNumber::default(), KEY);
    add(unflushed.batch_mut(KEY));
    home.flush(pinned, &mut unflushed).redeem(identity(home)).is_some()
}

#[cfg(all(test, shuttle))]
mod tests;
