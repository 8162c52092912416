//! How much one flush dropped: figures for counters.

/// The figures of one flush. They prove nothing: the proof that tables may be reused is
/// [`Flushed`](crate::flush::Flushed), which owns them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlushStats {
    pub(super) pages: u32,
    pub(super) full: bool,
    pub(super) interrupts: u32,
    pub(super) left_to_lazy: u32,
    pub(super) shared: bool,
}

impl FlushStats {
    /// Those of an empty batch.
    pub const NOTHING: Self = Self { pages: 0, full: false, interrupts: 0, left_to_lazy: 0, shared: false };

    /// Returns how many pages were dropped one by one; 0 for a full flush.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Tells whether everything was dropped.
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// Returns how many CPUs were interrupted.
    pub const fn interrupts(&self) -> u32 {
        self.interrupts
    }

    /// Returns how many CPUs will flush when they wake.
    pub const fn left_to_lazy(&self) -> u32 {
        self.left_to_lazy
    }

    /// Tells whether the batch went into the round of another CPU, in whose figures it is, too.
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Tells whether the batch was empty.
    pub const fn was_empty(&self) -> bool {
        self.pages == 0 && !self.full
    }
}
