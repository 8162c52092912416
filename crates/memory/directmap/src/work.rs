//! Changes of any length in steps, so that the map's lock is held for a bounded time.
//!
//! ```text
//!   Changing:   claim the frames ─> survey, some entries in each step ─> split, set, some in each step ─> Hold
//!                        │ refused: the claim is struck out, nothing was set
//!   Altering:   set, some entries in each step    Restoring: set, some entries in each step ─> merge
//! ```
//!
//! A step looks at or writes [`STEP_ENTRIES`] entries, and splits or merges four large pages on top of that. A change
//! that one step can make is made in one, and no state is kept in between. Longer work is *claimed* with its first
//! step: its hold is in the journal, so its frames are its own, and the survey's findings stay true. So a change is
//! made whole or not at all (I7), however many steps it takes, and changes of other owners between two steps concern
//! other frames.
//!
//! One flush at the end does for all steps. Until then a CPU may use the old translation of any page, whichever step
//! has set it.

use core::task::Poll;

use rhumb_machine::{Pfn, PfnRange};
use rhumb_pagetable::TableMemory;

use crate::batch::Batch;
use crate::error::ChangeError;
use crate::limits::{ENTRIES_OF_A_STEP, steps_of};
use crate::map::{DirectMap, Hold};
use crate::map_id::{MapId, OtherMap};
use crate::records::{At, Cause, Handle, HoldId};
use crate::rules::Rules;
use crate::shortage::Patience;
use crate::state::{BadChange, Change, State};
use crate::survey::SplitList;

/// Entries that one step looks at or writes. At 2 to 5 ns for each, a step takes 5 to 10 us; where tables are slower to
/// reach, as on the hosted machine, 40 us.
pub const STEP_ENTRIES: u64 = 2048;

/// How far a change is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begin,
    Survey,
    Set,
    /// The frames may be another's by now: nothing more is done to them.
    Answered,
}

/// A change under way: the work of [`DirectMap::change`], in steps.
#[must_use = "the frames are held, and perhaps half changed, until the last step is done"]
#[derive(Debug)]
pub struct Changing {
    frames: PfnRange,
    change: Change,
    cause: Cause,
    at: At,
    stage: Stage,
    /// The claim, once there is one.
    hold: Option<HoldId>,
    next: Pfn,
    entries: u64,
    splits: u64,
    patience: Patience,
}

impl Changing {
    /// Returns a change that has not begun.
    ///
    /// # Safety
    /// As [`DirectMap::change`].
    #[expect(unsafe_code, reason = "the caller holds the frames")]
    pub const unsafe fn new(frames: PfnRange, change: Change, cause: Cause, at: At) -> Self {
        Self::begin(frames, change, cause, at)
    }

    pub(crate) const fn begin(frames: PfnRange, change: Change, cause: Cause, at: At) -> Self {
        let next = frames.start();
        Self {
            frames,
            change,
            cause,
            at,
            stage: Stage::Begin,
            hold: None,
            next,
            entries: 0,
            splits: 0,
            patience: Patience::NEW,
        }
    }

    /// Begins anew before it waits: frames that are not claimed may be another's after that.
    const fn begin_again(&mut self) {
        (self.stage, self.next) = (Stage::Begin, self.frames.start());
    }

    /// Does the next step on `map`, its owner's. After an answer there is none to be done.
    ///
    /// Where the reserve is short and merged tables would do, the change waits a bounded number of times: the batch
    /// [is due](Batch::is_due), and its flush, to be made before the next step, brings tables and records; or they are
    /// under way with the batches of others, and each step is a look until they are there. So the caller serves calls
    /// between two steps: another CPU may wait for it with just these tables.
    ///
    /// # Errors
    /// As [`DirectMap::change`]; [`ChangeError::NothingHeld`] after an answer. [`ChangeError::OtherMap`] is no answer:
    /// the change goes on where it was.
    pub fn step<T: TableMemory, R: Rules>(
        &mut self,
        map: &mut DirectMap<T, R>,
        batch: &mut Batch,
    ) -> Poll<Result<Hold, ChangeError>> {
        map.advance_change(self, STEP_ENTRIES, batch)
    }
}

/// A change of held frames under way: the work of [`DirectMap::alter`], in steps.
///
/// Dropping it between two steps leaves the frames half changed: they can only be restored then.
#[must_use = "the frames are perhaps half changed until the last step is done"]
#[derive(Debug)]
pub struct Altering<'held> {
    held: &'held mut Hold,
    change: Change,
    at: At,
    /// Where to go on, once it is known what is to become of the frames.
    going: Option<(State, Pfn)>,
    entries: u64,
}

impl<'held> Altering<'held> {
    /// Returns one that has not begun.
    pub const fn new(held: &'held mut Hold, change: Change, at: At) -> Self {
        Self { held, change, at, going: None, entries: 0 }
    }

    /// Does the next step on `map`, the one that holds the frames. After an answer there is none to be done.
    ///
    /// # Errors
    /// As [`DirectMap::alter`].
    pub fn step<T: TableMemory, R: Rules>(
        &mut self,
        map: &mut DirectMap<T, R>,
        batch: &mut Batch,
    ) -> Poll<Result<(), ChangeError>> {
        map.advance_alter(self, STEP_ENTRIES, batch)
    }
}

/// A restore under way: the work of [`DirectMap::restore`], in steps.
#[must_use = "the frames are held, and perhaps half restored, until the last step is done"]
#[derive(Debug)]
pub struct Restoring {
    held: Hold,
    next: Pfn,
}

impl Restoring {
    /// Returns one that has not begun.
    pub const fn new(held: Hold) -> Self {
        let next = held.frames.start();
        Self { held, next }
    }

    /// Does the next step on `map`, the one that holds the frames. After an answer there is none to be done.
    ///
    /// # Panics
    /// As [`DirectMap::restore`].
    pub fn step<T: TableMemory, R: Rules>(
        &mut self,
        map: &mut DirectMap<T, R>,
        batch: &mut Batch,
    ) -> Poll<()> {
        map.advance_restore(self, STEP_ENTRIES, batch)
    }
}

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    pub(crate) fn advance_change(
        &mut self,
        work: &mut Changing,
        budget: u64,
        batch: &mut Batch,
    ) -> Poll<Result<Hold, ChangeError>> {
        if let Err(error) = self.admit(work.cause.owner.map, batch) {
            return Poll::Ready(self.note(Err(error.into())));
        }
        self.edits += 1;
        match self.go_on(work, budget, batch) {
            Ok(None) => Poll::Pending,
            Ok(Some(held)) => {
                work.stage = Stage::Answered;
                Poll::Ready(self.note(Ok(held)))
            }
            Err(error) => Poll::Ready(self.refuse(work, error, batch)),
        }
    }

    /// Ends a change of which nothing was set.
    fn refuse(
        &mut self,
        work: &mut Changing,
        error: ChangeError,
        batch: &mut Batch,
    ) -> Result<Hold, ChangeError> {
        if let Some(id) = work.hold.take() {
            // A page that was to stay split for this hold only is merged again.
            let splits = self.journal.close(id);
            self.place(splits, batch);
        }
        self.charge_time(work.cause.owner, work.at, work.entries / ENTRIES_OF_A_STEP);
        work.entries = 0;
        work.stage = Stage::Answered;
        self.note(Err(error))
    }

    /// Makes a change in one go. It waits for nothing, because no other code reaches the map meanwhile.
    pub(crate) fn change_at_once(
        &mut self,
        mut work: Changing,
        batch: &mut Batch,
    ) -> Result<Hold, ChangeError> {
        loop {
            if let Poll::Ready(answer) = self.advance_change(&mut work, u64::MAX, batch) {
                return answer;
            }
            if let Some(error) = self.waited_for(&work.patience) {
                return self.refuse(&mut work, error, batch);
            }
        }
    }

    fn go_on(
        &mut self,
        work: &mut Changing,
        mut budget: u64,
        batch: &mut Batch,
    ) -> Result<Option<Hold>, ChangeError> {
        let Changing { frames, cause, at, .. } = *work;
        if work.stage == Stage::Answered {
            return Err(ChangeError::NothingHeld);
        }
        let Ok(state) = State::ORDINARY.after(work.change) else { return Err(ChangeError::WriteExecute) };
        if self.waits_on(&mut work.patience, batch) {
            return Ok(None);
        }
        if work.stage == Stage::Begin {
            self.survey_claim(cause.owner, frames, state)?;
            // Before an entry is looked at: an owner that may not change the frames causes no such work.
            let breaks = if state.is_ordinary() { 0 } else { self.journal.breaks_of(frames, None) };
            self.allow(cause.owner, breaks, at)?;
            work.stage = Stage::Survey;
        }
        if work.stage == Stage::Survey {
            let before = work.entries;
            self.survey_pages(&mut work.next, frames.end(), budget, &mut work.entries)?;
            budget = budget.saturating_sub(work.entries - before);
            if state.is_ordinary() {
                let is_done = work.next == frames.end();
                return Ok(is_done.then_some(Hold { map: self.journal.map, frames, hold: None }));
            }
            if work.next < frames.end() {
                if work.hold.is_none() {
                    if self.waits_for(SplitList::default(), 1, &mut work.patience, batch)? {
                        work.begin_again();
                        return Ok(None);
                    }
                    work.hold = self.open(frames, state, None, Handle::Working, cause, at);
                }
                return Ok(None);
            }
            let splits = self.splits_at([frames.start(), frames.end()]);
            let is_claimed = work.hold.is_some();
            if self.waits_for(splits, u64::from(!is_claimed), &mut work.patience, batch)? {
                if !is_claimed {
                    work.begin_again();
                }
                return Ok(None);
            }
            if !is_claimed {
                work.hold = self.open(frames, state, None, Handle::Out, cause, at);
            }
            let Some(hold) = work.hold else { return Err(self.out_of_records()) };
            for block in splits.iter() {
                self.split(block, hold);
            }
            (work.stage, work.next, work.splits) = (Stage::Set, frames.start(), splits.len());
        }
        let Some(hold) = work.hold else { return Err(ChangeError::NothingHeld) };
        work.next = self.set_pages(rest(work.next, frames), State::ORDINARY, state, &mut budget, batch);
        self.set_handle(hold, work.next == frames.end());
        if work.next < frames.end() {
            return Ok(None);
        }
        self.charge_time(cause.owner, at, steps_of(work.splits, work.entries));
        work.hold = None;
        Ok(Some(Hold { map: self.journal.map, frames, hold: Some(hold) }))
    }

    pub(crate) fn advance_alter(
        &mut self,
        work: &mut Altering<'_>,
        budget: u64,
        batch: &mut Batch,
    ) -> Poll<Result<(), ChangeError>> {
        if let Err(error) = self.admit(work.held.map, batch) {
            return Poll::Ready(self.note(Err(error.into())));
        }
        self.edits += 1;
        let done = self.go_on_altering(work, budget, batch);
        match done {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(self.note(Ok(()))),
            Err(error) => Poll::Ready(self.note(Err(error))),
        }
    }

    /// Tells whether it is done.
    fn go_on_altering(
        &mut self,
        work: &mut Altering<'_>,
        mut budget: u64,
        batch: &mut Batch,
    ) -> Result<bool, ChangeError> {
        let id = work.held.hold.ok_or(ChangeError::NothingHeld)?;
        let hold = *self.journal.hold(id).ok_or(ChangeError::NothingHeld)?;
        let (frames, owner) = (hold.frames, hold.cause.owner);
        let (target, next) = match work.going {
            Some(going) => going,
            None => {
                if hold.pinned.is_some() {
                    return Err(ChangeError::Pinned { frames });
                }
                if hold.handle == Handle::Working {
                    return Err(ChangeError::HalfChanged { frames });
                }
                let target = match hold.state.after(work.change) {
                    Ok(target) => target,
                    Err(BadChange::WriteExecute) => return Err(ChangeError::WriteExecute),
                    Err(BadChange::AlreadyRemoved) => {
                        let owner = self.journal.name_of(owner);
                        return Err(ChangeError::AlreadyRemoved { frames, owner });
                    }
                };
                if target == hold.state {
                    return Ok(true);
                }
                if !target.is_ordinary() {
                    self.allow(owner, 0, work.at)?;
                    self.rules.check(owner, frames, target)?;
                }
                (target, frames.start())
            }
        };
        let before = budget;
        let next = self.set_pages(rest(next, frames), hold.state, target, &mut budget, batch);
        work.entries += before - budget;
        work.going = Some((target, next));
        if next < frames.end() {
            self.set_handle(id, false);
            return Ok(false);
        }
        if target.is_ordinary() {
            self.end(id, batch);
            work.held.hold = None;
        } else {
            self.set_handle(id, true);
            self.journal.update_hold(id, |hold| hold.state = target);
            self.charge_time(owner, work.at, 1 + work.entries / ENTRIES_OF_A_STEP);
        }
        Ok(true)
    }

    pub(crate) fn advance_restore(
        &mut self,
        work: &mut Restoring,
        mut budget: u64,
        batch: &mut Batch,
    ) -> Poll<()> {
        self.journal.map.demand(work.held.map);
        batch.demand(self.journal.map);
        self.edits += 1;
        let Some(id) = work.held.hold else { return Poll::Ready(()) };
        let Some(hold) = self.journal.hold(id).copied() else { return Poll::Ready(()) };
        if hold.pinned.is_none() {
            if hold.handle == Handle::Working && work.next == hold.frames.start() {
                // An alteration was dropped half way, so some pages may have the cache mode that it was to bring.
                batch.add_cache_change();
            }
            work.next =
                self.set_pages(rest(work.next, hold.frames), hold.state, State::ORDINARY, &mut budget, batch);
            if work.next < hold.frames.end() {
                self.set_handle(id, false);
                return Poll::Pending;
            }
        }
        self.end(id, batch);
        work.held.hold = None;
        Poll::Ready(())
    }

    /// Refuses a handle or a batch of another map.
    fn admit(&self, handle: MapId, batch: &mut Batch) -> Result<(), OtherMap> {
        self.journal.map.check(handle)?;
        batch.enter(self.journal.map)
    }

    /// Strikes a hold out whose frames are ordinary again.
    fn end(&mut self, id: HoldId, batch: &mut Batch) {
        let splits = self.journal.close(id);
        self.place(splits, batch);
        self.counters.restores += 1;
    }

    /// Says whether the handle is its holder's, or work is going on.
    fn set_handle(&mut self, id: HoldId, is_done: bool) {
        let handle = if is_done { Handle::Out } else { Handle::Working };
        if self.journal.hold(id).is_some_and(|hold| hold.handle != handle) {
            self.journal.update_hold(id, |hold| hold.handle = handle);
        }
    }
}

/// Returns the frames from `next` on.
fn rest(next: Pfn, frames: PfnRange) -> PfnRange {
    PfnRange::new(next, frames.end()).unwrap_or_default()
}
