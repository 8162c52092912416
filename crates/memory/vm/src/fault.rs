//! Page faults: fresh pages get a frame of zeroes, shared ones that are written get one of their own.
//!
//! A fault takes no lane. It looks at the word under its lock, asks for a frame without any lock, and takes the lock
//! again: where the word is not what it was, another CPU was faster, or the page is gone, and the fault looks anew. So it
//! does where there is no frame, because the other CPU may have taken the last one for this page.

use rhumb_frames::Frame;
use rhumb_machine::{Machine, Pfn, VirtAddr};
use rhumb_pagetable::TableMemory;

use crate::account::Credit;
use crate::cow::Written;
use crate::error::{FaultError, Resource, VmError};
use crate::map::{Map, OverLimit, Place};
use crate::planted::{self, Fault};
use crate::share::TooManySharers;
use crate::sheet;
use crate::space::Space;
use crate::word::{Protection, Slot, State, Use, Word};

/// How a fault was resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// The page has a new frame of zeroes.
    Zeroed,
    /// The page has a frame of its own, a copy of the one that it shared.
    Copied,
    /// The page has the frame alone that it shared.
    TakenOver,
    /// The page is one that other maps have, too.
    Attached,
    /// The page allows the use already: another CPU was faster, or this one had an old translation.
    Already,
}

/// The next step of a fault.
enum Step {
    Done(Resolved),
    Zero(Place, Word),
    Copy(Place, Word),
    Attach(Place, Word, Slot),
    Divide(Place, Word),
    Wait,
    Refuse(FaultError),
}

impl<S: Space> Map<S> {
    /// Makes the page of `at` allow a use, for the handler of a page fault in thread context, with interrupts on: the
    /// access can be made again then.
    ///
    /// # Errors
    /// [`FaultError`]: the access cannot be made. Nothing has changed.
    ///
    /// Cost: two holds of a stripe, and a frame. A table is made where the page's 2 MiB or GiB has none yet. No flush.
    pub fn fault(&self, at: VirtAddr, wanted: Use) -> Result<Resolved, FaultError> {
        if !self.range.contains(at) {
            return Err(FaultError::NotAllocated(at));
        }
        loop {
            match self.locked(at, |credit, tables, place| self.look(credit, tables, place, (at, wanted))) {
                Step::Done(resolved) => return Ok(resolved),
                Step::Refuse(error) => return Err(error),
                Step::Wait => self.space.relax(),
                Step::Divide(place, word) => self.divide_for_fault(place, word)?,
                Step::Copy(place, word) => match self.write_shared(place, word)? {
                    Written::Copied => return Ok(Resolved::Copied),
                    Written::Changed => {}
                },
                Step::Attach(place, word, slot) => {
                    if self.attach(place, word, slot)? {
                        return Ok(Resolved::Attached);
                    }
                }
                Step::Zero(place, word) => {
                    if self.zero(place, word)? {
                        return Ok(Resolved::Zeroed);
                    }
                }
            }
        }
    }

    pub(crate) fn divide_for_fault(&self, place: Place, word: Word) -> Result<(), FaultError> {
        self.divide(place, word).map_err(no_table)
    }

    /// Looks at a word under its lock. A page of a sheet that has a frame is entered at once; for one that has none, the
    /// step holds the sheet, because the word may be gone when the frame is there.
    fn look(
        &self,
        credit: &mut Credit,
        tables: &mut S::Tables,
        place: Place,
        (at, wanted): (VirtAddr, Use),
    ) -> Step {
        let word = place.word(tables);
        let step = step_for(place, word, at, wanted);
        let slot = match step {
            Step::Attach(_, _, slot) => slot,
            Step::Copy(..) => {
                let is_taken_over = self.take_over(tables, place, word);
                return if is_taken_over { Step::Done(Resolved::TakenOver) } else { step };
            }
            _ => return step,
        };
        let frames = self.space.frames();
        if let (Some(pfn), State::Named(_, marks)) = (sheet::page(frames, slot), word.state(place.size()))
            && self.charge(credit).is_ok()
        {
            tables.write(place.table, place.index, self.word_of(pfn, marks).0);
            return Step::Done(Resolved::Attached);
        }
        match sheet::add(frames, slot.sheet, 1) {
            Ok(()) => step,
            Err(TooManySharers) => Step::Refuse(FaultError::TooManySharers),
        }
    }

    /// Gives a page of a sheet, which the step holds, a frame, and enters it. Tells whether the word was still there.
    fn attach(&self, place: Place, word: Word, slot: Slot) -> Result<bool, FaultError> {
        let entered = match self.page_of(slot) {
            Ok(pfn) => self.enter_page(place, word, || pfn),
            Err(error) => self.unless_changed(place, word, FaultError::NoFrame(error)).map(|()| false),
        };
        let guard = self.space.machine().pin();
        self.drop_sheet(guard.pinned(), slot.sheet);
        entered
    }

    /// Gives a fresh page a frame. Tells whether its word was still there.
    pub(crate) fn zero(&self, place: Place, word: Word) -> Result<bool, FaultError> {
        let guard = self.space.machine().pin();
        let pinned = guard.pinned();
        let mut frame = match self.take_zeroed_page(pinned) {
            Ok(frame) => Some(frame),
            Err(error) => {
                return self.unless_changed(place, word, FaultError::NoFrame(error)).map(|()| false);
            }
        };
        let entered = self.enter_page(place, word, || frame.take().map_or(Pfn::new(0), Frame::into_pfn));
        if let Some(frame) = frame {
            self.space.frames().free(pinned, frame);
        }
        entered
    }

    /// Replaces the word of a page without a frame by one with the frame that `pfn` returns, and charges it. Tells whether
    /// the word was still there. `pfn` is called where the word is replaced, and nowhere else.
    pub(crate) fn enter_page(
        &self,
        place: Place,
        word: Word,
        mut pfn: impl FnMut() -> Pfn,
    ) -> Result<bool, FaultError> {
        let enter = || {
            self.locked(place.at, |credit, tables, now| {
                if (now != place || now.word(tables) != word) && !planted::is(Fault::StaleLook) {
                    return Ok(false);
                }
                let (State::Fresh(marks) | State::Named(_, marks)) = word.state(place.size()) else {
                    return Ok(false);
                };
                self.charge(credit)?;
                tables.write(place.table, place.index, self.word_of(pfn(), marks).0);
                Ok(true)
            })
        };
        self.charging(enter).map_err(|OverLimit| FaultError::Limit(Resource::Resident))
    }
}

/// Returns what has to be done for a use of a page.
fn step_for(place: Place, word: Word, at: VirtAddr, wanted: Use) -> Step {
    let denied = |protection: Protection| Step::Refuse(FaultError::Denied(at, wanted, protection));
    match word.state(place.size()) {
        State::Empty => Step::Refuse(FaultError::NotAllocated(at)),
        State::Busy(_) => Step::Wait,
        State::Fresh(marks) if !marks.protection().allows(wanted) => denied(marks.protection()),
        State::Fresh(_) if place.level > 1 => Step::Divide(place, word),
        State::Fresh(_) => Step::Zero(place, word),
        State::Named(_, marks) if !marks.protection().allows(wanted) => denied(marks.protection()),
        State::Named(slot, _) => Step::Attach(place, word, slot),
        State::Mapped(_, marks) if !marks.protection().allows(wanted) => denied(marks.protection()),
        State::Mapped(_, marks) if wanted == Use::Write && marks.is_shared() => Step::Copy(place, word),
        State::Mapped(..) => Step::Done(Resolved::Already),
    }
}

fn no_table(error: VmError) -> FaultError {
    match error {
        VmError::Limit(resource) => FaultError::Limit(resource),
        VmError::NoFrame(error) => FaultError::NoFrame(error),
        _ => FaultError::Limit(Resource::Tables),
    }
}
