//! Changes that outlast whoever made them: the handle is left with the journal, and found again by its owner's name.

use rhumb_frames::FrameRange;
use rhumb_machine::PfnRange;

use super::{Changed, Changer, with};
use crate::mm::direct_map::pins::Pin;

/// What was found.
#[derive(Debug)]
pub enum Adopted {
    /// Changed frames.
    Frames(Changed<FrameRange>),
    /// A range that is kept in small pages.
    Pin(Pin),
}

/// Leaves changed frames as they are, for [`adopt`] to find.
pub fn leave(changed: Changed<FrameRange>) {
    let Changed { frames, held } = changed;
    // The frames stay their owner's: nobody frees them.
    let _ = frames.into_frames();
    let _ = with(|map| map.leave(held));
}

/// The lowest change of `who` that was left and has a frame in `within`.
pub fn adopt(who: Changer, within: PfnRange) -> Option<Adopted> {
    let owner = who.id()?;
    let (held, is_pin) = with(|map| {
        let held = map.adopt(owner, within)?;
        let is_pin = map.holds_in(held.frames()).any(|hold| hold.pinned.is_some());
        Some((held, is_pin))
    })
    .ok()??;
    if is_pin {
        return Some(Adopted::Pin(Pin::of(held)));
    }
    // SAFETY: only `leave` leaves a hold that is no pin, and it held these very frames; the journal gives each out once.
    let frames = unsafe { FrameRange::assume(held.frames()) };
    Some(Adopted::Frames(Changed { frames, held }))
}
