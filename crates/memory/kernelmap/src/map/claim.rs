//! Claims: one CPU at a time changes the entries of a movable area.
//!
//! ```text
//!            claim                    end
//!   movable ───────> movable, claimed ───> movable
//!                         │ free
//!                         v
//!                movable, claimed, freed ───end───> the claimant gives the area back
//! ```
//! The holder of an area that is not movable is the only code that changes its entries, and needs no claim. A movable
//! area may be found by its address and moved at any time, so that a change of rights, a move and a free claim it. A
//! claim that meets another one is refused, because the CPU below an interrupt handler may be the claimant. A free is
//! never refused: where the area is claimed, the claimant gives it back.

use super::area::{Area, AreaKind, CLAIMED, FREED, Facts, MOVABLE};
use super::error::AreaError;

/// Whether an area has a holder at the end of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// It has a holder.
    Held,
    /// Its holder has given it back.
    Freed,
}

/// Returns the word of an area that is claimed now.
///
/// # Errors
/// Why the area is not claimed; `None` where there is none.
pub(super) const fn claimed(word: u64) -> Result<u64, Option<AreaError>> {
    match Facts::unpack(word) {
        Some(Facts { kind: AreaKind::Memory, is_movable: true, .. }) => {
            if word & CLAIMED == 0 {
                Ok(word | CLAIMED)
            } else {
                Err(Some(AreaError::Busy))
            }
        }
        Some(Facts { kind: AreaKind::Waiting, .. }) | None => Err(None),
        Some(_) => Err(Some(AreaError::NotMovable)),
    }
}

/// Makes an area movable, when all its entries are there.
pub(super) fn let_move(mut area: Area) -> Area {
    area.is_movable = true;
    let _ = area.held.update_word(|word| Some(word | MOVABLE));
    area
}

/// Claims a movable area for its holder.
///
/// # Errors
/// [`AreaError::Busy`].
pub(super) fn claim(area: &Area) -> Result<(), AreaError> {
    area.held.update_word(|word| claimed(word).ok()).map(drop).map_err(|_| AreaError::Busy)
}

/// Ends a claim.
pub(super) fn end_claim(area: &Area) -> Ended {
    match area.held.update_word(|word| (word & FREED == 0).then_some(word & !CLAIMED)) {
        Ok(_) => Ended::Held,
        Err(_) => Ended::Freed,
    }
}

/// Claims a movable area permanently for a holder that gives it back ([`Ended::Held`]), or leaves it to the claimant
/// that there is ([`Ended::Freed`]).
pub(super) fn claim_to_free(area: &Area) -> Ended {
    let before = area.held.update_word(|word| Some(word | if word & CLAIMED == 0 { CLAIMED } else { FREED }));
    match before {
        Ok(word) if word & CLAIMED != 0 => Ended::Freed,
        _ => Ended::Held,
    }
}
