//! The reserve of the direct map: tables and records that its next changes take.
//!
//! A change of one range splits at most four large pages: one of 1 GiB and one of 2 MiB at each end. So it takes four
//! tables, and five records with its own. Every CPU may make a change before any of them gets to fill up the reserve,
//! and the tables that these changes' undoing gives back wait for a flush: twice that for each CPU is enough for all to
//! change and restore at once.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rhumb_directmap::{RecordPage, Reserve};
use rhumb_machine::Machine;
use x86_64::instructions::interrupts;

use super::stock::{Stock, zeroed_frame};
use super::store;
use crate::cpu;
use crate::cpu::machine::MACHINE;
use crate::mm::direct_map::with;
use crate::mm::tables;

/// Tables that a change takes at most.
const TABLES_OF_A_CHANGE: u64 = 4;
/// Records that a change takes at most.
const RECORDS_OF_A_CHANGE: u64 = TABLES_OF_A_CHANGE + 1;
/// Changes by one CPU that may come before the next filling, counting tables that wait for a flush.
const CHANGES_OF_A_CPU: u64 = 2;

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
pub fn fill_if_allowed(left: Reserve) {
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
    store::shrink(0);
    fill();
}

/// Fills up the reserve, and gives back what is more than twice its level. Where the allocator has nothing, the reserve
/// stays as it is: a change that needs more is refused, whole.
pub fn fill() {
    let level = level();
    fill_to(level);
    if now().tables > 2 * level.tables {
        drain(level.tables);
        store::shrink_if_large();
    }
}

/// Gives the reserve a table of those that the store keeps for growing.
pub(super) fn refill_from_store() {
    // SAFETY: a table is taken.
    let Some(table) = (unsafe { tables::with_store(|store, memory| store.take(memory)) }) else { return };
    let mut stock = Stock::of(table);
    // SAFETY: the store's tables are frames of this machine, as the map's are.
    let _ = with(|map| unsafe { map.refill(1, &mut stock) });
    stock.release();
}

/// Fetches what one large operation takes besides.
pub fn fill_for(more: Reserve) {
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
        if stock.is_empty() {
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
        if stock.is_empty() {
            return;
        }
        stock.release();
    }
}

/// Returns a page for records, the journal's permanently.
fn record_page() -> Option<&'static mut RecordPage> {
    let place = MACHINE.direct(zeroed_frame()?.into_pfn().addr()).as_mut_ptr::<RecordPage>();
    // SAFETY: the frame is ours and never freed, is in the direct map permanently, and holds a `RecordPage`, which is
    // at most 4 KiB.
    unsafe {
        place.write(RecordPage::new());
        Some(&mut *place)
    }
}
