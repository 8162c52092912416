//! The design holds at any number of CPUs: a bound for each workload.

use super::*;
use crate::args::Command;

/// Visits to shared locks for each 1,000 operations, at most. An object that one CPU allocates and another frees may
/// cost each of the two a 64th of a visit.
const BOUNDS: [(&str, f64); 5] = [
    ("pair-64", 0.0),
    ("burst-1000", 2.0),
    ("mixed-10k", 2.0),
    ("remote-64", 2.0 * 1000.0 / 64.0),
    ("remote-256", 2.0 * 1000.0 / 64.0),
];

/// Returns the report of the workloads that have a bound.
fn counted(cpus: usize) -> Report {
    let mut options = Options::defaults(Command::Scale);
    options.cpus = vec![cpus];
    for (workload, _) in BOUNDS {
        options.want(workload, OURS);
    }
    report(&options).unwrap()
}

#[test]
fn locks_are_visited_as_seldom_on_many_cpus_as_on_one() {
    stay_here();
    for cpus in [1, 16, 64] {
        let report = counted(cpus);
        let text = table(&report);
        println!("{text}");
        for (workload, most) in BOUNDS {
            let row = report
                .figures()
                .iter()
                .find(|row| (row.workload.as_str(), row.metric) == (workload, "visits"));
            match row {
                Some(row) => assert!(row.summary.median <= most, "{workload} on {cpus} CPUs:\n{text}"),
                None => assert!(workload.starts_with("remote") && cpus == 1, "{workload} did not run"),
            }
        }
        let wrong = report.figures().iter().filter(|row| ["wrong", "failed"].contains(&row.metric));
        assert!(wrong.clone().count() > 0 && wrong.clone().all(|row| row.summary.median == 0.0), "{text}");
    }
}

/// The counts are exact: a second run has the same.
#[test]
fn counts_are_the_same_in_each_run() {
    stay_here();
    let figures = || {
        let rows = counted(4);
        let counts = rows.figures().iter().filter(|row| row.unit == "/1000");
        counts.map(|row| (row.workload.clone(), row.metric, row.summary.median.to_bits())).collect::<Vec<_>>()
    };
    let first = figures();
    assert!(first.len() >= 15);
    assert_eq!(first, figures());
}
