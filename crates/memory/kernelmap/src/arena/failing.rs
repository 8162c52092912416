//! Tags that fail on purpose, in a thread of a test: the n-th one that it allocates, or all from there on.

use core::cell::Cell;

use rhumb_slab::AllocError;

use super::error::ArenaError;

/// Which tags fail after those that pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failing {
    One,
    All,
}

std::thread_local! {
    static LEFT: Cell<Option<(u64, Failing)>> = const { Cell::new(None) };
}

/// Lets so many tags pass, and fails those after them.
pub(super) fn after(tags: u64, failing: Failing) {
    LEFT.set(Some((tags, failing)));
}

/// Lets all tags pass.
pub(super) fn end() {
    LEFT.set(None);
}

/// Is asked before each tag.
pub(super) fn next() -> Result<(), ArenaError> {
    let Some((left, failing)) = LEFT.get() else { return Ok(()) };
    if left > 0 {
        LEFT.set(Some((left - 1, failing)));
        return Ok(());
    }
    if failing == Failing::One {
        end();
    }
    Err(ArenaError::NoTag(AllocError::Exhausted))
}
