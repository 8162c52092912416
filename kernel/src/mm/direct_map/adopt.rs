//! Changes that outlast whoever made them: the handle is left with the journal, and found again by its owner's name.

use rhumb_frames::FrameRange;
use rhumb_machine::PfnRange;

use super::{Changed, Changer, with};

/// Leaves changed frames as they are, for [`adopt`] to find.
pub fn leave(changed: Changed<FrameRange>) {
    let Changed { frames, held } = changed;
    // The frames stay their owner's: nobody frees them.
    let _ = frames.into_frames();
    let _ = with(|map| map.leave(held));
}

/// The lowest change of `who` that was left and has a frame in `within`.
pub fn adopt(who: Changer, within: PfnRange) -> Option<Changed<FrameRange>> {
    let owner = who.id()?;
    let held = with(|map| map.adopt(owner, within)).ok()??;
    // SAFETY: only `leave` leaves a hold, and it had the handle of these very frames; the journal gives each out once.
    let frames = unsafe { FrameRange::assume(held.frames()) };
    Some(Changed { frames, held })
}
