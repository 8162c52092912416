//! Size classes: 8 bytes to 32 KiB, at most an eighth of an object lost to rounding (below 64 bytes: at most seven
//! bytes). The class comes from a table, without a branch. A leaf where `unsafe` lives.
//!
//! ```text
//!   8, 16, 24, ... 128 | 144, 160, ... 256 | above: 2^k / n for n = 14, 13, ... 8, cut to a multiple of 16
//! ```
//! Above 256 bytes, classes are sizes that fill a slab without a rest: 816 is a fifth of a frame, 896 a ninth of two.
//! With steps of equal length, 5 of 100 bytes of slabs would be rests.
//!
//! Up to 256 bytes, and up to 16 bytes of alignment, a size that is a multiple of its alignment falls into a class that
//! is one, too. A layout with a larger alignment takes the next power of two.

use core::alloc::Layout;

use crate::lines::Place;

/// The largest size that a class serves; beyond, whole frames waste no more than the classes do.
pub(crate) const LARGEST: usize = 32 << 10;
/// How many classes there are.
pub(crate) const CLASSES: usize = 73;
const STEPS_OF_8: usize = 16;
const STEPS_OF_16: usize = 8;
/// Up to here, there is a class for each multiple of 16.
const EVERY_16_BYTES: usize = 256;
/// The alignment of a class's objects, if their size is a multiple of it.
const EVERYWHERE_ALIGN: usize = 16;
/// Classes of a doubling, above.
const PARTS: usize = 7;

/// Returns how many bytes an object of the class has.
pub(crate) const fn bytes(class: usize) -> usize {
    if class < STEPS_OF_8 {
        return (class + 1) * 8;
    }
    let class = class - STEPS_OF_8;
    if class < STEPS_OF_16 {
        return 128 + (class + 1) * 16;
    }
    let class = class - STEPS_OF_16;
    ((4096 << (class / PARTS)) / (2 * PARTS - class % PARTS)) & !15
}

/// A class, by the place of its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(Place);

impl Class {
    /// Returns its number, which is that of its cache: the classes' caches are made first.
    #[inline(always)]
    pub(crate) const fn number(self) -> usize {
        let number = self.0.cache();
        // SAFETY: the table has classes below `CLASSES` only, as is asserted below.
        unsafe { core::hint::assert_unchecked(number < CLASSES) };
        number
    }

    /// Returns the place of its line.
    #[inline(always)]
    pub(crate) const fn place(self) -> Place {
        self.0
    }
}

const GRAIN: usize = 8;
const ENTRIES: usize = LARGEST / GRAIN;

/// Makes the table: for each multiple of eight, the least class that holds it.
const fn table() -> [Class; ENTRIES] {
    let mut table = [Class(Place::of(0)); ENTRIES];
    let (mut at, mut class) = (0, 0);
    while at < ENTRIES {
        if (at + 1) * GRAIN > bytes(class) {
            class += 1;
        }
        table[at] = Class(Place::of(class));
        at += 1;
    }
    table
}

static TABLE: [Class; ENTRIES] = table();

/// Returns the least class of `last` bytes and one; `None` past the largest.
#[inline(always)]
fn of_last(last: usize) -> Option<Class> {
    TABLE.get(last / GRAIN).copied()
}

/// Returns the least class that holds `layout`, for nearly all layouts: `None` for some that [`holding`] knows an
/// answer for.
#[inline(always)]
pub(crate) fn quickly(layout: Layout) -> Option<Class> {
    if layout.align() > EVERYWHERE_ALIGN {
        return None;
    }
    // One less than the size rounded up to its alignment; past all for no bytes.
    of_last(layout.size().wrapping_sub(1) | (layout.align() - 1))
}

/// Returns the least class that holds `layout`, or `None` past the largest. A layout of no bytes gets the smallest
/// class.
pub(crate) fn holding(layout: Layout) -> Option<Class> {
    let bytes = layout.size().max(1).next_multiple_of(layout.align());
    let is_odd = layout.align() > EVERYWHERE_ALIGN && bytes > EVERY_16_BYTES;
    of_last(if is_odd { bytes.checked_next_power_of_two()? } else { bytes } - 1)
}

const _: () = assert!(TABLE[ENTRIES - 1].0.cache() == CLASSES - 1);
const _: () = assert!(bytes(CLASSES - 1) == LARGEST && bytes(0) == 8 && bytes(15) == 128 && bytes(16) == 144);
const _: () = assert!(bytes(23) == 256 && bytes(24) == 288 && bytes(30) == 512 && bytes(35) == 816);
