//! [`Turn`]: one CPU at a time does what several ask for, and none of them waits.
//!
//! A CPU asks, and then does the work if no other one is at it. The one that is at it looks again afterwards, so whatever
//! was asked for meanwhile is done, too: by it. What the work is, and what it has to do, is found elsewhere (in the rings,
//! for a console); asking twice while it waits is asking once.
//!
//! **Proof.** All four steps are sequentially consistent. A CPU A that asks and finds the turn taken has stored `wanted`
//! before its look; the holder B gives the turn back after that look, and looks at `wanted` after giving it back. So B
//! sees that it is wanted. An interrupt on B itself is A in this proof.

use crate::sync::{AtomicBool, Ordering::SeqCst};

/// How often a holder looks again before it leaves the rest to the next CPU that looks: a CPU may have other things to do
/// than the work of all others.
const MOST_ROUNDS: usize = 16;

/// Who is at it, and whether there is more to do.
#[derive(Debug)]
pub struct Turn {
    wanted: AtomicBool,
    taken: AtomicBool,
}

impl Turn {
    /// Nothing to do.
    #[cfg(not(all(test, loom)))]
    pub const fn new() -> Self {
        Self { wanted: AtomicBool::new(false), taken: AtomicBool::new(false) }
    }

    /// Nothing to do; loom's atomics cannot be made at compile time.
    #[cfg(all(test, loom))]
    pub fn new() -> Self {
        Self { wanted: AtomicBool::new(false), taken: AtomicBool::new(false) }
    }

    /// Says that there is something to do, which is there to be found already.
    pub fn ask(&self) {
        self.wanted.store(true, SeqCst);
    }

    /// Does `work`, as often as it is asked for, unless another CPU is at it. Does not wait. Cost where nothing is wanted:
    /// one load.
    pub fn run(&self, mut work: impl FnMut()) {
        for _ in 0..MOST_ROUNDS {
            if !self.wanted.load(SeqCst) || self.taken.swap(true, SeqCst) {
                return;
            }
            self.wanted.store(false, SeqCst);
            work();
            self.taken.store(false, SeqCst);
        }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}
