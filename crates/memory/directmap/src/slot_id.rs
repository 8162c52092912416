//! [`SlotId`]: the number by which a record is known.

use core::num::NonZeroU32;

/// The number of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SlotId(NonZeroU32);

impl SlotId {
    pub(crate) fn of(number: u32) -> Option<Self> {
        NonZeroU32::new(number.checked_add(1)?).map(Self)
    }

    pub(crate) const fn number(self) -> usize {
        self.0.get() as usize - 1
    }
}
