//! The reserve of the direct map: tables and records that its next changes take.
//!
//! A change of one range splits at most four large pages: one of 1 GiB and one of 2 MiB at each end. So it takes four
//! tables, and five records with its own. Every CPU may make a change before any of them gets to fill up the reserve,
//! and the tables that these changes' undoing gives back are kept for a while, or wait for a flush: twice that for each
//! CPU is enough for all to change and restore at once.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_directmap::Reserve;
use rhumb_directmap::quarantine::KEPT_MAX;

use crate::cpu;
use crate::mm::direct_map::with;

/// Tables that a change takes at most.
const TABLES_OF_A_CHANGE: u64 = 4;
/// Records that a change takes at most.
const RECORDS_OF_A_CHANGE: u64 = TABLES_OF_A_CHANGE + 1;
/// Changes by one CPU that may come before the next filling, counting tables that wait for a flush.
const CHANGES_OF_A_CPU: u64 = 2;

/// The reserve after the last change that left it off its level and could not fill it up itself: 32 bits of tables, 32
/// of records.
static WANTED: AtomicU64 = AtomicU64::new(NOTHING_WANTED);

/// No reserve: past the largest.
const NOTHING_WANTED: u64 = u64::MAX;

/// Returns the level that the reserve should have, with the CPUs that run.
pub fn level() -> Reserve {
    let changes = CHANGES_OF_A_CPU * cpu::online_count() as u64;
    Reserve { tables: TABLES_OF_A_CHANGE * changes, records: RECORDS_OF_A_CHANGE * changes }
}

/// Returns how many tables the reserve may have: past that it gives some back. One flush brings it as many as the map
/// keeps, and the next splits take them, so these are no surplus.
pub fn most_tables() -> u64 {
    2 * level().tables + KEPT_MAX as u64
}

/// Returns the level that the reserve has.
pub fn now() -> Reserve {
    with(|map| map.reserve()).unwrap_or_default()
}

/// Tells whether the reserve has too little, or far too much, with `left` in it.
pub fn is_off_level(left: Reserve) -> bool {
    let level = level();
    left.records < level.records || !(level.tables..=most_tables()).contains(&left.tables)
}

/// Asks for the reserve to be brought to its level, which has `left`: by the next [`super::fill_if_wanted`].
pub fn want(left: Reserve) {
    let bits = |count: u64| count.min(u64::from(u32::MAX - 1));
    WANTED.store(bits(left.tables) << 32 | bits(left.records), Relaxed);
}

/// Returns what the reserve had when it was wanted since the last call. It may have changed.
pub(super) fn take_wanted() -> Option<Reserve> {
    // The load comes first because the idle loop asks often, and is seldom wanted.
    let is_wanted = WANTED.load(Relaxed) != NOTHING_WANTED;
    let wanted = if is_wanted { WANTED.swap(NOTHING_WANTED, Relaxed) } else { NOTHING_WANTED };
    (wanted != NOTHING_WANTED).then_some(Reserve { tables: wanted >> 32, records: wanted & 0xffff_ffff })
}
