//! A page that is needed: zeroed at its first touch, taken out of the store, or in memory already.

use rhumb_frames::{AllocError, Anywhere, Frame, Request, Zone};
use rhumb_machine::{Machine, Pfn, Pinned, VirtAddr, impossible};
use rhumb_sync::atomic::Relaxed;

use crate::entry::{MOST_PINS, Present, State};
use crate::error::PageError;
use crate::hand::BATCH;
use crate::home::PageHome;
use crate::may_fault::MayFault;
use crate::pageable::Pageable;
use crate::planted::{self, Fault};
use crate::store::{Slot, Store};

/// How often a request for a frame is made again, each time after pages were paged out for it. Other CPUs take what is
/// free in between.
const TRIES: usize = 16;

/// Whether a page that was made present stays so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pinning {
    Pinned,
    Loose,
}

/// The next step for a page.
enum Step {
    Done(Pfn),
    Zero,
    Load(Slot),
    Wait,
    Refuse(PageError),
}

impl<H: PageHome + 'static, S: Store> Pageable<H, S> {
    /// Returns the right to wait for pages.
    ///
    /// # Errors
    /// [`PageError::MayNotFault`] where the caller has none.
    pub fn may_fault(&self) -> Result<MayFault<'_>, PageError> {
        if self.home.may_fault() { Ok(MayFault::new()) } else { Err(PageError::MayNotFault) }
    }

    pub(crate) fn check(&self, _: MayFault<'_>) -> Result<(), PageError> {
        self.may_fault().map(|_| ())
    }

    /// Tells whether an address is a pageable page's, in memory or not. Without a lock, in bounded time: for handlers of
    /// page faults.
    pub fn contains(&self, address: VirtAddr) -> bool {
        let is_in_extent = (self.lowest.load(Relaxed)..self.highest.load(Relaxed)).contains(&address.get());
        is_in_extent && self.state(address) != State::Foreign
    }

    /// Makes the page of an address present, for the handler of a page fault: the access can be made again then.
    ///
    /// # Errors
    /// [`PageError`]. The access cannot be made.
    pub fn resolve(&self, may_fault: MayFault<'_>, address: VirtAddr) -> Result<(), PageError> {
        self.check(may_fault)?;
        if !self.contains(address) {
            return Err(PageError::NotPageable(address));
        }
        let guard = self.home.machine().pin();
        self.make_present(guard.pinned(), address, Pinning::Loose).map(|_| ())
    }

    /// Makes a page present, and pins it if asked to. The caller may wait.
    pub(crate) fn make_present(
        &self,
        pinned: Pinned<'_>,
        address: VirtAddr,
        pinning: Pinning,
    ) -> Result<Pfn, PageError> {
        loop {
            let step = self.change(address, |entry| match State::of(entry) {
                State::Present(present) => match pinning {
                    Pinning::Pinned if present.pins == MOST_PINS => {
                        (None, Step::Refuse(PageError::TooManyPins(address)))
                    }
                    Pinning::Pinned => {
                        let more = Present { pins: present.pins + 1, was_used: true, ..present };
                        (Some(State::Present(more)), Step::Done(present.pfn))
                    }
                    Pinning::Loose => (None, Step::Done(present.pfn)),
                },
                State::Untouched => (Some(State::Busy), Step::Zero),
                State::Out(slot) => (Some(State::Busy), Step::Load(slot)),
                State::Busy => (None, Step::Wait),
                State::Foreign => (None, Step::Refuse(PageError::NotPageable(address))),
            });
            // The page is this CPU's from here on where it became busy.
            let (frame, before) = match step.unwrap_or(Step::Refuse(PageError::NotPageable(address))) {
                Step::Done(pfn) => return Ok(pfn),
                Step::Refuse(error) => return Err(error),
                Step::Wait => {
                    self.wait();
                    continue;
                }
                Step::Zero => {
                    let frame = self.take_frame(pinned, self.frames.zeroed()).map_err(PageError::NoFrame);
                    (frame, State::Untouched)
                }
                Step::Load(slot) => (self.load(pinned, address, slot), State::Out(slot)),
            };
            let pins = u64::from(pinning == Pinning::Pinned);
            let state = match &frame {
                Ok(frame) => State::Present(Present { pfn: frame.pfn(), pins, was_used: true }),
                Err(_) => before,
            };
            if frame.is_ok() {
                // First, because another CPU may page it out, and count that.
                self.counters.note_fault(before);
            }
            if self.change(address, |_| (Some(state), ())).is_none() {
                impossible!("the tables of pageable memory stay");
            }
            return frame.map(Frame::into_pfn);
        }
    }

    /// Takes a frame, and pages out where there is none.
    fn take_frame(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame<Anywhere>, AllocError> {
        let mut taken = self.home.alloc(pinned, request);
        for _ in 0..TRIES {
            if taken.is_ok() || self.evict(pinned, BATCH as u64, Zone::High) == 0 {
                break;
            }
            taken = self.home.alloc(pinned, request);
        }
        taken
    }

    /// Fills a frame with the contents of a slot, and forgets the slot.
    #[expect(unsafe_code, reason = "the slot is the page's")]
    fn load(&self, pinned: Pinned<'_>, address: VirtAddr, slot: Slot) -> Result<Frame<Anywhere>, PageError> {
        let mut frame = self.take_frame(pinned, self.frames).map_err(PageError::NoFrame)?;
        // SAFETY: the entry of the page had the slot, and is busy on behalf of this CPU.
        if unsafe { self.store.get(pinned, slot, &mut frame) }.is_err() {
            self.home.frames().free(pinned, frame);
            return Err(PageError::Lost(address));
        }
        if !planted::is(Fault::SlotKept) {
            // SAFETY: as above; the entry will have the frame.
            unsafe { self.store.forget(pinned, slot) };
        }
        Ok(frame)
    }
}
