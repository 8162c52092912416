//! Tables on their way between their source and a reserve, with no lock held.
//!
//! Where page tables are protected, their source is the store; else it is the frame allocator, one frame at a time.

use arrayvec::ArrayVec;
use rhumb_frames::{AllocClass, Frame, Request};
use rhumb_machine::{Machine, Order, Pfn, impossible};
use rhumb_pagetable::{OutOfTables, TableSource};

use super::store;
use crate::cpu::machine::MACHINE;
use crate::mm::frames::frames;
use crate::mm::owners;

/// Tables of a stock at most: so many go into the reserve under one hold of the map's lock.
pub const BATCH: usize = 32;

/// Tables on their way between their source and the reserve.
#[derive(Default)]
pub struct Stock(ArrayVec<Pfn, BATCH>);

impl Stock {
    /// Fetches up to `count` zeroed tables, and no more than a batch. Call it with no lock held.
    pub fn fetch(count: u64) -> Self {
        let mut stock = Self::default();
        if store::is_source() {
            store::take(count.min(BATCH as u64), |table| stock.0.push(table));
            return stock;
        }
        while (stock.0.len() as u64) < count && !stock.0.is_full() {
            let Some(frame) = zeroed_frame() else { break };
            stock.0.push(frame.into_pfn());
        }
        stock
    }

    /// Returns how many tables are in it.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Tells whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what is in it.
    #[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only a test looks"))]
    pub fn iter(&self) -> impl Iterator<Item = Pfn> + '_ {
        self.0.iter().copied()
    }

    /// Gives all of them back to their source. Call it with no lock held.
    pub fn release(self) {
        if store::is_source() {
            // SAFETY: what a stock has is zero, and in no tree.
            return self.0.into_iter().for_each(|table| unsafe { store::give(table) });
        }
        // SAFETY: the frame was allocated as a single one, and neither tables nor reserve have it any more.
        self.0.into_iter().for_each(|table| unsafe { free_frame(table) });
    }
}

// SAFETY: each frame was allocated for the stock, zeroed, or given back to it so, and is handed out once.
unsafe impl TableSource for Stock {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        self.0.pop().ok_or(OutOfTables)
    }

    unsafe fn give_back(&mut self, table: Pfn) {
        if self.0.try_push(table).is_err() {
            impossible!("the reserve gives back no more than a batch at a time");
        }
    }
}

/// Returns a zeroed frame for a table or records; `None` if the allocator has none.
pub(super) fn zeroed_frame() -> Option<Frame> {
    let guard = MACHINE.pin();
    let request = Request::FRAME.zeroed().class(AllocClass::PageTables).owner(owners::DIRECT_MAP.in_frames());
    frames()?.alloc(guard.pinned(), request).ok()
}

/// Frees a frame of [`zeroed_frame`].
///
/// # Safety
/// It was given up to its number, and no other code uses it.
pub(super) unsafe fn free_frame(frame: Pfn) {
    let Some(frames) = frames() else {
        return impossible!("the frame came from the allocator: it is there");
    };
    let guard = MACHINE.pin();
    // SAFETY: the frame was allocated as a single one, and no other code uses it, by the caller's promise.
    match unsafe { frames.from_pfn(frame, Order::BASE) } {
        Ok(frame) => frames.free(guard.pinned(), frame),
        Err(fault) => impossible!("frame {} was allocated for tables or records: {}", frame, fault),
    }
}
