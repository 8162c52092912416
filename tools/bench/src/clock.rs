//! The time-stamp counter as a clock: a few nanoseconds to read, and its own cost known.
//!
//! Fenced on both sides, a reading comes between the loads before it and those after it (Intel SDM volume 2B, RDTSC:
//! "LFENCE; RDTSC; LFENCE"). The counter runs at one rate on every CPU made since 2008.

use core::arch::x86_64::{_mm_lfence, _rdtsc};
use std::time::{Duration, Instant};

/// How long the counter is held against the system's clock. Its error, some 100 ns at each end, is then 1 in 10^5.
const CALIBRATION: Duration = Duration::from_millis(30);

/// Readings from which the cost of a reading is taken; the median of them.
const OVERHEAD_READINGS: usize = 10_001;

/// The calibrated counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ns_per_tick: f64,
    overhead_ticks: u64,
}

impl Clock {
    /// Calibrates; takes some 30 ms.
    pub(crate) fn calibrate() -> Self {
        let (start, first) = (Instant::now(), ticks());
        while start.elapsed() < CALIBRATION {
            std::hint::spin_loop();
        }
        let (elapsed, last) = (start.elapsed(), ticks());
        let mut readings: Vec<u64> =
            (0..OVERHEAD_READINGS).map(|_| (ticks(), ticks())).map(|(a, b)| b - a).collect();
        readings.sort_unstable();
        Self {
            ns_per_tick: elapsed.as_nanos() as f64 / (last - first) as f64,
            overhead_ticks: readings[OVERHEAD_READINGS / 2],
        }
    }

    /// Nanoseconds that `ticks` are.
    pub(crate) fn ns(&self, ticks: u64) -> f64 {
        ticks as f64 * self.ns_per_tick
    }

    /// Ticks from `start` to `end`, less the cost of reading.
    pub(crate) fn span(&self, start: u64, end: u64) -> u32 {
        u32::try_from((end - start).saturating_sub(self.overhead_ticks)).unwrap_or(u32::MAX)
    }
}

/// Returns the counter now, fenced.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: both instructions are on every x86-64 CPU and touch no memory.
    unsafe {
        _mm_lfence();
        let now = _rdtsc();
        _mm_lfence();
        now
    }
}
