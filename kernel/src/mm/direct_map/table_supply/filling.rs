//! Filling up the reserve: after changes, and where one large operation takes more.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_directmap::{RecordPage, Reserve};
use rhumb_machine::{Machine, impossible};
use x86_64::instructions::interrupts;

use super::stock::{Stock, zeroed_frame};
use super::surplus::{drain, shrink_to};
use super::{reserve, store};
use crate::cpu::machine::MACHINE;
use crate::mm::direct_map::{counters, free_kept_tables, with};

/// Fills up the reserve where it has `left` only, or leaves that to the idle loop where interrupts are off.
pub fn fill_if_allowed(left: Reserve) {
    let level = reserve::level();
    if left.records >= level.records && (level.tables..=reserve::most_tables()).contains(&left.tables) {
        return;
    }
    if interrupts::are_enabled() {
        fill();
    } else {
        reserve::want();
    }
}

/// Fills up the reserve if a change could not. Called by the idle loop.
pub fn fill_if_wanted() {
    if reserve::is_wanted() {
        fill();
    }
}

/// Gives all tables back, with the blocks that this empties where tables are protected, and fills up the reserve anew.
/// Changes that need a table may be refused meanwhile.
pub fn renew() {
    free_kept_tables();
    drain(0);
    store::shrink(0);
    fill();
}

/// Merges at the last call of [`free_kept_if_quiet`].
static MERGES_SEEN: AtomicU64 = AtomicU64::new(0);

/// Frees the tables that the map keeps, by one flush, if none was merged since the last call.
pub fn free_kept_if_quiet() {
    let counters = counters();
    let merges = counters.level2_collapses + counters.level3_collapses;
    if MERGES_SEEN.swap(merges, Relaxed) == merges && free_kept_tables() > 0 {
        let level = reserve::level();
        fill_to(level);
        shrink_to(level.tables);
    }
}

/// Fills up the reserve, and gives back what is far more than its level. Where the allocator has nothing, the tables
/// that the map keeps must do, and else the reserve stays as it is: a change that needs more is refused, whole.
pub fn fill() {
    let level = reserve::level();
    fill_to(level);
    if reserve::now().tables > reserve::most_tables() {
        shrink_to(level.tables);
    }
}

/// Fetches what one large operation takes besides.
pub fn fill_for(more: Reserve) {
    let level = reserve::level();
    fill_to(Reserve { tables: level.tables + more.tables, records: level.records + more.records });
}

fn fill_to(wanted: Reserve) {
    while reserve::now().records < wanted.records {
        let Some(page) = record_page() else {
            free_kept_tables();
            break;
        };
        if with(|map| map.add_record_page(page)).is_err() {
            return impossible!("a map with too few records is there");
        }
    }
    let mut may_free_kept = true;
    loop {
        let missing = wanted.tables.saturating_sub(reserve::now().tables);
        let mut stock = Stock::fetch(missing);
        if stock.is_empty() {
            // Once: others may merge, and take what this has freed, again and again.
            if missing > 0 && core::mem::take(&mut may_free_kept) && free_kept_tables() > 0 {
                continue;
            }
            return;
        }
        // Others may have filled it up meanwhile: what is left over goes back.
        // SAFETY: the stock's tables are frames of this machine, as the map's are.
        let filled = with(|map| unsafe { map.refill(wanted.tables, &mut stock) });
        stock.release();
        if filled.is_err() {
            return impossible!("a map with too few tables is there");
        }
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
