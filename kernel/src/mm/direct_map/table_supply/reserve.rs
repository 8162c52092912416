//! The reserve of the direct map: tables and records that its next changes take.
//!
//! A change of one range splits at most four large pages: one of 1 GiB and one of 2 MiB at each end. So it takes at
//! most four tables, and five records with its own. Every CPU may make a change before any CPU gets to fill up the
//! reserve. The tables that restores give back are kept for a while, or wait for a flush. So the level is twice the
//! need of a change for each CPU, which is enough for all CPUs to change and restore at once.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_directmap::Reserve;
use rhumb_directmap::quarantine::KEPT_MAX;

use crate::cpu;
use crate::mm::direct_map::with;

/// Tables that a change takes at most.
const TABLES_OF_A_CHANGE: u64 = 4;
/// Records that a change takes at most.
const RECORDS_OF_A_CHANGE: u64 = TABLES_OF_A_CHANGE + 1;
/// Changes of each CPU for which the reserve has tables: one before the next filling, and one whose tables wait for a
/// flush.
const CHANGES_OF_A_CPU: u64 = 2;

/// The tables (upper 32 bits) and records (lower 32) that the reserve had after the last change that left it off its
/// level and could not fill it up itself.
static WANTED: AtomicU64 = AtomicU64::new(NOTHING_WANTED);

/// No reserve: past the largest.
const NOTHING_WANTED: u64 = u64::MAX;

/// Returns the level that the reserve should have, with the CPUs that run.
pub fn level() -> Reserve {
    let changes = CHANGES_OF_A_CPU * cpu::online_count() as u64;
    Reserve { tables: TABLES_OF_A_CHANGE * changes, records: RECORDS_OF_A_CHANGE * changes }
}

/// Returns how many tables the reserve may have before some go back. One flush may bring it all tables that the map
/// keeps, and the next splits take those, so they are no surplus.
pub fn most_tables() -> u64 {
    2 * level().tables + KEPT_MAX as u64
}

/// Returns what the reserve has now.
pub fn now() -> Reserve {
    with(|map| map.reserve()).unwrap_or_default()
}

/// Tells whether the reserve has too little, or far too much, with `left` in it.
pub fn is_off_level(left: Reserve) -> bool {
    let level = level();
    left.records < level.records || !(level.tables..=most_tables()).contains(&left.tables)
}

/// Asks the next [`super::fill_if_wanted`] to bring the reserve, which has `left`, to its level.
pub fn want(left: Reserve) {
    let bits = |count: u64| count.min(u64::from(u32::MAX - 1));
    WANTED.store(bits(left.tables) << 32 | bits(left.records), Relaxed);
}

/// Returns what the reserve had at the last [`want`], if there was one since the last call. It may have changed since.
pub(super) fn take_wanted() -> Option<Reserve> {
    // The load comes first because the idle loop asks often, and is seldom wanted.
    let is_wanted = WANTED.load(Relaxed) != NOTHING_WANTED;
    let wanted = if is_wanted { WANTED.swap(NOTHING_WANTED, Relaxed) } else { NOTHING_WANTED };
    (wanted != NOTHING_WANTED).then_some(Reserve { tables: wanted >> 32, records: wanted & 0xffff_ffff })
}
