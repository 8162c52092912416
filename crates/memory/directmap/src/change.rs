//! Changes, all or nothing, and restores, which cannot fail.
//!
//! # The way of a change
//! 1. *Survey*: are all frames RAM in the map, is none held or off limits, which large pages must be split?
//! 2. *Check*: has the reserve the tables and records, may the owner split so many pages?
//! 3. *Do*: write down the hold, split the pages, change the entries. Nothing of this can fail (I7).
//!
//! Nothing is allocated on the way and nothing sleeps: a change may be made with interrupts off. The map's user
//! refills its reserve beforehand, with the map's lock and nothing else held ([`DirectMap::refill`]).
//!
//! A change of many pages is made in steps where the map's lock must not be held for long: see [`crate::work`].
//!
//! # Flushing
//! Every operation puts into the caller's [`Batch`] what CPUs may have cached. A CPU may use the old
//! translations until that batch is flushed, which may happen after the map's lock is released.

use core::task::Poll;

use rhumb_machine::{Block, PageSize, PfnRange, impossible};
use rhumb_pagetable::{ENTRIES, TableMemory, edit};

use crate::batch::Batch;
use crate::error::ChangeError;
use crate::limits::{ENTRIES_OF_A_STEP, steps_of};
use crate::map::{DirectMap, Hold};
use crate::records::{At, Cause, Handle};
use crate::rules::Rules;
use crate::state::{Change, State};
use crate::work::{Altering, Changing, Restoring};

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Changes how `frames` are mapped: all of them, or none.
    ///
    /// A change that changes nothing succeeds, breaks nothing, and holds nothing. `batch` takes what is to be flushed.
    ///
    /// # Errors
    /// Each says which rule would be broken: a frame that is not RAM in the map, is held or off limits, writable and
    /// executable; an empty reserve; the owner's limits; [`ChangeError::OtherMap`]. Where the reserve is short and the
    /// batch then [is due](Batch::is_due), its flush brings tables and records: the change may be tried again. The
    /// flush of another batch may bring some, too.
    ///
    /// # Safety
    /// The frames are the caller's. Until they are restored only the handle's holder uses them through the map, and
    /// only as the map then lets it.
    ///
    /// Cost: reads as many entries as it changes; writes one for each page changed, 513 for each large page split (at
    /// most four); no allocation. Finding its place among `n` holds takes about `2 log2 n` steps. In steps:
    /// [`Changing`].
    #[expect(unsafe_code, reason = "the caller holds the frames")]
    pub unsafe fn change(
        &mut self,
        frames: PfnRange,
        change: Change,
        cause: Cause,
        at: At,
        batch: &mut Batch,
    ) -> Result<Hold, ChangeError> {
        self.change_at_once(Changing::begin(frames, change, cause, at), batch)
    }

    /// Keeps `frames` in pages of `size` at most, whatever else would fit, with their attributes as they are.
    ///
    /// # Errors
    /// As [`DirectMap::change`], and where `frames` are not whole pages of `size`, or `size` is the largest there is;
    /// [`ChangeError::PinTooLarge`] where it takes more than eight splits, or 4,096 looks at entries.
    ///
    /// Cost: 513 writes for each large page split. Nothing is to be flushed.
    pub fn pin_small(
        &mut self,
        frames: PfnRange,
        size: PageSize,
        cause: Cause,
        at: At,
    ) -> Result<Hold, ChangeError> {
        self.edits += 1;
        let held = self.try_pin(frames, size, cause, at);
        self.note(held)
    }

    /// Makes the frames ordinary again and merges all that nothing else keeps split. Cannot fail.
    ///
    /// # Panics
    /// If the handle or the batch is another map's.
    ///
    /// The frames can be reached through the map when it returns. Frames that hold a secret are zeroed through a window
    /// first (I5).
    ///
    /// Only pages that were present are to be flushed: an absent page is cached nowhere, and a merge says what was said
    /// before. Where it is the merge that fills the quarantine, all of that is to be flushed, too.
    ///
    /// Cost: one write for each page, one for each large page merged; no allocation. In steps: [`Restoring`].
    pub fn restore(&mut self, held: Hold, batch: &mut Batch) {
        let mut work = Restoring::new(held);
        while self.advance_restore(&mut work, u64::MAX, batch).is_pending() {}
    }

    /// Changes held frames once more. Needs nothing from the reserve.
    ///
    /// Where that makes them ordinary, they are held no longer ([`Hold::is_in_force`]): as after a restore.
    ///
    /// # Errors
    /// [`ChangeError::WriteExecute`], [`ChangeError::AlreadyRemoved`], [`ChangeError::Forbidden`],
    /// [`ChangeError::Pinned`], [`ChangeError::HalfChanged`], [`ChangeError::TooOften`], [`ChangeError::OtherMap`], or
    /// [`ChangeError::NothingHeld`] where the handle is not in force.
    ///
    /// Cost: one write for each page. In steps: [`Altering`].
    pub fn alter(
        &mut self,
        held: &mut Hold,
        change: Change,
        at: At,
        batch: &mut Batch,
    ) -> Result<(), ChangeError> {
        let mut work = Altering::new(held, change, at);
        loop {
            if let Poll::Ready(answer) = self.advance_alter(&mut work, u64::MAX, batch) {
                return answer;
            }
        }
    }

    fn try_pin(
        &mut self,
        frames: PfnRange,
        size: PageSize,
        cause: Cause,
        at: At,
    ) -> Result<Hold, ChangeError> {
        self.survey_range(frames)?;
        self.allow(cause.owner, self.journal.breaks_of(frames, Some(size)), at)?;
        let splits = match self.survey_pin(frames, size) {
            Err(error @ ChangeError::PinTooLarge { most }) => {
                self.charge_time(cause.owner, at, most / ENTRIES_OF_A_STEP);
                return Err(error);
            }
            surveyed => surveyed?,
        };
        // Each larger page in the range is split, those of kept tables with these.
        self.provide(splits - self.quarantine.kept_above(frames, size), 1)?;
        let hold = self.open(frames, State::ORDINARY, Some(size), Handle::Out, cause, at);
        let Some(hold) = hold else { return Err(self.out_of_records()) };
        let mut next = frames.start();
        while next < frames.end() {
            let Some((step, found)) = self.tree.end_of_walk(next) else {
                impossible!("the survey has found all frames in the map");
                break;
            };
            if found > size {
                self.split(Block::around(next, found), hold);
            } else {
                // The rest of this table is no larger.
                let left = frames.end().since(next) / found.frames();
                let run =
                    edit::run_of_pages(&self.tree.memory, step, usize::try_from(left).unwrap_or(ENTRIES));
                next = next.plus(run as u64 * found.frames());
            }
        }
        self.charge_time(cause.owner, at, steps_of(splits, 0));
        Ok(Hold { map: self.journal.map, frames, hold: Some(hold) })
    }
}
