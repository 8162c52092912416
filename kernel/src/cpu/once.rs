//! Places that boot fills once.

use rhumb_machine::impossible;
use spin::Once;

/// Fills `place`, which nothing has filled before, and returns what is in it. If `place` is full already, its value
/// stays, and the caller's line is reported as one that cannot be reached.
#[track_caller]
pub fn fill<T>(place: &Once<T>, value: T) -> &T {
    let mut is_first = false;
    let kept = place.call_once(|| {
        is_first = true;
        value
    });
    if !is_first {
        impossible!("a place that is filled once is filled already");
    }
    kept
}
