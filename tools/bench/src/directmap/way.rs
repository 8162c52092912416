//! [`Way`]: the interface of a way of changing a direct map, so that it can take part.

use rhumb_directmap::Change;
use rhumb_machine::PfnRange;

use super::stage::Stage;
use crate::driver::Unfit;

/// How a caller asks for a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// At once, one holder.
    AsRange,
    /// Page by page, each with a holder of its own; a way that can flush for all of them at once does.
    PageByPage,
}

/// The work that a way has done since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Done {
    /// Entries written.
    pub(super) table_writes: u64,
    /// Tables that were allocated on the way of a change.
    pub(super) tables_allocated: u64,
    /// Large pages that are in pieces now.
    pub(super) split_pages: u64,
    /// 1-GiB pages now.
    pub(super) whole_1g: u64,
}

/// A way of changing a direct map.
pub(super) trait Way: Sized + 'static {
    /// Its name in table and file.
    const NAME: &'static str;

    /// The record of changed frames.
    type Held;

    /// Returns a map of `ram_bytes`, as boot leaves it, with room for `holds` changed ranges.
    fn new(ram_bytes: u64, holds: usize) -> Result<Self, Unfit>;

    /// Changes the frames of `request`, and flushes; their record is added to `held`.
    fn change(
        &mut self,
        stage: &Stage<'_>,
        request: (PfnRange, Change),
        asked: Asked,
        held: &mut Vec<Self::Held>,
    ) -> Result<(), Unfit>;

    /// Makes ordinary all that is `held`, which is adjoining frames in ascending order, and flushes.
    fn restore(&mut self, stage: &Stage<'_>, held: &mut Vec<Self::Held>) -> Result<(), Unfit>;

    /// Returns the work that it has done.
    fn done(&self) -> Done;
}
