//! The data that CPUs share in a timed phase, counted in a build with `--cfg rhumb_counted`.

use std::ops::Add;

/// Operations of a CPU in one turn: few, so that the CPUs' work is mixed, and no divisor of a magazine's size.
const TURN: usize = 7;

/// The counts of a CPU in a timed phase; sums over CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) visits: u64,
    pub(crate) lines: u64,
    pub(crate) moved: u64,
}

impl Add for Shared {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            visits: self.visits + other.visits,
            lines: self.lines + other.lines,
            moved: self.moved + other.moved,
        }
    }
}

impl Shared {
    /// Returns this CPU's counts since the last call; nothing in a build that does not count.
    #[inline(always)]
    pub(crate) fn take() -> Self {
        #[cfg(rhumb_counted)]
        {
            let counts = rhumb_sync::counted::take();
            Self { visits: counts.lock_visits, lines: counts.foreign_lines, moved: counts.moved }
        }
        #[cfg(not(rhumb_counted))]
        Self::default()
    }

    /// Returns after how many operations a CPU looks at the others; in a build that counts, it gives way to them then.
    #[inline(always)]
    pub(crate) fn stride(stride: usize) -> usize {
        if cfg!(rhumb_counted) { stride.min(TURN) } else { stride }
    }

    /// Returns the counts of 1,000 operations, where so many were done; `None` in a build that does not count.
    pub(crate) fn per_1000(self, operations: usize) -> Option<[(&'static str, f64); 3]> {
        let per_1000 = |count: u64| 1000.0 * count as f64 / operations.max(1) as f64;
        cfg!(rhumb_counted).then(|| {
            [
                ("visits", per_1000(self.visits)),
                ("lines", per_1000(self.lines)),
                ("moved", per_1000(self.moved)),
            ]
        })
    }
}
