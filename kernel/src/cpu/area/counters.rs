//! Statistics that each CPU keeps of itself, for `vmstat` and `cpus` to sum up.
//!
//! A CPU counts by one instruction with a `gs:` operand, so code that may be moved to another CPU needs no guard to
//! count: it counts for the CPU that executes the instruction. The instruction is not locked, because no other CPU
//! writes there: each may only read.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::PerCpu;

/// A number that one CPU counts by [`COUNT`], and that all may read.
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns the number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counter of the CPU on which the code runs that is so far from the beginning of its area.
pub struct OfThisCpu<const OFFSET: usize>(());

impl<const OFFSET: usize> OfThisCpu<OFFSET> {
    /// Adds one.
    #[inline(always)]
    pub fn increment(&self) {
        // SAFETY: GS leads to this CPU's area, which has a counter there: `counters!` makes no other offset.
        unsafe { asm!("inc qword ptr gs:[{}]", const OFFSET, options(nostack)) };
    }

    /// Adds `n`.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        // SAFETY: as above.
        unsafe { asm!("add qword ptr gs:[{}], {}", const OFFSET, in(reg) n, options(nostack)) };
    }
}

/// Makes [`Counters`], and [`COUNT`] with the same names.
macro_rules! counters {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        /// The counters of one CPU.
        pub struct Counters {
            $(pub $name: Counter,)*
        }

        impl Counters {
            pub(super) const fn new() -> Self {
                Self { $($name: Counter(AtomicU64::new(0)),)* }
            }
        }

        /// The counters of the CPU on which the code runs.
        pub struct CountersOfThisCpu {
            $($(#[$attribute])* pub $name: OfThisCpu<{ offset_of!(PerCpu, counters) + offset_of!(Counters, $name) }>,)*
        }

        /// Counts on the CPU on which the code runs: `COUNT.flushes.increment()`.
        pub const COUNT: CountersOfThisCpu = CountersOfThisCpu { $($name: OfThisCpu(()),)* };
    };
}

counters! {
    timer_interrupts,
    device_interrupts,
    call_interrupts,
    reschedule_interrupts,
    calls_served,
    calls_sent,
    spurious_interrupts,
    #[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "all others end in a report"))]
    nmis,
    flushes,
    flushes_page,
    flushes_all,
    flushes_remote,
    flushes_received,
    flushes_lazy,
    page_table_writes,
    events_missed,
}
