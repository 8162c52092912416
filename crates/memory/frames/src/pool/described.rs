//! [`Described`]: whether the descriptors of a block hold anything yet.

use rhumb_sync::atomic::{Acquire, AtomicU32, Relaxed, Release, relax};

/// Whether the descriptors of a block are filled in. Goes from no to yes once, and never back.
#[derive(Default)]
pub(crate) struct Described(AtomicU32);

impl Described {
    const NO: u32 = 0;
    /// Some CPU clears them, with interrupts off.
    const SOON: u32 = 1;
    const YES: u32 = 2;

    /// Begins anew. No other CPU looks at it.
    pub(crate) fn clear(&self) {
        self.0.store(Self::NO, Relaxed);
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.0.load(Acquire) == Self::YES
    }

    /// Runs `clear` unless it has been run; when this returns it has, on whatever CPU. The caller has interrupts off: a
    /// handler on the CPU that clears would wait for it endlessly.
    pub(crate) fn fill(&self, clear: impl FnOnce()) {
        match self.0.compare_exchange(Self::NO, Self::SOON, Acquire, Acquire) {
            Ok(_) => {
                clear();
                self.0.store(Self::YES, Release);
            }
            Err(_) => {
                while !self.is_filled() {
                    relax();
                }
            }
        }
    }
}
