//! The calls that modules get by time.
//!
//! They are made by the CPU of the prompt: between two commands, and while it waits for one. So no two are made at once, and
//! none while a command runs.

use super::error::MAX_MODULES;
use super::registry::{self, Use};
use crate::cpu::clock;

/// Calls each module whose tick is due.
pub fn run_due() {
    let now_ns = clock::now_ns();
    for user in (0..MAX_MODULES).filter_map(|index| Use::of_due(index, now_ns)) {
        if let Some((tick, _)) = user.header().tick() {
            // SAFETY: the module's function, which the header's version says is of this type; the module has a user until it
            // has returned; this CPU alone calls ticks.
            unsafe { tick() };
        }
    }
}

/// Returns how long until a tick is due; `None` if no module has one.
pub fn ns_to_next() -> Option<u64> {
    registry::first_due_ns().map(|due_ns| due_ns.saturating_sub(clock::now_ns()))
}
