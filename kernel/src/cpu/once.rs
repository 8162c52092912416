//! Places that boot fills once.

use rhumb_machine::impossible;
use spin::Once;

/// Fills `place`, which nothing has filled before. Where that cannot be said, the first value stays, and the caller is
/// named as a place that cannot be reached.
#[track_caller]
pub fn fill<T>(place: &Once<T>, value: T) {
    let mut is_first = false;
    place.call_once(|| {
        is_first = true;
        value
    });
    if !is_first {
        impossible!("a place that is filled once is filled already");
    }
}
