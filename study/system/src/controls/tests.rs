use rhumb_study_report::ControlKind;

use super::*;

#[test]
fn both_controls_are_measured_or_said_to_be_missing() {
    let session = Session::quiet(std::env::temp_dir());
    let controls = controls_within(&session, BUFFERS * LEAST_BYTES);
    let has = |kind| controls.controls.iter().any(|control| control.kind == kind);
    let missing = |part: &str| controls.omissions.iter().any(|omission| omission.part.starts_with(part));
    // Where the system has no memory for them, both are missing.
    assert!(has(ControlKind::Negative) != missing("controls"), "{controls:?}");
    assert!(has(ControlKind::Positive) != (missing("positive") || missing("controls")), "{controls:?}");
    for control in &controls.controls {
        // The same machine may be too busy for either control to pass. Its comparison is there in any case.
        assert!(control.comparison.effect.is_some(), "{control:?}");
        assert!(control.comparison.workload.ends_with("128 MiB"), "{control:?}");
    }
}

#[test]
fn too_little_memory_is_said() {
    let session = Session::quiet(std::env::temp_dir());
    for bytes in [0, 1, BUFFERS * LEAST_BYTES - 1] {
        let controls = controls_within(&session, bytes);
        assert!(controls.controls.is_empty());
        assert!(controls.omissions[0].why.contains("768 MiB"), "{controls:?}");
    }
}

#[test]
fn a_study_that_ends_has_no_controls_and_misses_none() {
    let session = Session::quiet(std::env::temp_dir());
    session.end();
    assert_eq!(controls_within(&session, BUFFERS * LEAST_BYTES), Controls::default());
}

#[test]
fn sizes_are_said_in_the_unit_that_fits() {
    assert_eq!(sized(2 << 30), "2 GiB");
    assert_eq!(sized(128 << 20), "128 MiB");
}
