//! [`CpuGate`]: the gate to data that one CPU keeps for itself, and that other CPUs may ask for.
//!
//! The data behind the gate (a magazine of frames or of objects, say) is touched by its CPU alone. The accesses are
//! plain instructions: no locked operation and no shared cache line. Two parties could still get in the way:
//!
//! 1. **An interrupt handler on the same CPU**, in the middle of an operation. The operation sets `is_busy` first. A
//!    handler that finds it set leaves the data alone and goes another way, which the caller provides. Compiler fences
//!    suffice, because a CPU sees its own accesses in program order. The slow path does not set `is_busy`, since it
//!    runs with interrupts off; so a handler of a non-maskable interrupt, which comes all the same, never uses the
//!    data: it neither allocates nor frees.
//! 2. **Another CPU that wants the data back.** It never touches the data. It replaces the *cap*, the most that a free
//!    may leave with the CPU, by `WANTED`, which is less than any count. So the CPU's next free is not kept, without a
//!    further check on the common path; it goes the slow path, which finds the request and drains. (A refill for an
//!    allocation does not look at the cap, so that a CPU which only allocates goes on to be served.)
//!
//! ```text
//!   asker:  cap <- WANTED (exchange)          CPU:  cap <- new (compare-exchange, unless it is WANTED)
//!                                             CPU, as it holds nothing:  WANTED -> 0
//! ```
//!
//! **Proof that no request is lost.** The request and the cap are one word, so each pair of changes has an order. If
//! the CPU's change comes first, the asker's exchange replaces it. If the asker's exchange comes first, the CPU's
//! compare-exchange fails, and WANTED stays. Only [`CpuGate::answer`] ends a request, and the CPU calls it in the
//! stretch with interrupts off in which it comes to hold nothing: before it takes all out at once, or after the last
//! batch. A request that comes between the load and the store in `answer` asks for data that goes back in the same
//! stretch.
//!
//! Why not a flag beside the cap: the CPU would have to set its cap, pass a full fence, and look at the flag; here, one
//! locked operation on a line of its own does both.

use crate::atomic::{AtomicBool, AtomicU32, Relaxed, handler_fence};

/// The cap while another CPU wants this one to give back all that it holds. As a signed number it is negative, so that
/// no free is kept meanwhile.
const WANTED: u32 = u32::MAX;

/// The gate to data that one CPU keeps for itself. See the [module's documentation](self) for the protocol.
///
/// The gate does not know which CPU that is. Its user proves it, by a [`rhumb_machine::Pinned`] token on the common
/// path and by an [`rhumb_machine::IrqOff`] token on the slow one.
#[derive(Default, Debug)]
pub struct CpuGate {
    cap: AtomicU32,
    is_busy: AtomicBool,
}

impl CpuGate {
    crate::const_fn! {
        /// Makes the gate of a CPU that may keep nothing yet.
        pub fn new() -> Self {
            Self { cap: AtomicU32::new(0), is_busy: AtomicBool::new(false) }
        }
    }

    /// Returns whether an operation of this CPU was interrupted: the data must be left alone then. On this CPU.
    #[inline(always)]
    pub fn is_busy(&self) -> bool {
        self.is_busy.load(Relaxed)
    }

    /// Runs `operation` and keeps interrupt handlers away from the data meanwhile; `None` where this is such a handler.
    /// On this CPU, pinned.
    ///
    /// Cost: a load and two stores of the CPU's own line.
    #[inline(always)]
    pub fn alone<T>(&self, operation: impl FnOnce() -> T) -> Option<T> {
        if self.is_busy() {
            return None;
        }
        self.is_busy.store(true, Relaxed);
        handler_fence();
        let result = operation();
        handler_fence();
        self.is_busy.store(false, Relaxed);
        Some(result)
    }

    /// Returns how much a free may leave with the CPU; a negative number while the CPU is asked to give all back.
    #[inline(always)]
    pub fn cap(&self) -> i32 {
        self.cap.load(Relaxed) as i32
    }

    /// Lets frees leave `cap` with the CPU, unless another CPU has asked: the cap stays negative then. On this CPU,
    /// with interrupts off. `cap` is at most `i32::MAX`.
    ///
    /// Cost: a load where the cap is that already; else a locked operation on the CPU's own line.
    #[inline]
    pub fn bound(&self, cap: u32) {
        let old = self.cap.load(Relaxed);
        if old != cap && old != WANTED {
            // Where another CPU asks meanwhile, its request stays.
            let _ = self.cap.compare_exchange(old, cap, Relaxed, Relaxed);
        }
    }

    /// Asks the CPU to give back all that it holds, at its next slow step. From any CPU.
    ///
    /// Cost: a load where the CPU is asked already; else a locked exchange on its line.
    pub fn ask(&self) {
        // An exchange, where a store would come before or after one of `bound` as well: the request is not left in this
        // CPU's store buffer when the caller goes on to wait for the answer.
        if !self.is_wanted() {
            self.cap.swap(WANTED, Relaxed);
        }
    }

    /// Returns whether another CPU has asked this one to give back all that it holds.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.cap.load(Relaxed) == WANTED
    }

    /// Ends the request, because the CPU holds nothing when interrupts come back. On this CPU, with interrupts off.
    pub fn answer(&self) {
        if self.is_wanted() {
            self.cap.store(0, Relaxed);
        }
    }
}
