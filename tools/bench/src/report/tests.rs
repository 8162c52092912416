//! Tables and CSV files.

use super::*;

fn figure(subject: &'static str, better: Better, median: f64) -> Figure {
    let summary = Summary { median, low: median * 0.9, high: median * 1.1 };
    Figure { workload: "pair".into(), cpus: 2, subject, metric: "time", unit: "ns", better, summary }
}

fn report(better: Better) -> Report {
    let mut report = Report::default();
    for (subject, median) in [("rhumb", 4.0), ("fast", 12.0), ("slow", 100.0), ("floor", 2.0)] {
        report.add(figure(subject, better, median));
    }
    report
}

#[test]
fn the_ratio_is_to_the_best_other() {
    for (better, best, expected) in [(Better::Lower, "fast", 3.0), (Better::Higher, "slow", 0.04)] {
        let report = report(better);
        let rows = report.rows();
        let (other, ratio) = comparison(&rows[0]);
        assert_eq!(other.map(|figure| figure.subject), Some(best));
        assert!((ratio.unwrap() - expected).abs() < 1e-9);
    }
}

#[test]
fn the_table_is_aligned() {
    let text = report(Better::Lower).to_string();
    let lines: Vec<&str> = text.lines().take(2).collect();
    assert_eq!(
        lines,
        [
            "workload  cpus  metric  unit      rhumb       fast      slow      floor  best other  rhumb is",
            "pair         2  time    ns    4.00 ±10%  12.0 ±10%  100 ±10%  2.00 ±10%        fast     3.00x",
        ]
    );
}

#[test]
fn the_csv_has_the_agreed_columns() {
    let mut out = Vec::new();
    report(Better::Lower).csv(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("workload,cpus,subject,metric,unit,median,low,high"));
    assert_eq!(lines.next(), Some("pair,2,rhumb,time,ns,4.000,3.600,4.400"));
    assert_eq!(lines.count(), 3);
}
