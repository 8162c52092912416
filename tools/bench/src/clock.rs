//! The time-stamp counter as a clock: a few nanoseconds to read, and its own cost known.
//!
//! Fenced on both sides, a reading comes between the loads before it and those after it (Intel SDM volume 2B, RDTSC:
//! "LFENCE; RDTSC; LFENCE"). The counter runs at one rate on every CPU made since 2008.
//!
//! A span is the counter's difference less the cost of a reading. A span that is shorter than a step of the counter, or
//! than readings vary, says nothing: that is the clock's resolution.

use core::arch::x86_64::{_mm_lfence, _rdtsc};
use std::time::{Duration, Instant};

/// How long the counter is held against the system's clock. Its error, some 100 ns at each end, is then 1 in 10^5.
const CALIBRATION: Duration = Duration::from_millis(30);

/// Readings from which the cost of a reading is taken.
const OVERHEAD_READINGS: usize = 10_001;

/// The calibrated counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ns_per_tick: f64,
    reading: Reading,
}

/// The cost of a reading, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reading {
    /// The median, which spans are reduced by.
    overhead: u64,
    /// The shortest span that can be told from a reading.
    resolution: u64,
}

impl Reading {
    /// Summarizes the differences of pairs of readings with nothing between them. The resolution is the smallest
    /// difference above 0: the step of a counter that moves in steps (of 10 ns on many CPUs), and else the cost of a
    /// reading. Where readings vary by more, it is the distance from the median to the 99th percentile, because one
    /// reading in a hundred of nothing is as long.
    fn of(mut nothing: Vec<u64>) -> Self {
        nothing.sort_unstable();
        let at = |per_cent: usize| nothing.get(nothing.len() * per_cent / 100).copied().unwrap_or(0);
        let step = nothing.iter().copied().find(|&ticks| ticks > 0).unwrap_or(1);
        Self { overhead: at(50), resolution: (at(99) - at(50)).max(step) }
    }

    /// Measures the cost on the CPU that runs now; some 0.5 ms.
    fn measured() -> Self {
        Self::of((0..OVERHEAD_READINGS).map(|_| (ticks(), ticks())).map(|(a, b)| b - a).collect())
    }
}

impl Clock {
    /// Calibrates; takes some 30 ms.
    pub(crate) fn calibrate() -> Self {
        let (start, first) = (Instant::now(), ticks());
        while start.elapsed() < CALIBRATION {
            std::hint::spin_loop();
        }
        let (elapsed, last) = (start.elapsed(), ticks());
        let ns_per_tick = elapsed.as_nanos() as f64 / (last - first) as f64;
        Self { ns_per_tick, reading: Reading::measured() }
    }

    /// Returns the clock with the cost of a reading as it is on this CPU now. That cost follows the CPU's frequency, as
    /// do the spans that are measured right after; the counter does not.
    pub(crate) fn here(self) -> Self {
        Self { reading: Reading::measured(), ..self }
    }

    /// Returns the shortest span, in nanoseconds, that can be told from the cost of reading.
    pub(crate) fn resolution_ns(&self) -> f64 {
        self.ns(self.reading.resolution)
    }

    /// Returns `ticks` in nanoseconds.
    pub(crate) fn ns(&self, ticks: u64) -> f64 {
        ticks as f64 * self.ns_per_tick
    }

    /// Returns the ticks from `start` to `end`, less the cost of reading.
    pub(crate) fn span(&self, start: u64, end: u64) -> u32 {
        u32::try_from((end - start).saturating_sub(self.reading.overhead)).unwrap_or(u32::MAX)
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

#[cfg(test)]
mod tests;
