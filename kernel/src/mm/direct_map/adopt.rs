//! Changes that outlast their maker: the handle is left with the journal, and found again by its owner's name.

use core::ops::ControlFlow;

use rhumb_frames::FrameRange;
use rhumb_machine::{PfnRange, impossible};

use super::{Changed, for_each_hold, with};
use crate::mm::owners::Owner;

/// Leaves changed frames as they are, for [`adopt`] to find.
pub fn leave(changed: Changed<FrameRange>) {
    let Changed { frames, held } = changed;
    // The frames stay their owner's: they are not freed.
    let _ = frames.into_frames();
    if let Err(error) = with(|map| map.leave(held)) {
        impossible!("the map that gave the handle is gone: {error}");
    }
}

/// Returns the change of exactly `frames` that `owner` has left.
///
/// # Safety
/// The caller is the part of the kernel that `owner` names, it left these frames by [`leave`], and it has not taken
/// them back into use since. (The pool of unmapped frames leaves its blocks otherwise: they are not to be had here.)
pub unsafe fn adopt(owner: Owner, frames: PfnRange) -> Option<Changed<FrameRange>> {
    let id = owner.in_map()?;
    // SAFETY: the owner left these frames and has not taken them back, by the caller's promise.
    let held = with(|map| unsafe { map.adopt(id, frames) }).ok()??;
    // SAFETY: `leave` had the handle of these very frames, by the caller's promise; the journal gives each out once.
    let frames = unsafe { FrameRange::assume(held.frames()) };
    Some(Changed { frames, held })
}

/// Returns the first range that `owner` has left and of which a frame is in `within`.
pub fn first_left(owner: Owner, within: PfnRange) -> Option<PfnRange> {
    let id = owner.in_map()?;
    for_each_hold(within, |_, hold| {
        if hold.is_left && hold.is_of(id) {
            ControlFlow::Break(hold.frames)
        } else {
            ControlFlow::Continue(())
        }
    })
}
