//! Screens and lines.

use super::super::sample::survey;
use super::*;

#[test]
fn a_screen_fits() {
    let (before, now) = (survey(), later());
    let events = changes(&before, &now);
    for size in [(80, 24), (40, 10), (200, 60), (1, 1), (0, 0), (10, 3)] {
        let lines = screen(&now, Some(&before), &events, size);
        assert!(lines.len() <= size.1, "{size:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= size.0.max(1)), "{size:?}: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
    }
    let text = screen(&now, Some(&before), &events, (80, 24)).join("\n");
    for part in ["vault", "4 KiB", "splits 2M→4K", "+6 (3.0/s)", "holds nothing any more", "q quits"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_narrow_screen_keeps_sizes_and_ages() {
    let text = screen(&survey(), None, &[], (60, 30)).join("\n");
    for part in ["SIZE", "TOUCHED", "AGE", "8.0 KiB"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

/// Returns the survey two seconds later: 6 more splits, and one holder less.
fn later() -> Survey {
    let mut now = survey();
    now.unix_s += 2.0;
    now.splits.level2_splits = Some(46);
    now.scan.holders.remove(&8);
    now
}

#[test]
fn changes_are_told() {
    let (before, now) = (survey(), later());
    assert!(changes(&before, &before).is_empty());
    assert!(changes(&before, &now)[0].starts_with("- e\\u{1b}"));
    assert!(changes(&now, &before)[0].starts_with("+ e\\u{1b}"));
    let mut grown = survey();
    grown.scan.files.values_mut().for_each(|file| file.bytes *= 2);
    assert!(changes(&before, &grown)[0].starts_with("~ vault (7) holds 8.1 MiB instead of 4.0 MiB"));
}

#[test]
fn a_line_tells_rates() {
    let line = short(&later(), Some(&survey()));
    assert!(line.contains("2M→4K +6 (3.0/s)"), "{line}");
    assert!(short(&survey(), None).contains("2M→4K - "));
    assert_eq!(rise(Some(1), Some(2), 1.0), "+0 (0.0/s)", "a counter that began anew");
}

#[test]
fn a_study_that_ends_ends_the_watch() {
    let session = Session::quiet(std::env::temp_dir());
    let mut looks = 0;
    let seen = watch(&session, Duration::from_secs(3_600), None, Place::Error, || {
        looks += 1;
        session.end();
        Ok((survey(), true))
    });
    assert_eq!(seen.expect("a survey"), survey());
    assert_eq!(looks, 1);
}

#[test]
fn a_reader_that_goes_ends_the_watch() {
    let session = Session::quiet(std::env::temp_dir());
    let mut looks = 0;
    let seen = watch(&session, Duration::from_millis(1), Some(3), Place::Error, || {
        looks += 1;
        Ok((survey(), false))
    });
    assert_eq!((seen.expect("a survey"), looks), (survey(), 1));
}
