//! The shape of a CPU's translation caches.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::access::Purpose;
use crate::cache::{MAX_WAYS, Replacement};
use crate::page::{MAX_LEVELS, PageSize};

/// The accesses that an array serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Serves {
    /// Loads and stores.
    Data,
    /// Loads only.
    Loads,
    /// Stores only.
    Stores,
    /// Fetches of instructions.
    Code,
    /// All of them.
    All,
}

impl Serves {
    /// Tells whether an access for this purpose looks here.
    pub const fn takes(self, purpose: Purpose) -> bool {
        match (self, purpose) {
            (Self::All, _)
            | (Self::Data | Self::Loads, Purpose::Load)
            | (Self::Data | Self::Stores, Purpose::Store) => true,
            (Self::Code, purpose) => matches!(purpose, Purpose::Fetch),
            _ => false,
        }
    }
}

/// A cache of translations.
///
/// A level that has no array for pages of some size keeps *pieces* of the next smaller size that it has an array for:
/// an access to a 1-GiB page then fills an entry of 2 MiB. If several arrays of a level hold pages of one size, a bit
/// above those that choose the set chooses the array.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Array {
    /// 1 is the nearest to the core; 2 is asked where 1 has nothing.
    pub level: u8,
    /// The accesses that look here.
    pub serves: Serves,
    /// The sizes of page that share its entries.
    pub pages: Vec<PageSize>,
    /// Sets.
    pub sets: u32,
    /// Entries of a set; all entries where there is one set.
    pub ways: u32,
    /// The order of replacement.
    pub replacement: Replacement,
}

impl Array {
    /// Makes an array with LRU replacement.
    pub fn new(level: u8, serves: Serves, pages: &[PageSize], entries: u32, ways: u32) -> Self {
        let sets = entries / ways.max(1);
        Self { level, serves, pages: pages.to_vec(), sets, ways, replacement: Replacement::Lru }
    }

    /// Returns all entries.
    pub fn entries(&self) -> u32 {
        self.sets * self.ways
    }
}

/// A cache of tables' entries that are no pages, so that walks begin further down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WalkCache {
    /// A cache of its own for entries at these levels: 2 for PDEs, 3 for PDPTEs, 4 for PML4Es.
    Own {
        /// The levels that share it.
        levels: Vec<usize>,
        /// Sets.
        sets: u32,
        /// Entries of a set.
        ways: u32,
    },
    /// Entries at these levels are kept in the second level's array for data, and compete with translations.
    SecondLevel {
        /// The levels that are kept there.
        levels: Vec<usize>,
    },
}

impl WalkCache {
    pub(crate) fn levels(&self) -> &[usize] {
        match self {
            Self::Own { levels, .. } | Self::SecondLevel { levels } => levels,
        }
    }
}

/// The translation caches of a CPU.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// A short name for tables and files: `skylake-sp`.
    pub id: String,
    /// The CPU: "Intel Skylake-SP, Cascade Lake".
    pub name: String,
    /// The caches of translations.
    pub arrays: Vec<Array>,
    /// The caches of tables' entries.
    pub walk_caches: Vec<WalkCache>,
    /// Levels of the tables: 4 or 5.
    pub levels: usize,
    /// Where the figures are from, and which of them are assumed.
    pub sources: Vec<String>,
}

/// Why a geometry describes no caches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WrongGeometry {
    /// An array without entries, or with a set of more than 128.
    Size {
        /// Its level.
        level: u8,
        /// Its sets.
        sets: u32,
        /// Its ways.
        ways: u32,
    },
    /// A level other than 1 and 2.
    Level(u8),
    /// No array serves accesses for a purpose.
    Unserved(Purpose),
    /// Tables of other than 4 or 5 levels, or a walk cache for a level that they do not have.
    Tables(usize),
    /// A walk cache in a second level that is not there.
    NoSecondLevel,
    /// A page size that x86-64 does not have, in bytes.
    PageBytes(u64),
}

impl fmt::Display for WrongGeometry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { level, sets, ways } => {
                write!(
                    out,
                    "an array of level {level} cannot have {sets} sets of {ways} (1 to {MAX_WAYS} ways)"
                )
            }
            Self::Level(level) => write!(out, "there is no level {level} of translation caches"),
            Self::Unserved(purpose) => write!(out, "no array of level 1 serves a {purpose:?}"),
            Self::Tables(level) => write!(out, "there is no level {level} of page tables"),
            Self::NoSecondLevel => {
                write!(out, "tables' entries are kept in a second level that is not there")
            }
            Self::PageBytes(bytes) => write!(out, "no page has {bytes} bytes"),
        }
    }
}

impl std::error::Error for WrongGeometry {}

/// A translation cache as a CPU describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described<'a> {
    /// 1 is the nearest to the core.
    pub level: u32,
    /// The accesses that it serves.
    pub serves: Serves,
    /// The sizes of page that share its entries, in bytes; 4 MiB are left out, which long mode does not have.
    pub page_bytes: &'a [u64],
    /// Entries.
    pub entries: u32,
    /// Entries of a set; `None` where each entry takes any page.
    pub ways: Option<u32>,
}

impl Geometry {
    /// Makes a geometry of what a CPU says of itself. No CPU describes its walk caches: they are assumed to be
    /// [`assumed_walk_caches`].
    ///
    /// # Errors
    /// The description has no level 1, or figures that no cache has.
    pub fn described(id: &str, name: &str, caches: &[Described<'_>]) -> Result<Self, WrongGeometry> {
        let mut arrays = Vec::new();
        for cache in caches {
            let mut pages = Vec::new();
            for &bytes in cache.page_bytes.iter().filter(|bytes| **bytes != 4 << 20) {
                pages.push(PageSize::of_bytes(bytes).ok_or(WrongGeometry::PageBytes(bytes))?);
            }
            let level = u8::try_from(cache.level).unwrap_or(u8::MAX);
            if pages.is_empty() {
                continue;
            }
            arrays.push(Array::new(
                level,
                cache.serves,
                &pages,
                cache.entries,
                cache.ways.unwrap_or(cache.entries),
            ));
        }
        let geometry = Self {
            id: id.into(),
            name: name.into(),
            arrays,
            walk_caches: assumed_walk_caches(),
            levels: 4,
            sources: vec!["described by the CPU itself".into(), ASSUMED.into()],
        };
        geometry.check().map(|()| geometry)
    }

    /// Returns the same geometry with another order of replacement in all arrays.
    pub fn with_replacement(mut self, replacement: Replacement) -> Self {
        self.arrays.iter_mut().for_each(|array| array.replacement = replacement);
        self
    }

    /// Checks that all figures can be those of caches.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), WrongGeometry> {
        if !(4..=MAX_LEVELS).contains(&self.levels) {
            return Err(WrongGeometry::Tables(self.levels));
        }
        for array in &self.arrays {
            let (level, sets, ways) = (array.level, array.sets, array.ways);
            if !(1..=2).contains(&level) {
                return Err(WrongGeometry::Level(level));
            }
            if sets == 0 || !(1..=MAX_WAYS).contains(&ways) {
                return Err(WrongGeometry::Size { level, sets, ways });
            }
        }
        for purpose in Purpose::ALL {
            if !self.arrays.iter().any(|array| array.level == 1 && array.serves.takes(purpose)) {
                return Err(WrongGeometry::Unserved(purpose));
            }
        }
        for cache in &self.walk_caches {
            if let Some(level) = cache.levels().iter().find(|level| !(2..=self.levels).contains(level)) {
                return Err(WrongGeometry::Tables(*level));
            }
            match cache {
                WalkCache::Own { sets, ways, .. } if *sets == 0 || !(1..=MAX_WAYS).contains(ways) => {
                    return Err(WrongGeometry::Size { level: 0, sets: *sets, ways: *ways });
                }
                WalkCache::SecondLevel { .. } if self.second_level_for_data().is_none() => {
                    return Err(WrongGeometry::NoSecondLevel);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the array in which a second level keeps tables' entries.
    pub(crate) fn second_level_for_data(&self) -> Option<usize> {
        self.arrays.iter().position(|array| array.level == 2 && array.serves.takes(Purpose::Load))
    }
}

/// The words for walk caches that are assumed.
pub(crate) const ASSUMED: &str =
    "walk caches: their sizes are not published; assumed are 32 PDEs in 4 ways, 4 PDPTEs and 2 PML4Es";

/// Returns walk caches of a size that is assumed where none is published: 32 PDEs in 4 ways, 4 PDPTEs, 2 PML4Es.
///
/// Barr, Cox and Rixner ("Translation Caching", ISCA 2010) describe a PDE cache of this shape in an Intel CPU of their
/// time.
pub fn assumed_walk_caches() -> Vec<WalkCache> {
    vec![
        WalkCache::Own { levels: vec![2], sets: 8, ways: 4 },
        WalkCache::Own { levels: vec![3], sets: 1, ways: 4 },
        WalkCache::Own { levels: vec![4], sets: 1, ways: 2 },
    ]
}

#[cfg(test)]
mod tests;
