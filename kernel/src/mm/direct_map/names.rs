//! The changes by the names that people know. Each is one line: see [`super::change()`] and [`super::alter`].
//!
//! Those that begin a change take the frames and return them [`Changed`]; those that go on with one take that.
//! Executable is for what is read-only, and for the few who may have it ([`super::KernelRules`]).

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

/// Nobody can write the frames any more, and they can be executed.
///
/// # Errors
/// See [`change`]; [`rhumb_directmap::Rule::ExecutableHere`] for all but a few.
#[track_caller]
pub fn set_memory_rox<F: HeldFrames>(
    frames: F,
    who: Changer,
    why: &'static str,
) -> Result<Changed<F>, Refused<F>> {
    change(frames, Change::ReadOnlyExecute, who, why)
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

/// Changed frames that are read-only can be executed.
///
/// # Errors
/// See [`alter`]; [`ChangeError::WriteExecute`] where they are writable, [`rhumb_directmap::Rule::ExecutableHere`] for
/// all but a few.
pub fn set_memory_x<F: HeldFrames>(changed: &mut Changed<F>) -> Result<(), ChangeError> {
    alter(changed, Change::Execute)
}

/// Changed frames cannot be executed any more; they stay read-only. No CPU executes them when it returns.
///
/// # Errors
/// See [`alter`].
pub fn set_memory_nx<F: HeldFrames>(changed: &mut Changed<F>) -> Result<(), ChangeError> {
    alter(changed, Change::NoExecute)
}

/// Changed frames can be written again.
///
/// # Errors
/// See [`alter`]; [`ChangeError::WriteExecute`] where they are executable.
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
