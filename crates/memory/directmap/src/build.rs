//! The plan written into tables, whole or not at all.
//!
//! All pieces are surveyed first, all tables taken second, all entries written third, in ascending order, each table of
//! leaves once from its first entry to its last. With 4-KiB pages, 1 TiB takes 2 GiB of tables, so that the time is
//! the number of entries times the cost of one, which is one store.

use core::fmt;

use rhumb_machine::PhysRange;
use rhumb_pagetable::{Levels, MapError, Mapper, PageCounts, Root, TableChain, TableMemory, TableSource};

use crate::plan::Plan;

/// Why the map was not built. No entry was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuildError {
    /// The tables are not as deep as the plan says.
    Levels {
        /// The plan's.
        planned: Levels,
        /// The root's.
        found: Levels,
    },
    /// The source has too few frames.
    OutOfTables {
        /// How many tables the map takes.
        needed: u64,
    },
    /// A piece cannot be mapped.
    Map(MapError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Levels { planned, found } => {
                write!(f, "the direct map is planned for {} levels, ", planned.top())?;
                write!(f, "the tables have {}", found.top())
            }
            Self::OutOfTables { needed } => {
                write!(f, "the direct map takes {needed} page tables, too few frames are left")
            }
            Self::Map(error) => write!(f, "the direct map: {error}"),
        }
    }
}

impl core::error::Error for BuildError {}

impl From<MapError> for BuildError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// The map that was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Built {
    /// Tables taken from the source and kept; [`Plan::tables`] unless some stood there already.
    pub tables: u64,
    /// Pages mapped; the same as [`Plan::pages`].
    pub pages: PageCounts,
}

impl<R> Plan<'_, R>
where
    R: Clone + IntoIterator<Item = PhysRange>,
{
    /// Writes the map into the tree under `root`, with tables from `source`. All or nothing.
    ///
    /// Cost: one entry written for each page, three entry accesses for each table. Nothing to flush: only absent
    /// entries are filled.
    #[expect(unsafe_code, reason = "gives back what it has taken and not used")]
    pub fn build<M, S>(&self, root: Root, memory: &mut M, source: &mut S) -> Result<Built, BuildError>
    where
        M: TableMemory + ?Sized,
        S: TableSource + ?Sized,
    {
        if root.levels != self.levels() {
            return Err(BuildError::Levels { planned: self.levels(), found: root.levels });
        }
        for mapping in self.mappings() {
            Mapper::new(root, memory).survey(&mapping)?;
        }
        let needed = self.tables();
        let mut chain =
            TableChain::take(needed, memory, source).map_err(|_| BuildError::OutOfTables { needed })?;
        let pages = fill(self, root, memory, &mut chain);
        let tables = needed - chain.len();
        // SAFETY: they came from this source just now, and were not used.
        unsafe { chain.give_back(memory, source) };
        Ok(Built { tables, pages: pages? })
    }
}

/// Maps each piece. The pieces do not overlap and each was found free, so none is refused now.
fn fill<R, M>(
    plan: &Plan<'_, R>,
    root: Root,
    memory: &mut M,
    chain: &mut TableChain,
) -> Result<PageCounts, MapError>
where
    R: Clone + IntoIterator<Item = PhysRange>,
    M: TableMemory + ?Sized,
{
    let mut pages = PageCounts::NONE;
    let mut mapper = Mapper::new(root, memory);
    for mapping in plan.mappings() {
        pages.add_all(mapper.map_from(&mapping, chain)?.pages);
    }
    Ok(pages)
}
