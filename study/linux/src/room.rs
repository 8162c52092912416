//! How much memory the study may take, and how much of it may be locked.

#[cfg(test)]
mod tests;

use rhumb_study_system::available_bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proc::Root;
use crate::proc::counters::kilobytes;

/// The share of all memory that stays free, whatever the study takes.
const MARGIN: f64 = 0.15;

/// Memory that stays free at least, in bytes.
const MARGIN_AT_LEAST: u64 = 256 << 20;

/// Returns how many bytes more the study may take now: all that the system and the control groups have left, less the
/// margin.
pub(crate) fn room(root: &Root) -> u64 {
    let total = root.proc("meminfo").ok().and_then(|meminfo| kilobytes(&meminfo, "MemTotal")).unwrap_or(0);
    available_bytes().unwrap_or(0).saturating_sub(margin(total))
}

/// Returns the memory that stays free on a machine with `total` bytes.
pub(crate) fn margin(total: u64) -> u64 {
    ((total as f64 * MARGIN) as u64).max(MARGIN_AT_LEAST)
}

/// Raises the soft limit of locked memory to the hard one, and returns how many bytes may be locked; `None` without a
/// limit. Root's locked memory has none.
pub(crate) fn lockable() -> Option<u64> {
    let limit = getrlimit(Resource::Memlock);
    // A refusal leaves the limit as it was.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = getrlimit(Resource::Memlock).current;
    limit.filter(|_| !rustix::process::geteuid().is_root())
}
