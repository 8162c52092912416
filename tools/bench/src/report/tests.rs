//! Tables and CSV files.

use super::*;

fn figure(subject: &'static str, better: Better, median: f64) -> Figure {
    let summary = Summary { median, low: median * 0.9, high: median * 1.1 };
    Figure {
        workload: "pair".into(),
        cpus: 2,
        subject,
        metric: "time",
        unit: "ns",
        better,
        summary,
        resolution: 0.0,
    }
}

fn report_of(better: Better, figures: &[(&'static str, f64)]) -> Report {
    let mut report = Report::default();
    for &(subject, median) in figures {
        report.add(figure(subject, better, median));
    }
    report
}

fn report(better: Better) -> Report {
    report_of(better, &[("rhumb", 4.0), ("fast", 12.0), ("slow", 100.0), ("floor", 2.0)])
}

/// Times of single readings: ours below the clock's resolution, and the others' above it.
fn unresolved() -> Report {
    let mut report = report(Better::Lower);
    report.figures[0].summary = Summary { median: 0.0, low: 0.0, high: 8.0 };
    report.figures.iter_mut().for_each(|figure| figure.resolution = 4.5);
    report
}

#[test]
fn the_ratio_is_to_the_best_other() {
    for (better, best, expected) in [(Better::Lower, "fast", 3.0), (Better::Higher, "slow", 0.04)] {
        assert_eq!(Comparison::of(&report(better).rows()[0]), Comparison::Ratio(expected, best));
    }
}

#[test]
fn there_is_no_ratio_to_nobody_or_to_nothing() {
    let better = Better::Lower;
    for figures in [
        &[("rhumb", 4.0), ("rhumb-global", 5.0), ("floor", 2.0)][..],
        &[("fast", 4.0), ("slow", 5.0)],
        &[("rhumb", 0.0), ("fast", 5.0)],
        &[("rhumb", 5.0), ("fast", 0.0)],
    ] {
        let report = report_of(better, figures);
        assert_eq!(Comparison::of(&report.rows()[0]), Comparison::None, "{figures:?}");
        assert!(!report.to_string().contains("against"), "{report}");
    }
}

#[test]
fn a_time_below_the_resolution_is_said_to_be_that() {
    let text = unresolved().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
        "pair 2 time ns <4.50 12.0 ±10% 100 ±10% <4.50 unresolved"
    );
    assert!(lines.last().unwrap().starts_with("<N: below the clock's resolution"), "{text}");
    assert!(!report(Better::Lower).to_string().contains("<N"));
    // The best other is not known where one of the others has no value.
    let mut theirs = unresolved();
    theirs.figures.swap(0, 1);
    (theirs.figures[0].subject, theirs.figures[1].subject) = ("rhumb", "fast");
    assert_eq!(Comparison::of(&theirs.rows()[0]), Comparison::Unresolved);
    // A row in which no time has a value is no row of zeroes.
    let mut nothing = unresolved();
    nothing
        .figures
        .iter_mut()
        .for_each(|figure| figure.summary = Summary { median: 0.0, low: 0.0, high: 0.0 });
    assert!(nothing.to_string().lines().nth(1).unwrap().contains("<4.50"));
}

#[test]
fn scripts_can_tell_no_value_from_zero() {
    let mut out = Vec::new();
    unresolved().csv(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).take(2).collect();
    assert_eq!(
        lines,
        ["pair,2,rhumb,time,ns,,,8.000,4.500", "pair,2,fast,time,ns,12.000,10.800,13.200,4.500"]
    );
}

#[test]
fn the_table_is_aligned() {
    let text = report(Better::Lower).to_string();
    let lines: Vec<&str> = text.lines().take(2).collect();
    assert_eq!(
        lines,
        [
            "workload  cpus  metric  unit      rhumb       fast      slow      floor  rhumb against",
            "pair         2  time    ns    4.00 ±10%  12.0 ±10%  100 ±10%  2.00 ±10%     3.00x fast",
        ]
    );
}

#[test]
fn the_csv_has_the_agreed_columns() {
    let mut out = Vec::new();
    report(Better::Lower).csv(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("workload,cpus,subject,metric,unit,median,low,high,resolution"));
    assert_eq!(lines.next(), Some("pair,2,rhumb,time,ns,4.000,3.600,4.400,"));
    assert_eq!(lines.count(), 3);
}
