//! Where lost frames are counted: handles that went out of scope without being freed.
//!
//! A handle knows no allocator (it is eight bytes), so the count is one for the whole program. The last loss is kept,
//! for [`crate::Frames::describe`] can tell who owned it.

use core::sync::atomic::{AtomicU64, Ordering};

use rhumb_machine::{Pfn, PfnRange};

static LOST: AtomicU64 = AtomicU64::new(0);
/// The first frame of the last loss, plus one; zero where nothing was lost.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Frames lost by dropping their handles since the program began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaks {
    /// How many frames.
    pub frames: u64,
    /// The first frame of the handle that was dropped last.
    pub last: Option<Pfn>,
}

pub(crate) fn record(range: PfnRange) {
    LOST.fetch_add(range.frames(), Ordering::Relaxed);
    LAST.store(range.start().get() + 1, Ordering::Relaxed);
}

/// Returns the losses so far. A program that is right reports zero frames.
pub fn leaks() -> Leaks {
    let last = LAST.load(Ordering::Relaxed).checked_sub(1).map(Pfn::new);
    Leaks { frames: LOST.load(Ordering::Relaxed), last }
}
