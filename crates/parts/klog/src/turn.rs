//! [`Turn`]: one CPU at a time does what several ask for, and none of them waits.
//!
//! A CPU asks for the work, and then does it if no other CPU is at it. A CPU that is at it looks again afterwards, so
//! it also does the work that was asked for meanwhile. The work itself is found elsewhere (in the rings, for a
//! console); asking twice while it waits is asking once.
//!
//! **Proof.** One word holds both: that the turn is taken, and that something is wanted. A CPU A that asks sets the
//! second bit, and goes away only where it finds the first one set. Then the holder B clears the first bit later in the
//! word's one order of changes, by an exchange that returns the second bit, too: B sees that it is wanted, and what A
//! did before it asked. An interrupt on B itself is A in this proof.

use rhumb_sync::atomic::{AcqRel, Acquire, AtomicU64, Relaxed};

const TAKEN: u64 = 1 << 0;
const WANTED: u64 = 1 << 1;

/// How often a holder looks again before it leaves the rest to the next CPU that looks: a CPU may have other things to
/// do than the work of all others.
const MOST_ROUNDS: usize = 16;

/// Whether a CPU is at it, and whether there is more to do.
#[derive(Debug)]
pub struct Turn(AtomicU64);

impl Turn {
    rhumb_sync::const_fn! {
        /// Makes a turn with nothing to do.
        pub fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    /// Says that there is something to do, which is there to be found already.
    pub fn ask(&self) {
        self.0.fetch_or(WANTED, AcqRel);
    }

    /// Does `work`, as often as it is asked for, unless another CPU is at it. Does not wait. Cost where nothing is
    /// wanted: one load.
    pub fn run(&self, mut work: impl FnMut()) {
        for _ in 0..MOST_ROUNDS {
            let is_free_and_wanted = self.0.load(Relaxed) == WANTED;
            if !is_free_and_wanted || self.0.compare_exchange(WANTED, TAKEN, AcqRel, Acquire).is_err() {
                return;
            }
            work();
            self.0.fetch_and(!TAKEN, AcqRel);
        }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}
