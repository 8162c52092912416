//! Blocks out of the direct map, whose handle says so (I5): windows show them, and no code frees them.

use rhumb_directmap::{Change, Hold};
use rhumb_frames::{Frame, Unmapped};

use super::{Changed, Refused, change, restore};
use crate::mm::owners::Owner;

/// Frames that the direct map does not show, until [`put_back`].
#[must_use = "the frames are lost unless they are put back"]
#[derive(Debug)]
pub struct Absent {
    frame: Frame<Unmapped>,
    held: Hold,
}

impl Absent {
    /// Returns the frames.
    pub const fn frame(&self) -> &Frame<Unmapped> {
        &self.frame
    }

    /// Returns the frames, for a window.
    pub const fn frame_mut(&mut self) -> &mut Frame<Unmapped> {
        &mut self.frame
    }
}

/// Takes `frame` out of the map. When it returns, no CPU reaches the frames through it.
///
/// # Errors
/// See [`rhumb_directmap::DirectMap::change`].
///
/// Cost: as [`change()`]; for a whole 2-MiB block at most one split, of a 1-GiB page.
#[track_caller]
pub fn remove(frame: Frame, owner: Owner, reason: &'static str) -> Result<Absent, Refused<Frame>> {
    let Changed { frames, held } = change(frame, Change::NotPresent, owner, reason)?;
    // SAFETY: the map does not show the frames any more, and every CPU has dropped its translations (I5, I6).
    Ok(Absent { frame: unsafe { frames.assume_unmapped() }, held })
}

/// Puts frames back into the map, which no other mapping shows. Cannot fail.
///
/// Cost: as [`restore`]; no flush, because no CPU has an absent page.
pub fn put_back(absent: Absent) -> Frame {
    let Absent { frame, held } = absent;
    // SAFETY: no code has the handle before `restore` returns it, and then the map shows the frames (I5).
    restore(Changed { frames: unsafe { frame.assume_mapped() }, held })
}
