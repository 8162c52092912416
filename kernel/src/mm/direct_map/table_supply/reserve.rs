//! The reserve of the direct map: tables and records that its next changes take.
//!
//! A change of one range splits at most four large pages: one of 1 GiB and one of 2 MiB at each end. So it takes four
//! tables, and five records with its own. Every CPU may make a change before any of them gets to fill up the reserve,
//! and the tables that these changes' undoing gives back are kept for a while, or wait for a flush: twice that for each
//! CPU is enough for all to change and restore at once.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

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

/// Set by a change that could not fill up the reserve itself.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Returns the level that the reserve should have, with the CPUs that run.
pub fn level() -> Reserve {
    let changes = CHANGES_OF_A_CPU * cpu::online().len() as u64;
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

/// Asks for the reserve to be filled up: by the next [`super::fill_if_wanted`].
pub fn want() {
    WANTED.store(true, Relaxed);
}

/// Tells whether a change has asked for that since the last call.
pub(super) fn is_wanted() -> bool {
    // The load comes first because the idle loop asks often, and is seldom wanted.
    WANTED.load(Relaxed) && WANTED.swap(false, Relaxed)
}
