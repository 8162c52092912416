//! Page faults: fresh pages get a frame of zeroes, shared ones that are written get one of their own.
//!
//! A fault takes no lane. It looks at the word under its lock, asks for a frame without any lock, and takes the lock
//! again: where the word is not what it was, another CPU was faster, or the page is gone, and the fault looks anew.

use rhumb_machine::{Machine, VirtAddr};
use rhumb_pagetable::TableMemory;

use crate::cow::Written;
use crate::error::{FaultError, Resource, VmError};
use crate::map::{Map, Place};
use crate::planted::{self, Fault};
use crate::space::Space;
use crate::word::{Marks, Protection, State, Use, Word};

/// How a fault was resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// The page has a new frame of zeroes.
    Zeroed,
    /// The page has a frame of its own, a copy of the one that it shared.
    Copied,
    /// The page has the frame alone that it shared.
    TakenOver,
    /// The page allows the use already: another CPU was faster, or this one had an old translation.
    Already,
}

/// The next step of a fault.
enum Step {
    Done(Resolved),
    Zero(Place, Word, Marks),
    Copy(Place, Word),
    Divide(Place, Word),
    Wait,
    Refuse(FaultError),
}

/// The outcome of an attempt to give a page its frame.
enum Put<F> {
    Done,
    Changed(F),
    OverLimit(F),
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
            match self.locked(at, |_, tables, place| look(place, place.word(tables), at, wanted)) {
                Step::Done(resolved) => return Ok(resolved),
                Step::Refuse(error) => return Err(error),
                Step::Wait => self.space.relax(),
                Step::Divide(place, word) => self.divide(place, word).map_err(no_table)?,
                Step::Copy(place, word) => match self.write_shared(place, word)? {
                    Written::Copied => return Ok(Resolved::Copied),
                    Written::TakenOver => return Ok(Resolved::TakenOver),
                    Written::Changed => {}
                },
                Step::Zero(place, word, marks) => {
                    if self.zero(place, word, marks)? {
                        return Ok(Resolved::Zeroed);
                    }
                }
            }
        }
    }

    /// Gives a fresh page a frame. Tells whether its word was still there.
    fn zero(&self, place: Place, word: Word, marks: Marks) -> Result<bool, FaultError> {
        let guard = self.space.machine().pin();
        let pinned = guard.pinned();
        let mut frame = self.take_zeroed_page(pinned).map_err(FaultError::NoFrame)?;
        let mut has_gathered = false;
        loop {
            let put = self.locked(place.at, |credit, tables, now| {
                if (now != place || now.word(tables) != word) && !planted::is(Fault::StaleLook) {
                    return Put::Changed(frame);
                }
                if self.charge(credit).is_err() {
                    return Put::OverLimit(frame);
                }
                let leaf = Word::mapped(frame.into_pfn(), place.size(), marks, |access| {
                    self.space.attributes(access)
                });
                tables.write(place.table, place.index, leaf.0);
                Put::Done
            });
            match put {
                Put::Done => return Ok(true),
                Put::Changed(back) => {
                    self.space.frames().free(pinned, back);
                    return Ok(false);
                }
                Put::OverLimit(back) => {
                    let off = self.space.machine().irq_off();
                    if has_gathered || !self.gather_credit(off.irq_off()) {
                        self.space.frames().free(pinned, back);
                        return Err(FaultError::Limit(Resource::Resident));
                    }
                    (frame, has_gathered) = (back, true);
                }
            }
        }
    }
}

/// Returns what has to be done for a use of a page.
fn look(place: Place, word: Word, at: VirtAddr, wanted: Use) -> Step {
    let denied = |protection: Protection| Step::Refuse(FaultError::Denied(at, wanted, protection));
    match word.state(place.size()) {
        State::Empty => Step::Refuse(FaultError::NotAllocated(at)),
        State::Busy(_) => Step::Wait,
        State::Fresh(marks) if !marks.protection().allows(wanted) => denied(marks.protection()),
        State::Fresh(_) if place.level > 1 => Step::Divide(place, word),
        State::Fresh(marks) => Step::Zero(place, word, marks),
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
