//! Frames held in small pages on purpose. Nothing else about the frames changes.

use core::task::Poll;

use rhumb_directmap::{Cause, ChangeError};
use rhumb_machine::PageSize;
use rhumb_pagetable::FlushCause;

use super::{Changed, HeldFrames, Refused, edit, now, table_supply, with};
use crate::mm::owners::Owner;

/// Keeps `frames` in pages of `size` at most, until they are restored. Not with interrupts off: it fetches the tables
/// that it takes.
///
/// # Errors
/// See [`rhumb_directmap::DirectMap::pin_small`].
///
/// Cost: 513 writes for each split; no flush, since nothing but the size of pages changes.
#[track_caller]
pub fn pin_small<F: HeldFrames>(
    frames: F,
    size: PageSize,
    owner: Owner,
    why: &'static str,
) -> Result<Changed<F>, Refused<F>> {
    let Some(id) = owner.in_map() else { return Err(Refused { frames, error: ChangeError::UnknownOwner }) };
    let cause = Cause::new(id, why);
    match with(|map| (map.needs_to_pin(frames.range(), size), map.reserve())) {
        // Tables of these blocks that are kept are not counted on: another CPU may take them before the pin is made.
        Ok((Ok(needs), left)) => table_supply::fill_for(needs, left),
        Ok((Err(error), _)) | Err(error) => return Err(Refused { frames, error }),
    }
    let at = now();
    // One step: what takes more is refused.
    match edit(FlushCause::Split, |map, _| Poll::Ready(map.pin_small(frames.range(), size, cause, at))) {
        Ok(held) => Ok(Changed { frames, held }),
        Err(error) => Err(Refused { frames, error }),
    }
}
