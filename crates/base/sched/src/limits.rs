//! [`Limits`]: the times by which one CPU schedules.

/// Times by which one CPU schedules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long a fair thread runs before another one that waits does.
    pub slice_ns: u64,
    /// How long a real-time thread with [`Turns::RoundRobin`](crate::Turns::RoundRobin) runs before the next of its
    /// priority does.
    pub round_robin_ns: u64,
    /// Fair threads that wait get the rest of each such period...
    pub real_time_period_ns: u64,
    /// ...in which real-time threads have run for that long.
    pub real_time_budget_ns: u64,
    /// How often a CPU with threads that wait looks for another CPU for them.
    pub balance_ns: u64,
}

impl Limits {
    /// Slices of 3 ms and 100 ms; 950 ms of each second for real time, as on Linux; balancing each 4 ms.
    pub const USUAL: Self = Self {
        slice_ns: 3_000_000,
        round_robin_ns: 100_000_000,
        real_time_period_ns: 1_000_000_000,
        real_time_budget_ns: 950_000_000,
        balance_ns: 4_000_000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
    }
}
