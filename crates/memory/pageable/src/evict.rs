//! Paging out: second chance over the tables of pageable memory, one flush for many pages.
//!
//! ```text
//!   hand ──> entry: used since the last look ──> the bit is cleared ─┐
//!        └─> entry: not used, not pinned ──────> busy, absent ───────┴─> one flush ──> store ──> out; the frame is free
//! ```
//!
//! **The dirty race** (I6). A CPU may write through a translation that it has cached until the flush is over. So the
//! contents are read after the flush: a page is compressed that no CPU reaches.
//!
//! **A second chance.** The hand clears the bit by which CPUs say that they have used a page, and the flush of the batch
//! makes them say so again. A page that no CPU has used when the hand comes again goes out.
//!
//! The hand goes over addresses, not over a list, so that pages come and go without one. A table that is missing is one
//! step.

use rhumb_frames::{Anywhere, Frame, Zone};
use rhumb_machine::{Order, PageSize, Pfn, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::levels::span_bytes;
use rhumb_pagetable::{ENTRIES, FlushBatch, TableMemory, descend};
use rhumb_sync::atomic::Relaxed;

use crate::entry::{Present, State};
use crate::hand::{BATCH, Hand};
use crate::home::PageHome;
use crate::pageable::Pageable;
use crate::planted::{self, Fault};
use crate::store::{Kept, Store};

/// Pages whose bit is cleared before their flush, at most: a full flush then, for all of them.
const MOST_AGED: usize = 128;

/// How often a call goes over all pages: once to clear bits, and once to find them clear.
const ROUNDS: u64 = 2;

impl<H: PageHome + 'static, S: Store> Pageable<H, S> {
    /// Pages out until `wanted` frames are free in `ceiling` or the zones below, or each page was looked at twice, and
    /// returns how many frames are free. Pages in higher zones stay. Does nothing where the caller may not wait: CPUs are
    /// flushed. For a reclaimer of the frame allocator.
    ///
    /// Cost: a flush for each batch of 32 pages; the store's work for each page.
    pub fn evict(&self, pinned: Pinned<'_>, wanted: u64, ceiling: Zone) -> u64 {
        if !self.home.may_fault() {
            return 0;
        }
        // The CPU that pages out needs nothing of those that wait, and answers calls.
        let mut hand = loop {
            if self.counters.resident.load(Relaxed) == 0 {
                return 0;
            }
            match self.hand.take() {
                Some(hand) => break hand,
                None => self.wait(),
            }
        };
        let extent = self.highest.load(Relaxed).saturating_sub(self.lowest.load(Relaxed));
        let mut steps = ROUNDS * (extent / PageSize::Size4K.bytes() + 1);
        let mut freed = 0;
        while freed < wanted && steps > 0 {
            let mut batch = FlushBatch::new();
            let most = (wanted - freed).min(BATCH as u64) as usize;
            self.look(&mut hand, &mut batch, &mut steps, (most, ceiling));
            if !planted::is(Fault::NoFlush) && !self.map.flush(pinned, batch) {
                return impossible!("the home flushes the CPUs of its own machine" => freed);
            }
            let Hand { victims, scratch, .. } = &mut *hand;
            for (address, pfn) in victims.drain(..) {
                freed += self.put_out(pinned, scratch, address, pfn);
            }
        }
        freed
    }

    /// Goes on with the hand until `most` pages are found that go out, of zones up to `ceiling`, and makes them absent.
    fn look(
        &self,
        hand: &mut Hand<S::Scratch>,
        batch: &mut FlushBatch,
        steps: &mut u64,
        (most, ceiling): (usize, Zone),
    ) {
        let (lowest, highest) = (self.lowest.load(Relaxed), self.highest.load(Relaxed));
        let tables = self.home.tables();
        let mut aged = 0;
        while *steps > 0 && hand.victims.len() < most && aged < MOST_AGED {
            if !(lowest..highest).contains(&hand.at) {
                hand.at = lowest;
            }
            let at = VirtAddr::new(hand.at);
            let Some(step) = descend(&tables, self.home.root(), at, 1) else {
                return impossible!("pageable memory has canonical addresses");
            };
            if step.level > 1 {
                hand.at = (hand.at | (span_bytes(step.level) - 1)).saturating_add(1);
                *steps -= 1;
                continue;
            }
            for index in step.index..ENTRIES {
                if *steps == 0 || hand.victims.len() == most || aged == MOST_AGED || hand.at >= highest {
                    break;
                }
                let address = VirtAddr::new(hand.at);
                hand.at += PageSize::Size4K.bytes();
                *steps -= 1;
                // A glimpse: the lock is for pages that may go out.
                match frame_that_may_go(State::of(tables.read(step.table, index))) {
                    Some(pfn) if self.is_up_to(ceiling, pfn) => {}
                    _ => continue,
                }
                self.counters.scanned.fetch_add(1, Relaxed);
                match self.age(address) {
                    Some(Some(pfn)) => hand.victims.push((address, pfn)),
                    Some(None) => aged += 1,
                    None => continue,
                }
                if let Some(page) = VirtRange::of_length(address, PageSize::Size4K.bytes()) {
                    batch.add_leaf(page, PageSize::Size4K);
                }
            }
        }
    }

    /// Tells whether a frame is of use to a request for zones up to `ceiling`.
    fn is_up_to(&self, ceiling: Zone, pfn: Pfn) -> bool {
        ceiling == Zone::High || self.home.frames().zone_of(pfn).is_some_and(|zone| zone <= ceiling)
    }

    /// Clears the bit of a page that was used, or makes one busy that was not, and returns its frame then. `None` where
    /// the page stays as it is.
    fn age(&self, address: VirtAddr) -> Option<Option<Pfn>> {
        self.change(address, |entry| match State::of(entry) {
            State::Present(Present { pins: 1.., .. }) if !planted::is(Fault::PinsIgnored) => (None, None),
            State::Present(present @ Present { was_used: true, .. }) => {
                (Some(State::Present(Present { was_used: false, ..present })), Some(None))
            }
            State::Present(Present { pfn, .. }) => (Some(State::Busy), Some(Some(pfn))),
            _ => (None, None),
        })
        .flatten()
    }

    /// Gives the contents of a page to the store, and frees its frame. Returns how many frames are free by that. The
    /// page is busy on behalf of this CPU, and all CPUs have flushed.
    fn put_out(&self, pinned: Pinned<'_>, scratch: &mut S::Scratch, address: VirtAddr, pfn: Pfn) -> u64 {
        let kept = match self.frame_of(pfn) {
            Some(frame) => self.store.put(pinned, scratch, frame).map_err(Frame::into_pfn),
            None => Err(pfn),
        };
        let (state, frame) = match kept {
            Ok(Kept { slot, frame }) => (State::Out(slot), frame),
            Err(pfn) => (State::Present(Present { pfn, pins: 0, was_used: true }), None),
        };
        if let State::Out(_) = state {
            // First, because another CPU may page it in, and count that.
            self.counters.note_out();
        }
        if self.change(address, |_| (Some(state), ())).is_none() {
            impossible!("the tables of pageable memory stay");
        }
        match frame {
            Some(frame) => {
                self.home.frames().free(pinned, frame);
                Order::BASE.frames()
            }
            None => 0,
        }
    }

    #[expect(unsafe_code, reason = "frames are numbers while they are mapped")]
    fn frame_of(&self, pfn: Pfn) -> Option<Frame<Anywhere>> {
        // SAFETY: the page's entry had the frame, whose handle was given up as the entry was written; the entry is busy
        // on behalf of this CPU, and no CPU has a translation left (I6).
        match unsafe { self.home.frame_of(pfn, Order::BASE) } {
            Ok(frame) => Some(frame),
            Err(fault) => impossible!("a page maps a frame that is allocated: {fault}" => None),
        }
    }
}

/// Returns the frame of a page that may go out, or may once its bit is clear.
fn frame_that_may_go(state: State) -> Option<Pfn> {
    match state {
        State::Present(Present { pfn, pins, .. }) if pins == 0 || planted::is(Fault::PinsIgnored) => {
            Some(pfn)
        }
        _ => None,
    }
}
