use console::measure_text_width;

use super::*;
use crate::samples::{HOSTILE, control, empty, extreme, hosted, kernel, linux, who};
use crate::schema::Kind;

#[test]
fn a_summary_keeps_to_its_width_and_has_the_verdict() {
    for study in [empty(Kind::Linux), hosted(), kernel(), linux(), who(), extreme()] {
        for width in [40, 60, 80, 100, 160] {
            let text = summary(&study, Screen { width, has_colours: false });
            let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let headline = verdict(&study).headline;
            assert!(squeezed.contains(&headline), "{squeezed}");
            for line in text.lines() {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn text_of_others_cannot_steer_the_terminal() {
    let mut study = linux();
    study.machine.name = HOSTILE.into();
    study.comparisons[0].workload = HOSTILE.into();
    study.omissions[0].why = "\u{202e}reversed\u{7}".into();
    let text = summary(&study, Screen::plain());
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn colours_are_only_for_screens_that_have_them() {
    let mut study = hosted();
    study.controls = vec![control(ControlKind::Negative, false)];
    assert!(!summary(&study, Screen::plain()).contains('\u{1b}'));
    assert!(summary(&study, Screen { width: 80, has_colours: true }).contains("\u{1b}["));
}

#[test]
fn few_rows_of_many_are_shown() {
    let text = summary(&extreme(), Screen::plain());
    assert!(text.contains("(12 of 504: both ends)"), "{text}");
    assert!(text.lines().count() < 60);
}

#[test]
fn intervals_are_drawn_where_there_is_room() {
    let text = summary(&hosted(), Screen { width: 120, has_colours: false });
    assert!(text.contains('●') && text.contains('┊'), "{text}");
    assert!(!summary(&hosted(), Screen { width: 40, has_colours: false }).contains('●'));
}
