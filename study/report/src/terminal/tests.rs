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
fn text_that_hides_becomes_visible() {
    for odd in ["\u{61c}", "\u{200b}", "\u{2028}", "\u{2029}", "\u{feff}", "\u{202e}", "\u{7}", "\u{2066}"] {
        assert_eq!(visible(&format!("a{odd}b")), "a\u{fffd}b", "{odd:?}");
    }
    assert_eq!(visible("µs: −1 … ü 字"), "µs: −1 … ü 字");
}

#[test]
fn the_machine_has_each_fact_once() {
    let mut study = hosted();
    study.machine.name = format!("{}, 2 CPUs", study.machine.cpu);
    let text = summary(&study, Screen { width: 160, has_colours: false });
    assert_eq!(text.matches(&study.machine.cpu).count(), 1, "{text}");
}

#[test]
fn long_names_are_wrapped_where_they_differ() {
    let mut study = hosted();
    let long =
        "a workload whose name goes on and on until it has no room on any line of the terminal, and ends in";
    for (one, end) in study.comparisons.iter_mut().zip(["reading", "writing"]) {
        one.workload = format!("{long} {end}");
    }
    study.comparisons.truncate(2);
    let text = summary(&study, Screen { width: 60, has_colours: false });
    assert!(text.contains("reading") && text.contains("writing"), "{text}");
}

#[test]
fn rows_have_medians_and_a_key() {
    let study = linux();
    let text = summary(&study, Screen { width: 120, has_colours: false });
    assert!(text.contains("●: effect; ─: its interval; right of ┊: slower than before"), "{text}");
    assert_eq!(text.matches(" ns → ").count(), study.comparisons.len(), "{text}");
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
