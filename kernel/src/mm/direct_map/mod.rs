//! Changing the direct map: the kernel's one [`DirectMap`](rhumb_directmap::DirectMap), its lock, its flushes, its
//! reserve.
//!
//! ```text
//!   frames F ──change──> Changed<F> ──restore──> frames F
//!            lock, change, unlock; one round of flushes; fill up the reserve
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`table_supply`] | where page tables for changes come from: in here, because it grows by a change, and each change ends with it |
//! | [`absent`] | blocks out of the map, with the handle that windows take |
//! | [`pins`] | frames held in small pages on purpose |
//! | [`adopt`](mod@adopt) | changes that outlast their maker |
//!
//! A holder that changes frames gives their handle away for as long as they are changed: a frame that is read-only
//! or out of the map can be neither freed nor written by mistake (I5). Restoring returns the handle and cannot fail.
//!
//! **Interrupts.** A change may be made with interrupts off, also by an interrupt handler, because the lock keeps
//! interrupts off. The change takes its tables from the reserve and never sleeps. The reserve is refilled afterwards,
//! from the allocator: at once where interrupts are on, by the idle loop otherwise. Only [`pin_small`] must not be
//! called with interrupts off.
//! A caller holds no lock that an interrupt handler takes, because its flush may be in the round of a CPU that such a
//! handler has interrupted.
//!
//! **Steps.** The lock is held, and interrupts are off, for some microseconds at a time: a change of many pages is made
//! in steps, and so are looks at the whole map ([`for_each_hold`], [`validate`]).
//!
//! **Flushes.** One batch for each operation, flushed on all CPUs that run after the lock is released, and during a
//! long operation whenever the batch is due. Operations that meet there are flushed together
//! ([`Rounds`](rhumb_pagetable::flush::Rounds)). When an operation returns, no CPU uses what was true before it. A restore
//! that finds its page absent flushes nothing, because no CPU has an absent page. The restore that merges one block too
//! many for the tables that are kept flushes everything, and a change that waits for tables takes a round more.
//!
//! **Merged tables** are kept by the map, and flushed many at a time: when 64 are kept, when a change or the reserve
//! is in want of tables, and while the kernel waits for a command and none has been merged for a while. They go back to
//! the reserve after that flush, with the lock again (I6).

pub mod absent;
mod adopt;
mod pins;
pub mod table_supply;

use core::ops::ControlFlow;
use core::task::Poll;

use arrayvec::ArrayVec;
use rhumb_directmap::{
    Altering, At, Batch, BootMap, Cause, Change, ChangeError, Changing, Collapsed, Collapsing, Counters,
    Hold, HoldReport, Inconsistency, Limits, OwnerId, OwnerName, Reclaiming, Reserve, Restoring, Validation,
};
use rhumb_frames::{Frame, FrameRange};
use rhumb_machine::{Machine, Pfn, PfnRange, impossible};
use rhumb_pagetable::{Access, FlushCause};

use super::rules::KernelRules;
use super::tables::{self, KernelDirectMap};
use crate::arch::entropy;
use crate::cpu::machine::MACHINE;
use crate::cpu::{call, tlb};
use crate::facts::Boot;
use crate::mm::owners::{self, MAX_OWNERS, Owner};
pub use adopt::{adopt, first_left, leave};
pub use pins::pin_small;

/// Makes the map that boot has built one that can be changed. Once, at boot, when there is a frame allocator.
///
/// # Errors
/// No frame for tables or records, or more reservations than the list holds: the map stays as it is.
pub fn take_over(boot: &'static Boot) -> Result<(), ChangeError> {
    let boot_map = BootMap {
        root: tables::root(),
        base: boot.direct_map.base,
        largest: boot.largest_page,
        pages: boot.direct_map.pages,
        seed: entropy::random(),
        machine: MACHINE.identity(),
    };
    // SAFETY: boot has built the map so.
    unsafe { tables::hand_over(boot_map, KernelRules::of(boot)) };
    table_supply::fill();
    let mut numbers = ArrayVec::<(Owner, OwnerId), MAX_OWNERS>::new();
    for owner in owners::all().filter(|owner| owner.changes_map()) {
        // Parts of the kernel itself are trusted: their limit is none. Others get theirs when they come.
        numbers.push((owner, with(|map| map.add_owner(OwnerName::of(owner.name()), Limits::NONE))??));
    }
    numbers.into_iter().for_each(|(owner, id)| owner.set_in_map(id));
    Ok(())
}

/// A handle of frames: what may be changed.
///
/// # Safety
/// The handle's holder holds the frames: no other code uses them, and giving the handle away gives them away.
pub unsafe trait HeldFrames {
    /// Returns the frames.
    fn range(&self) -> PfnRange;
}

// SAFETY: the frame allocator gives out each frame once.
unsafe impl HeldFrames for Frame {
    fn range(&self) -> PfnRange {
        self.frames()
    }
}

// SAFETY: the frame allocator gives out each frame once; for other frames, the promise that came with
// `FrameRange::assume` is the same.
unsafe impl HeldFrames for FrameRange {
    fn range(&self) -> PfnRange {
        self.frames()
    }
}

/// Frames that are changed in the direct map. Their handle is inside until [`restore`] gives it back (I5).
#[must_use = "the frames are lost unless they are restored"]
#[derive(Debug)]
pub struct Changed<F: HeldFrames> {
    frames: F,
    held: Hold,
}

impl<F: HeldFrames> Changed<F> {
    /// Returns the frames.
    #[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "holders know their frames"))]
    pub fn range(&self) -> PfnRange {
        self.frames.range()
    }

    /// Tells whether they differ from ordinary frames. Where not, restoring them only returns them.
    pub const fn is_in_force(&self) -> bool {
        self.held.is_in_force()
    }
}

/// A refused change: nothing happened, and the frames come back.
#[derive(Debug)]
pub struct Refused<F> {
    /// The caller's frames.
    pub frames: F,
    /// The rule that would have been broken.
    pub error: ChangeError,
}

/// Changes how `frames` are mapped: all of them or none. When it returns, no CPU uses the old translation.
///
/// # Errors
/// See [`rhumb_directmap::DirectMap::change`].
///
/// Cost: one lock, one write for each page and 513 for each split, or 1 where the table of the block's last merge is
/// kept; one round of interrupts.
#[track_caller]
pub fn change<F: HeldFrames>(
    frames: F,
    change: Change,
    owner: Owner,
    reason: &'static str,
) -> Result<Changed<F>, Refused<F>> {
    let Some(id) = owner.in_map() else { return Err(Refused { frames, error: ChangeError::UnknownOwner }) };
    let cause = Cause::new(id, reason);
    // SAFETY: the frames' handle is here, and is kept until they are restored.
    let mut work = unsafe { Changing::new(frames.range(), change, cause, now()) };
    match edit(cause_of(change), |map, batch| work.step(map, batch)) {
        Ok(held) => Ok(Changed { frames, held }),
        Err(error) => Err(Refused { frames, error }),
    }
}

/// Changes frames once more.
///
/// # Errors
/// See [`rhumb_directmap::DirectMap::alter`].
///
/// Cost: as [`change()`], without splits.
pub fn alter<F: HeldFrames>(changed: &mut Changed<F>, change: Change) -> Result<(), ChangeError> {
    let mut work = Altering::new(&mut changed.held, change, now());
    edit(cause_of(change), |map, batch| work.step(map, batch))
}

/// Makes the frames ordinary, merges the pages that no other hold keeps split, and returns the frames. Cannot fail.
///
/// Cost: one lock, one write for each page and for each merge; one round of interrupts, but for absent pages.
pub fn restore<F: HeldFrames>(changed: Changed<F>) -> F {
    let Changed { frames, held } = changed;
    let mut work = Restoring::new(held);
    if let Err(error) = edit(FlushCause::Restore, |map, batch| work.step(map, batch).map(Ok)) {
        impossible!("the map that gave the handle is gone: {error}");
    }
    frames
}

/// Merges all pages that can be merged and that no hold keeps split. Finds none where every change was restored.
///
/// Cost: a walk for each 2 MiB of `frames`, and a read of each entry of each table.
pub fn collapse(frames: PfnRange) -> Collapsed {
    let mut work = Collapsing::new(frames);
    edit(FlushCause::Collapse, |map, batch| work.step(map, batch).map(Ok)).unwrap_or_default()
}

/// Returns all frames.
pub fn everywhere() -> PfnRange {
    PfnRange::below(Pfn::new(u64::MAX))
}

/// Looks at the map, or does what needs no flush, with its lock held.
///
/// # Errors
/// [`ChangeError::UnknownOwner`] before [`take_over`]: the map has no owners yet.
pub fn with<A>(act: impl FnOnce(&mut KernelDirectMap) -> A) -> Result<A, ChangeError> {
    tables::with_direct_map(act).ok_or(ChangeError::UnknownOwner)
}

/// Ranges that are looked at for each time that the lock is taken: a search in the journal for each.
const LOOKED_AT: usize = 16;

/// Calls `act` for each changed range that has a frame in `within`, in ascending order, until it breaks. The lock is
/// held for some of them at a time: others may come and go meanwhile.
pub fn for_each_hold<B>(
    within: PfnRange,
    mut act: impl FnMut(&KernelDirectMap, &HoldReport) -> ControlFlow<B>,
) -> Option<B> {
    let mut next = within.start();
    loop {
        let rest = PfnRange::new(next, within.end()).filter(|rest| !rest.is_empty())?;
        let looked = with(|map| {
            let mut last = None;
            for hold in map.holds_in(rest).take(LOOKED_AT) {
                last = Some(hold.frames.end());
                if let ControlFlow::Break(found) = act(map, &hold) {
                    return ControlFlow::Break(found);
                }
            }
            ControlFlow::Continue(last)
        });
        match looked.ok()? {
            ControlFlow::Break(found) => return Some(found),
            ControlFlow::Continue(last) => next = last?,
        }
    }
}

/// Tells whether every frame of `frames` is held as executable.
pub fn is_held_executable(frames: PfnRange) -> bool {
    let mut end = frames.start();
    let _: Option<()> = for_each_hold(frames, |_, hold| {
        let executable = hold.pinned.is_none() && hold.state.access == Access::ReadExecute;
        if !executable || hold.frames.start() > end {
            return ControlFlow::Break(());
        }
        end = hold.frames.end();
        ControlFlow::Continue(())
    });
    !frames.is_empty() && end >= frames.end()
}

/// Checks journal and counts against the tables, in steps. Changes by others meanwhile are no findings.
///
/// # Errors
/// The first thing that does not fit.
pub fn validate() -> Result<(), Inconsistency> {
    let mut work = Validation::new();
    loop {
        match with(|map| work.step(map)) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(answer)) => return answer,
            Err(_) => return Ok(()),
        }
    }
}

/// Returns the counts of changes.
pub fn counters() -> Counters {
    with(|map| map.counters()).unwrap_or_default()
}

/// Returns this CPU and the time.
fn now() -> At {
    At::now(&MACHINE, MACHINE.pin().pinned())
}

/// Changes the map step by step, flushes the changed pages on all CPUs, and fills up the reserve. An operation that
/// waits for tables flushes in between, or looks a bounded number of times whether another CPU has flushed them.
fn edit<A>(
    cause: FlushCause,
    mut act: impl FnMut(&mut KernelDirectMap, &mut Batch) -> Poll<Result<A, ChangeError>>,
) -> Result<A, ChangeError> {
    let mut batch = Batch::new();
    let mut has_split = false;
    loop {
        let (step, mut left) = with(|map| {
            let before = map.counters();
            let step = act(map, &mut batch);
            has_split |= is_split(before, map.counters());
            (step, map.reserve())
        })?;
        if batch.is_due() || step.is_ready() && !batch.is_empty() {
            let cause = match batch.tables() {
                0 if has_split => FlushCause::Split,
                0 => cause,
                _ => FlushCause::Collapse,
            };
            left = finish(&mut batch, cause, left)?;
        }
        if let Poll::Ready(answer) = step {
            table_supply::fill_if_allowed(left);
            return answer;
        }
        // The operation may wait for tables that another CPU flushes, and that CPU for an answer of this one, which may
        // have interrupts off.
        call::serve_if_here();
        core::hint::spin_loop();
    }
}

/// Flushes a batch, gives its tables back, and leaves it empty. Returns what the reserve has then, which was `left`.
fn finish(batch: &mut Batch, cause: FlushCause, left: Reserve) -> Result<Reserve, ChangeError> {
    let has_tables = batch.tables() > 0;
    let flushed = {
        let guard = MACHINE.pin();
        batch.flush_in(&tlb::ROUNDS, &MACHINE, guard.pinned(), tlb::waiting_for_round())
    };
    tlb::count(cause, flushed.stats());
    if !has_tables {
        return Ok(left);
    }
    let mut work = Reclaiming::new(flushed);
    loop {
        if let Some(left) = with(|map| work.step(map).is_ready().then(|| map.reserve()))? {
            return Ok(left);
        }
    }
}

/// Has one flush of everything free the merged tables that the map keeps, and says how many those were.
fn free_kept_tables() -> u64 {
    let mut batch = Batch::new();
    let emptied = with(|map| (map.empty_quarantine(&mut batch), map.reserve()));
    let Ok((tables @ 1.., left)) = emptied else { return 0 };
    match finish(&mut batch, FlushCause::Collapse, left) {
        Ok(_) => tables,
        Err(error) => impossible!("the map that gave the tables is gone: {error}" => 0),
    }
}

/// Returns the cause that a flush is counted by, if no page is split and no table freed.
const fn cause_of(change: Change) -> FlushCause {
    match change {
        Change::NotPresent => FlushCause::Remove,
        Change::Present | Change::Default => FlushCause::Restore,
        _ => FlushCause::Attributes,
    }
}

/// Tells whether a page was split in between.
const fn is_split(before: Counters, after: Counters) -> bool {
    after.level2_splits != before.level2_splits || after.level3_splits != before.level3_splits
}
