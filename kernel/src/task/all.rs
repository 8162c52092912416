//! All threads, for `ps` and reports.

use rhumb_machine::Machine;

use super::thread::Name;
use super::{Thread, ThreadRef, local};
use crate::cpu::area;
use crate::cpu::machine::MACHINE;

/// Calls `each` with every thread that there is throughout, and perhaps with some that come or go meanwhile.
pub fn for_each(mut each: impl FnMut(&ThreadRef)) {
    for (_, local) in local::all() {
        let mut at: Option<ThreadRef> = None;
        while let Some(thread) = local.threads.behind(at.as_deref()) {
            each(&thread);
            at = Some(thread);
        }
    }
}

/// Returns how many threads there are. It may have changed since.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only tests ask"))]
pub fn count() -> usize {
    let guard = MACHINE.irq_off();
    local::all().map(|(_, local)| local.threads.count(guard.irq_off())).sum()
}

/// Returns the number of the thread that runs, and its name; `None` before the CPU runs threads. From any context.
pub fn current() -> Option<(u32, Name)> {
    let thread = area::thread_now().cast::<Thread>();
    // SAFETY: the thread runs, so it is in memory; its number and its name do not change.
    let data = unsafe { thread.as_ref() }?.data();
    Some((data.number(), data.name()))
}
