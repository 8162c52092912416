//! [`Unflushed`] and [`Flushed`]: memory that waits for a flush, and comes out by that flush alone (I6).
//!
//! ```text
//!   Unflushed<W> { batch of pages and tables, W } ──flush──> Flushed<W> { how much was dropped, W } ──redeem──> W
//! ```
//!
//! The batch and the memory that waits for it are one value, so that no other batch's flush releases the memory. The
//! ticket is neither `Copy` nor `Clone` and is redeemed by value, so that it releases the memory once. Only the code
//! that the kind of memory trusts ([`Waiting`]) can write either half, so that no memory is swapped out to wait for
//! another batch.
//!
//! Why not a stamp that each release looks at: a stamp proves that *some* flush happened.

use core::mem;

use rhumb_machine::{CpuWords, Pinned, Tlb};

use crate::flush::batch::FlushBatch;
use crate::flush::rounds::Rounds;
use crate::flush::stats::FlushStats;

/// A kind of memory that waits for flushes, and the code that decides which of it waits for which flush.
///
/// Only that code can make a [`Waiting::Key`], since the type has no public constructor: so no other takes memory out
/// of an [`Unflushed`], puts memory in, or empties its batch. The holder of the key only ever adds memory that nothing
/// refers to any more, in the same go as what has to be flushed for it.
///
/// The tables that [`Mapper::unmap`](crate::Mapper::unmap) detaches have no key at all: the mapper alone adds to them.
pub trait Waiting {
    /// The right to change the memory that waits, and its batch.
    type Key: Copy;
}

/// Memory, `W`, that CPUs may still reach, and the batch whose flush ends that.
///
/// It comes out by the flush, and by nothing else:
///
/// ```compile_fail,E0599
/// # use rhumb_pagetable::flush::Unflushed;
/// fn reuse<W>(unflushed: Unflushed<W>) -> Option<W> {
///     unflushed.redeem(0) // not flushed yet
/// }
/// ```
///
/// nor may it be said in passing that there was nothing to flush:
///
/// ```compile_fail,E0133
/// # use rhumb_pagetable::flush::Unflushed;
/// fn reuse<W>(unflushed: Unflushed<W>) -> Option<W> {
///     unflushed.never_walked().redeem(0)
/// }
/// ```
///
/// nor is it taken out to wait for another batch, which may be empty:
///
/// ```compile_fail,E0599
/// # use rhumb_pagetable::UnmapOutcome;
/// fn take_out(unmapped: &mut UnmapOutcome) {
///     let _ = core::mem::take(unmapped.tables.waiting_mut());
/// }
/// ```
/// ```compile_fail,E0061
/// # use rhumb_pagetable::DetachedTables;
/// # use rhumb_pagetable::flush::Unflushed;
/// fn wait_anew(tables: DetachedTables) -> Unflushed<DetachedTables> {
///     Unflushed::new(tables)
/// }
/// ```
///
/// nor is its own batch emptied, by a flush on no CPU or by an empty batch in its place:
///
/// ```compile_fail,E0599
/// # use rhumb_machine::{CpuMask, Pinned, Tlb};
/// # use rhumb_pagetable::UnmapOutcome;
/// fn empty<M: Tlb>(unmapped: &mut UnmapOutcome, machine: &M, pinned: Pinned<'_>) {
///     unmapped.tables.batch_mut().flush_on(machine, pinned, &CpuMask::EMPTY);
/// }
/// ```
/// ```compile_fail,E0594
/// # use rhumb_pagetable::{FlushBatch, UnmapOutcome};
/// fn exchange(unmapped: &mut UnmapOutcome) {
///     *unmapped.tables.batch() = FlushBatch::new();
/// }
/// ```
///
/// and where the memory is of a kind that has a [key](Waiting), others do not have the key:
///
/// ```compile_fail,E0277
/// # use rhumb_pagetable::flush::{Unflushed, Waiting};
/// fn empty<W: Waiting + Default>(unflushed: &mut Unflushed<W>) {
///     let _ = core::mem::take(unflushed.waiting_mut(Default::default()));
/// }
/// ```
#[must_use = "the memory may be used again only after the flush"]
#[derive(Debug, Default)]
pub struct Unflushed<W> {
    pub(crate) batch: FlushBatch,
    pub(crate) waiting: W,
}

impl<W: Waiting> Unflushed<W> {
    /// Makes an empty batch, for which `waiting` waits: memory of which nothing has to be flushed yet.
    pub const fn new(waiting: W, _: W::Key) -> Self {
        Self { batch: FlushBatch::new(), waiting }
    }

    /// Returns the batch, for adding to it.
    pub const fn batch_mut(&mut self, _: W::Key) -> &mut FlushBatch {
        &mut self.batch
    }

    /// Returns the memory that waits, for adding to it.
    pub const fn waiting_mut(&mut self, _: W::Key) -> &mut W {
        &mut self.waiting
    }
}

impl<W> Unflushed<W> {
    /// Returns the batch.
    pub const fn batch(&self) -> &FlushBatch {
        &self.batch
    }

    /// Returns the memory that waits.
    pub const fn waiting(&self) -> &W {
        &self.waiting
    }

    /// Drops the batch on every CPU that may hold a translation ([`FlushBatch::flush`]), and empties it: all the memory
    /// that has waited is in the ticket.
    ///
    /// Cost: that of [`FlushBatch::flush`].
    pub fn flush<M>(&mut self, machine: &M, pinned: Pinned<'_>) -> Flushed<W>
    where
        M: Tlb + ?Sized,
        W: Default,
    {
        let stats = self.batch.flush(machine, pinned);
        Flushed { stats, machine: Some(machine.identity()), waiting: mem::take(&mut self.waiting) }
    }

    /// Drops the batch as [`Unflushed::flush`] does, or by a round that another CPU makes for several
    /// ([`Rounds`]). Calls `wait` again and again while it waits for such a round; `wait` answers calls of other CPUs.
    ///
    /// # Panics
    /// If the token is another machine's.
    ///
    /// Cost: that of [`FlushBatch::flush`]; where another CPU makes a round, the rest of that round and one more.
    pub fn flush_in<M>(
        &mut self,
        rounds: &Rounds,
        machine: &M,
        pinned: Pinned<'_>,
        wait: impl FnMut(),
    ) -> Flushed<W>
    where
        M: Tlb,
        W: Default,
    {
        let stats = rounds.flush(&mut self.batch, machine, pinned, wait);
        Flushed { stats, machine: Some(machine.identity()), waiting: mem::take(&mut self.waiting) }
    }

    /// Drops the batch on the CPUs of `targets` only.
    ///
    /// # Safety
    /// No other CPU holds a translation, or an entry of a table, of what was changed, nor walks there on speculation.
    #[expect(unsafe_code, reason = "claims what the type cannot show")]
    pub unsafe fn flush_on<M>(
        &mut self,
        machine: &M,
        pinned: Pinned<'_>,
        targets: &(impl CpuWords + ?Sized),
    ) -> Flushed<W>
    where
        M: Tlb + ?Sized,
        W: Default,
    {
        let stats = self.batch.flush_on(machine, pinned, targets);
        Flushed { stats, machine: Some(machine.identity()), waiting: mem::take(&mut self.waiting) }
    }

    /// Makes the ticket without a flush: for a tree that no CPU walks.
    ///
    /// # Safety
    /// No CPU holds a translation, or an entry of a table, of what was changed, nor walks there on speculation: the
    /// tree was never a CPU's, or each CPU has dropped everything since.
    #[expect(unsafe_code, reason = "claims what the type cannot show")]
    pub unsafe fn never_walked(self) -> Flushed<W> {
        Flushed { stats: FlushStats::NOTHING, machine: None, waiting: self.waiting }
    }
}

/// The ticket of a flush, and the memory that has waited for it, which no CPU of the machine that has flushed reaches
/// any more.
///
/// It cannot be copied, so it is redeemed once:
///
/// ```compile_fail,E0382
/// # use rhumb_pagetable::flush::Flushed;
/// fn twice<W>(flushed: Flushed<W>) -> (Option<W>, Option<W>) {
///     (flushed.redeem(0), flushed.redeem(0))
/// }
/// ```
/// ```compile_fail,E0507
/// # use rhumb_pagetable::flush::Flushed;
/// fn twice<W: Clone>(flushed: &Flushed<W>) -> Option<W> {
///     flushed.clone().redeem(0)
/// }
/// ```
///
/// and made by a flush alone:
///
/// ```compile_fail,E0451
/// # use rhumb_pagetable::flush::{Flushed, FlushStats};
/// fn forged<W>(waiting: W) -> Flushed<W> {
///     Flushed { stats: FlushStats::NOTHING, machine: None, waiting }
/// }
/// ```
#[must_use = "dropping it loses the memory that has waited"]
#[derive(Debug)]
pub struct Flushed<W> {
    stats: FlushStats,
    /// The machine that has flushed, where one had to.
    machine: Option<u32>,
    waiting: W,
}

impl<W> Flushed<W> {
    /// Returns how much was flushed.
    pub const fn stats(&self) -> FlushStats {
        self.stats
    }

    /// Returns the memory that has waited, if the machine of that [identity](rhumb_machine::Machine::identity), whose
    /// CPUs could reach it, is the one that has flushed.
    pub fn redeem(self, machine: u32) -> Option<W> {
        self.machine.is_none_or(|flushed| flushed == machine).then_some(self.waiting)
    }

    /// Returns the memory that has waited, whichever machine has flushed.
    pub(crate) fn into_waiting(self) -> W {
        self.waiting
    }
}
