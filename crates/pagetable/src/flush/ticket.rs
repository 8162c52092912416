//! The proof of a flush.

use crate::flush::batch::{FlushBatch, Tables};

/// Proof that the CPUs which a [`FlushBatch`] was flushed on have dropped what was in it (invariant I6). Who reuses the
/// frames, the tables or the addresses of what was unmapped asks for it.
///
/// It proves what was in that batch and for those CPUs: which ones may hold it was the caller's claim. A lazy CPU among
/// them may hold leaves still, but uses none before it has dropped them; tables it has dropped.
#[must_use = "the ticket is what the reuse of frames and tables takes"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    pages: u32,
    full: bool,
    interrupts: u32,
    left_to_lazy: u32,
    tables: Tables,
}

impl Flushed {
    /// Nothing was in the batch.
    pub(crate) const fn nothing(tables: Tables) -> Self {
        Self { pages: 0, full: false, interrupts: 0, left_to_lazy: 0, tables }
    }

    pub(crate) const fn by(batch: &FlushBatch, interrupts: usize, left_to_lazy: usize) -> Self {
        Self {
            pages: batch.pages(),
            full: batch.is_full_flush(),
            interrupts: interrupts as u32,
            left_to_lazy: left_to_lazy as u32,
            tables: batch.tables(),
        }
    }

    /// For a tree that no CPU walks and none has walked since its last full flush: there is nothing to drop.
    pub const fn never_walked() -> Self {
        Self::nothing(Tables::Changed)
    }

    /// Whether it covers entries that referred to tables: only then may tables be reused.
    pub const fn covers_tables(&self) -> bool {
        matches!(self.tables, Tables::Changed)
    }

    /// Pages dropped one by one; 0 for a full flush.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Whether everything was dropped.
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// CPUs that were interrupted.
    pub const fn interrupts(&self) -> u32 {
        self.interrupts
    }

    /// CPUs that will flush when they wake.
    pub const fn left_to_lazy(&self) -> u32 {
        self.left_to_lazy
    }

    /// Whether the batch was empty.
    pub const fn was_empty(&self) -> bool {
        self.pages == 0 && !self.full
    }
}
