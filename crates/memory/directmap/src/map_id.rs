//! [`MapId`]: the number that tells a map from the others of a program.
//!
//! A handle names records of its map's journal and tables of its map's tree. Another map has other records under the
//! same numbers, so each handle carries the number of its map, and each entry point compares.

use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The number of a map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct MapId(NonZeroU32);

impl MapId {
    /// Returns the number of a new map.
    ///
    /// # Panics
    /// After 2^32 - 1 maps.
    pub(crate) fn next() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let last = LAST.fetch_update(Relaxed, Relaxed, |last| last.checked_add(1));
        match last.ok().and_then(|last| NonZeroU32::MIN.checked_add(last)) {
            Some(number) => Self(number),
            None => panic!("no map has a number of its own any more"),
        }
    }

    /// Refuses a handle that is not of this map but of `other`.
    pub(crate) fn check(self, other: Self) -> Result<(), OtherMap> {
        if self == other { Ok(()) } else { Err(OtherMap) }
    }

    /// Refuses such a handle where the caller has no error to answer with.
    ///
    /// # Panics
    /// If the handle is another map's.
    #[track_caller]
    pub(crate) fn demand(self, other: Self) {
        if self != other {
            of_another_map();
        }
    }
}

/// An owner, a handle or a batch is another map's.
pub(crate) struct OtherMap;

impl fmt::Display for OtherMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the owner, the handle or the batch is another direct map's")
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn of_another_map() -> ! {
    panic!("{OtherMap}");
}
