//! Large pages kept small on purpose. Nothing else about the frames changes, so whose they are does not matter.

use rhumb_directmap::{Cause, ChangeError, Held, Reserve};
use rhumb_machine::{PageSize, PfnRange};
use rhumb_pagetable::FlushCause;

use super::{Changer, edit, give_back, reserve, with};

/// A range that is kept in small pages until [`unpin`].
#[must_use = "the range stays in small pages until it is given to `unpin`"]
#[derive(Debug)]
pub struct Pin(Held);

impl Pin {
    pub(super) const fn of(held: Held) -> Self {
        Self(held)
    }
}

/// What [`pin_small`] would take from the reserve.
///
/// # Errors
/// As [`pin_small`], but for the reserve and the owner's limit.
fn needs_to_pin(frames: PfnRange, size: PageSize) -> Result<Reserve, ChangeError> {
    with(|map| map.needs_to_pin(frames, size))?
}

/// Keeps `frames` in pages of `size` at most. Not with interrupts off: it fetches the tables that it takes.
///
/// # Errors
/// See [`rhumb_directmap::DirectMap::pin_small`].
///
/// Cost: 513 writes for each large page cut, one round of interrupts.
#[track_caller]
pub fn pin_small(
    frames: PfnRange,
    size: PageSize,
    who: Changer,
    why: &'static str,
) -> Result<Pin, ChangeError> {
    let owner = who.id().ok_or(ChangeError::UnknownOwner)?;
    let cause = Cause::new(owner, why);
    reserve::fill_for(needs_to_pin(frames, size)?);
    edit(FlushCause::Split, |map, at, batch| map.pin_small(frames, size, cause, at, batch)).map(Pin)
}

/// Lets the range be large again. Cannot fail.
pub fn unpin(pin: Pin) {
    give_back(pin.0);
}

/// Leaves a pin, for [`super::adopt()`] to find.
pub fn leave_pin(pin: Pin) {
    let _ = with(|map| map.leave(pin.0));
}
