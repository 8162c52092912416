//! Faults injected on purpose, each of them found by the same history that is sound without.

use std::panic::catch_unwind;

use super::histories::{fixed, play};
use crate::planted::{self, Fault};

fn is_found(fault: Fault) -> bool {
    catch_unwind(|| planted::with(fault, || play(&fixed()))).is_err()
}

#[test]
fn the_history_is_sound_without_a_fault() {
    play(&fixed());
}

#[test]
fn i4_a_window_that_is_left_is_found() {
    assert!(is_found(Fault::WindowLeft));
}

#[test]
fn i6_a_switch_without_a_flush_is_found() {
    assert!(is_found(Fault::SwitchUnflushed));
}

#[test]
fn i6_frames_that_go_back_without_a_flush_are_found() {
    assert!(is_found(Fault::ReleaseUnflushed));
}

#[test]
fn spare_frames_that_miss_a_change_are_found() {
    assert!(is_found(Fault::SpareNotCaughtUp));
}

#[test]
fn freed_code_that_stays_is_found() {
    assert!(is_found(Fault::FreedCodeStays));
}

#[test]
fn data_that_are_not_cleared_are_found() {
    assert!(is_found(Fault::DataNotCleared));
}

#[test]
fn spare_frames_that_are_left_over_are_found() {
    assert!(is_found(Fault::SpareKept));
}
