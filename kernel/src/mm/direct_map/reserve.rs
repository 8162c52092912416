//! Tables and records for changes, fetched from the frame allocator before they are needed.
//!
//! A change of one range cuts at most four large pages: one of 1 GiB and one of 2 MiB at each end. So it takes four
//! tables, and five records with its own. Every CPU may make a change before any of them gets to fill up the reserve,
//! and the tables that these changes' undoing gives back wait for a flush: twice that for each CPU is enough for all to
//! change and restore at once.
//!
//! Where page tables are protected, tables come from the store of such ([`crate::mm::protect::blocks`]), else from the
//! allocator one by one.
//!
//! Frames are fetched with no lock held, and put into the reserve under the map's lock: no allocation waits for a
//! change (I10).

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrayvec::ArrayVec;
use rhumb_directmap::{RecordPage, Reserve};
use rhumb_frames::{AllocClass, Frame, Request};
use rhumb_machine::{Machine, Order, Pfn};
use rhumb_pagetable::{OutOfTables, TableSource};
use x86_64::instructions::interrupts;

use super::with;
use crate::cpu;
use crate::cpu::machine::MACHINE;
use crate::mm::frames::frames;
use crate::mm::owners::Holder;
use crate::mm::protect::blocks;
use crate::mm::tables;

/// Tables that a change takes at most.
const TABLES_OF_A_CHANGE: u64 = 4;
/// Records that a change takes at most.
const RECORDS_OF_A_CHANGE: u64 = TABLES_OF_A_CHANGE + 1;
/// Changes by one CPU that may come before the next filling, counting tables that wait for a flush.
const CHANGES_OF_A_CPU: u64 = 2;
/// Frames that are fetched or given back with the lock released in between.
pub const BATCH: usize = 32;

/// Set by a change that could not fill up the reserve itself.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Returns the level that the reserve should have, with the CPUs that run.
pub fn level() -> Reserve {
    let changes = CHANGES_OF_A_CPU * cpu::online().len() as u64;
    Reserve { tables: TABLES_OF_A_CHANGE * changes, records: RECORDS_OF_A_CHANGE * changes }
}

/// Returns the level that the reserve has.
pub fn now() -> Reserve {
    with(|map| map.reserve()).unwrap_or_default()
}

/// Fills up the reserve where it has `left` only, or leaves that to the idle loop where interrupts are off.
pub(super) fn fill_if_allowed(left: Reserve) {
    let level = level();
    if left.records >= level.records && (level.tables..=2 * level.tables).contains(&left.tables) {
        return;
    }
    if interrupts::are_enabled() {
        fill();
    } else {
        want();
    }
}

/// Asks for the reserve to be filled up: by the next [`fill_if_wanted`].
pub fn want() {
    WANTED.store(true, Relaxed);
}

/// Fills up the reserve if a change could not. Called by the idle loop.
pub fn fill_if_wanted() {
    if WANTED.load(Relaxed) {
        WANTED.store(false, Relaxed);
        fill();
    }
}

/// Gives all tables back, with the blocks that this empties where tables are protected, and fills up the reserve anew.
/// Changes that need a table may be refused meanwhile.
pub fn renew() {
    drain(0);
    blocks::shrink(0);
    fill();
}

/// Fills up the reserve, and gives back what is more than twice its level. Where the allocator has nothing, the reserve
/// stays as it is: a change that needs more is refused, whole.
pub fn fill() {
    let level = level();
    fill_to(level);
    if now().tables > 2 * level.tables {
        drain(level.tables);
        blocks::shrink_if_large();
    }
}

/// Gives the reserve the last tables of the store, for the change that makes the store larger.
pub fn refill_from_store() {
    let mut stock = Stock::default();
    // SAFETY: a table is taken.
    if let Some(table) = unsafe { tables::with_store(|store, memory| store.take(memory)) } {
        stock.0.push(table);
    }
    // SAFETY: the store's tables are frames of this machine, as the map's are.
    let _ = with(|map| unsafe { map.refill(1, &mut stock) });
    stock.release();
}

/// Fetches what one large operation takes besides.
pub(super) fn fill_for(more: Reserve) {
    let level = level();
    fill_to(Reserve { tables: level.tables + more.tables, records: level.records + more.records });
}

fn fill_to(wanted: Reserve) {
    while now().records < wanted.records {
        let Some(page) = record_page() else { return };
        let _ = with(|map| map.add_record_page(page));
    }
    loop {
        let missing = wanted.tables.saturating_sub(now().tables);
        let mut stock = Stock::fetch(missing);
        if stock.0.is_empty() {
            return;
        }
        // Others may have filled it up meanwhile: what is left over goes back.
        // SAFETY: the stock's tables are frames of this machine, as the map's are.
        let _ = with(|map| unsafe { map.refill(wanted.tables, &mut stock) });
        stock.release();
    }
}

/// Tables that one hold of the lock clears, with 512 writes for each.
const CLEARED: u64 = 8;

fn drain(keep: u64) {
    loop {
        let mut stock = Stock::default();
        let now = now().tables;
        let keep = keep.max(now.saturating_sub(CLEARED));
        // SAFETY: the map's tables came by a stock, all of the kernel's.
        let _ = with(|map| unsafe { map.drain(keep, &mut stock) });
        if stock.0.is_empty() {
            return;
        }
        stock.release();
    }
}

/// Frames on their way between the allocator and the reserve.
#[derive(Default)]
pub struct Stock(ArrayVec<Pfn, BATCH>);

impl Stock {
    /// Up to `count` zeroed tables, and no more than a batch. Not with a lock held.
    pub fn fetch(count: u64) -> Self {
        let mut stock = Self::default();
        if blocks::is_source() {
            blocks::take(count.min(BATCH as u64), |table| stock.0.push(table));
            return stock;
        }
        while (stock.0.len() as u64) < count && !stock.0.is_full() {
            let Some(frame) = zeroed_frame() else { break };
            stock.0.push(frame.into_pfn());
        }
        stock
    }

    /// Returns its contents.
    #[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only a test looks"))]
    pub fn iter(&self) -> impl Iterator<Item = Pfn> + '_ {
        self.0.iter().copied()
    }

    /// Gives all of them back. Not with a lock held.
    pub fn release(self) {
        if blocks::is_source() {
            // SAFETY: what a stock has is zero, and in no tree.
            return self.0.into_iter().for_each(|table| unsafe { blocks::give(table) });
        }
        let Some(frames) = frames() else { return };
        let guard = MACHINE.pin();
        for pfn in self.0 {
            // SAFETY: it was allocated as a single frame, and neither tables nor reserve have it any more.
            if let Ok(frame) = unsafe { frames.from_pfn(pfn, Order::BASE) } {
                frames.free(guard.pinned(), frame);
            }
        }
    }
}

// SAFETY: each frame was allocated for the stock, zeroed, or given back to it so, and is handed out once.
unsafe impl TableSource for Stock {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        self.0.pop().ok_or(OutOfTables)
    }

    /// The reserve gives back no more than a batch at a time.
    unsafe fn give_back(&mut self, table: Pfn) {
        let _ = self.0.try_push(table);
    }
}

fn zeroed_frame() -> Option<Frame> {
    let guard = MACHINE.pin();
    let request = Request::FRAME.zeroed().class(AllocClass::PageTables).owner(Holder::DirectMap.owner());
    frames()?.alloc(guard.pinned(), request).ok()
}

/// Returns a page for records, the journal's for good.
fn record_page() -> Option<&'static mut RecordPage> {
    let place = MACHINE.direct(zeroed_frame()?.into_pfn().addr()).as_mut_ptr::<RecordPage>();
    // SAFETY: the frame is ours and never freed, is in the direct map permanently, and holds a `RecordPage`, which is
    // at most 4 KiB.
    unsafe {
        place.write(RecordPage::new());
        Some(&mut *place)
    }
}
