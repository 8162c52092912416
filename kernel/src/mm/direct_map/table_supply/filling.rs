//! Filling up the reserve: after changes, and before a large operation that takes more than the level.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_directmap::{RecordPage, Reserve};
use rhumb_machine::{Machine, Pfn, impossible};
use x86_64::instructions::interrupts;

use super::stock::{Stock, free_frame, zeroed_frame};
use super::surplus::{drain, shrink_to};
use super::{reserve, store};
use crate::cpu::machine::MACHINE;
use crate::mm::direct_map::{counters, free_kept_tables, with};

/// Brings the reserve, which has `left`, to its level, or leaves that to the idle loop where interrupts are off.
///
/// Cost: no lock where the reserve is on its level; else the lock of the tables once for each
/// [batch](super::stock::BATCH).
pub fn fill_if_allowed(left: Reserve) {
    if !reserve::is_off_level(left) {
    } else if interrupts::are_enabled() {
        fill_from(left);
    } else {
        reserve::want(left);
    }
}

/// Brings the reserve to its level if a change could not. Called by the idle loop.
pub fn fill_if_wanted() {
    if let Some(left) = reserve::take_wanted() {
        fill_from(left);
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

/// How many merges there had been at the last call of [`free_kept_if_quiet`].
static MERGES_SEEN: AtomicU64 = AtomicU64::new(0);

/// Frees the tables that the map keeps, by one flush, if no page was merged since the last call.
pub fn free_kept_if_quiet() {
    let counters = counters();
    let merges = counters.level2_collapses + counters.level3_collapses;
    if MERGES_SEEN.swap(merges, Relaxed) == merges && free_kept_tables() > 0 {
        come_to_level();
    }
}

/// Brings the supply to its state in quiet: no table is kept, and the reserve is on its level.
#[cfg(feature = "lab")]
pub fn come_to_rest() {
    free_kept_tables();
    come_to_level();
}

fn come_to_level() {
    let level = reserve::level();
    fill_to(level, reserve::now());
    shrink_to(level.tables);
}

/// Fills up the reserve, or gives tables back if it has far more than its level. Where the allocator has no frame, the
/// kept tables are freed for the reserve. If there are none, the reserve stays as it is, and a change that needs more
/// is refused as a whole.
pub fn fill() {
    fill_from(reserve::now());
}

/// Does the work of [`fill`] for a reserve that had `left` a moment ago.
fn fill_from(left: Reserve) {
    let level = reserve::level();
    if fill_to(level, left).tables > reserve::most_tables() {
        shrink_to(level.tables);
    }
}

/// Fills up the reserve, which had `left` a moment ago, to its level and the `more` that one large operation takes.
pub fn fill_for(more: Reserve, left: Reserve) {
    let level = reserve::level();
    fill_to(Reserve { tables: level.tables + more.tables, records: level.records + more.records }, left);
}

/// Fills up the reserve, which had `left` a moment ago, to `wanted`. Returns what it has at the end. Tables are fetched
/// with no lock held; under the lock the map takes as many as are still missing.
fn fill_to(wanted: Reserve, mut left: Reserve) -> Reserve {
    let mut may_free_kept = true;
    loop {
        let (tables, records) = (wanted.tables.saturating_sub(left.tables), left.records < wanted.records);
        let mut page = if records { Records::fetch() } else { None };
        let mut stock = Stock::fetch(tables);
        if stock.is_empty() && page.is_none() {
            // Once only, because other CPUs may merge, and take the freed tables, again and again.
            let is_missing = tables > 0 || records;
            if is_missing && core::mem::take(&mut may_free_kept) && free_kept_tables() > 0 {
                left = reserve::now();
                continue;
            }
            return left;
        }
        let filled = with(|map| {
            if map.reserve().records < wanted.records
                && let Some(page) = page.take()
            {
                map.add_record_page(page.place);
            }
            // A source that runs out has given what it had.
            // SAFETY: the stock's tables are frames of this machine, as the map's are.
            let _ = unsafe { map.refill(wanted.tables, &mut stock) };
            map.reserve()
        });
        // Other CPUs may have filled it up meanwhile: the tables and the page that are left over go back.
        stock.release();
        if let Some(page) = page {
            page.release();
        }
        match filled {
            Ok(now) => left = now,
            Err(_) => return impossible!("a map with too few tables is there" => left),
        }
    }
}

/// A page for records on its way from the allocator to the journal, which has it permanently.
struct Records {
    place: &'static mut RecordPage,
    frame: Pfn,
}

impl Records {
    fn fetch() -> Option<Self> {
        let frame = zeroed_frame()?.into_pfn();
        let place = MACHINE.direct(frame.addr()).as_mut_ptr::<RecordPage>();
        // SAFETY: the frame is ours, is in the direct map permanently, and holds a `RecordPage`, which is at most 4
        // KiB. It is freed by `release` alone, which consumes the reference.
        let place = unsafe {
            place.write(RecordPage::new());
            &mut *place
        };
        Some(Self { place, frame })
    }

    /// Gives it back: the journal has enough.
    fn release(self) {
        // SAFETY: the frame was allocated as a single one, and its one reference ends here.
        unsafe { free_frame(self.frame) };
    }
}
