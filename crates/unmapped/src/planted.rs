//! Faults that a test plants into this crate, to see them found.
//!
//! Without the crate's feature `planted`, which its own tests turn on, no fault can be planted and [`is`] is `false`
//! when the code is compiled.

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A window's slots begin anew without the flush.
    WrapWithoutFlush,
    /// A window opens and closes with interrupts on.
    InterruptibleWindow,
    /// A slot may be used again before its entry is clear.
    ReleasedBeforeCleared,
    /// A closed window's entry stays.
    EntryNotCleared,
    /// A key that was open when it was opened again is closed afterwards.
    KeyClosedNotRestored,
    /// A frame can be taken again before it is zero.
    ShelvedBeforeZeroed,
}

#[cfg(feature = "planted")]
mod plant {
    extern crate std;

    use core::cell::Cell;

    use super::Fault;

    std::thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Whether `fault` is planted in this thread.
    pub fn is(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// Runs `act` with `fault` planted in this thread. A hosted CPU is a thread of its own: plant the fault there.
    pub fn with<A>(fault: Fault, act: impl FnOnce() -> A) -> A {
        struct Removed;
        impl Drop for Removed {
            fn drop(&mut self) {
                PLANTED.set(None);
            }
        }
        PLANTED.set(Some(fault));
        let _removed = Removed;
        act()
    }
}

#[cfg(feature = "planted")]
pub use plant::{is, with};

/// Whether `fault` is planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(fault: Fault) -> bool {
    let _ = fault;
    false
}
