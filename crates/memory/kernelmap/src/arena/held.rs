//! [`HeldRange`]: the handle to a range that is out.

use core::fmt;

use super::tag::TagRef;
use super::units::Units;

/// A range of units that its holder alone has, until it gives the handle back to the arena.
///
/// The handle can be moved, and not copied: it is given back once, whole, to the arena that handed it out, which knows
/// its own by their number. A handle that is lost keeps its units out permanently.
///
/// ```compile_fail,E0382
/// use rhumb_kernelmap::{Arena, HeldRange};
/// fn twice<M: rhumb_machine::Machine>(arena: &Arena<M>, pinned: rhumb_machine::Pinned<'_>, range: HeldRange) {
///     let _ = arena.free(pinned, range);
///     let _ = arena.free(pinned, range);
/// }
/// ```
/// ```compile_fail,E0599
/// fn copy(range: &rhumb_kernelmap::HeldRange) -> rhumb_kernelmap::HeldRange {
///     range.clone()
/// }
/// ```
/// ```compile_fail
/// #![deny(unused_must_use)]
/// use rhumb_kernelmap::{Arena, Fit};
/// fn lose<M: rhumb_machine::Machine>(arena: &Arena<M>, pinned: rhumb_machine::Pinned<'_>, fit: Fit) -> Option<()> {
///     arena.alloc(pinned, fit).ok()?;
///     Some(())
/// }
/// ```
#[must_use = "a range that is lost stays out of its arena permanently"]
pub struct HeldRange {
    pub(super) tag: TagRef,
    pub(super) brand: Brand,
    /// How many units, where so many have a class in the caches of CPUs; else 0. A free to the cache reads no tag, whose
    /// line may be cold.
    pub(super) kept_units: u32,
}

/// The number of an arena, by which it knows its own handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Brand(pub(super) u32);

impl HeldRange {
    /// Returns the range.
    #[inline]
    pub fn range(&self) -> Units {
        self.tag.range()
    }

    /// Returns the word that its holder has set; 0 at first.
    #[inline]
    pub fn word(&self) -> u64 {
        self.tag.word()
    }

    /// Sets the holder's word, which walks through the arena show: an owner, or the address of a record.
    #[inline]
    pub fn set_word(&mut self, word: u64) {
        self.tag.set_word(word);
    }
}

impl HeldRange {
    /// Changes the word where other CPUs may change it, too. An update reads what the update before it has written, and
    /// comes after all that its CPU did.
    ///
    /// # Errors
    /// The word, where `update` has none for it.
    pub(crate) fn update_word(&self, update: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        self.tag.update_word(update)
    }

    /// Gives up the handle, and returns the address of its tag: never 0, and a multiple of 64.
    pub(crate) fn into_address(self) -> u64 {
        self.tag.address()
    }
}

impl fmt::Debug for HeldRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldRange({})", self.range())
    }
}

/// A range that an arena refuses, because another arena handed it out.
#[derive(Debug)]
#[must_use = "the range is the caller's still"]
pub struct Foreign(pub HeldRange);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the range {} is another arena's", self.0.range())
    }
}

impl core::error::Error for Foreign {}
