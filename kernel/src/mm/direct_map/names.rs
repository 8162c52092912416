//! The changes by the names that people know. Each is one line: see [`super::change()`] and [`super::alter`].
//!
//! Those that begin a change take the frames and return them [`Changed`]; those that go on with one take that. There is no `set_memory_x`: nothing in the
//! direct map is executable ([`super::KernelRules`]), and so no `set_memory_nx`.

use rhumb_directmap::{Change, ChangeError};

use super::{Changed, Changer, HeldFrames, Refused, alter, change, restore};

/// Nobody can write the frames any more.
///
/// # Errors
/// See [`change`].
#[track_caller]
pub fn set_memory_ro<F: HeldFrames>(
    frames: F,
    who: Changer,
    why: &'static str,
) -> Result<Changed<F>, Refused<F>> {
    change(frames, Change::ReadOnly, who, why)
}

/// The frames are out of the map.
///
/// # Errors
/// See [`change`].
#[track_caller]
pub fn set_memory_np<F: HeldFrames>(
    frames: F,
    who: Changer,
    why: &'static str,
) -> Result<Changed<F>, Refused<F>> {
    change(frames, Change::NotPresent, who, why)
}

/// As [`set_memory_np`], by its other name.
///
/// # Errors
/// See [`change`].
#[track_caller]
pub fn set_direct_map_invalid<F: HeldFrames>(
    frames: F,
    who: Changer,
    why: &'static str,
) -> Result<Changed<F>, Refused<F>> {
    change(frames, Change::NotPresent, who, why)
}

/// Changed frames can be written again.
///
/// # Errors
/// See [`alter`].
pub fn set_memory_rw<F: HeldFrames>(changed: &mut Changed<F>) -> Result<(), ChangeError> {
    alter(changed, Change::ReadWrite)
}

/// Changed frames are back in the map, with the permissions that they had.
///
/// # Errors
/// See [`alter`].
pub fn set_memory_p<F: HeldFrames>(changed: &mut Changed<F>) -> Result<(), ChangeError> {
    alter(changed, Change::Present)
}

/// Changed frames are ordinary again, and their holder's to use.
pub fn set_direct_map_default<F: HeldFrames>(changed: Changed<F>) -> F {
    restore(changed)
}
