//! [`MapId`]: the number that tells a map from the others of a program.
//!
//! A handle names records of its map's journal and tables of its map's tree. Another map has other records under the
//! same numbers, so each handle carries the number of its map, and each entry point compares.

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::ChangeError;

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

    /// Whether a handle of `other` is one of this map.
    pub(crate) fn check(self, other: Self) -> Result<(), ChangeError> {
        if self == other { Ok(()) } else { Err(ChangeError::OtherMap) }
    }

    /// The same, where the caller has no error to answer with.
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

#[cold]
#[inline(never)]
#[track_caller]
fn of_another_map() -> ! {
    panic!("{}", ChangeError::OtherMap);
}
