//! The design holds at any number of CPUs: a bound for each workload.

use super::*;
use crate::args::{Command, SCALE_CPUS};

/// Visits to shared locks for each 1,000 operations, at most, on any number of CPUs. A CPU that takes and frees single
/// frames in bulk visits a pool once for a block's 512, and once for each 128 that go back; a mix of orders visits a
/// pool in five of a thousand pairs. An object that one CPU allocates and another frees may cost each of the two a 64th
/// of a visit.
const BOUNDS: [(&str, f64); 20] = [
    ("pair-order-0", 0.0),
    ("pair-order-9", 0.0),
    ("bulk", 8.0),
    ("random-1", 0.0),
    ("random-1000", 2.0),
    ("aged-1", 0.0),
    ("aged-1000", 0.0),
    ("mixed", 5.0),
    ("pair-64", 0.0),
    ("burst-1000", 2.0),
    ("mixed-10k", 2.0),
    ("mixed-200k", 2.0),
    ("remote-64", 2.0 * 1000.0 / 64.0),
    ("remote-256", 2.0 * 1000.0 / 64.0),
    ("ranges-pair-1", 0.0),
    ("ranges-pair-16", 0.0),
    ("ranges-burst-100", 10.0),
    ("ranges-small-10k", 50.0),
    ("ranges-mixed-10k", 1150.0),
    ("ranges-aligned-10k", 950.0),
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
    for cpus in SCALE_CPUS {
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

/// The counts are exact: a second run has the same. Lines differ a little where the process's allocator puts a subject's
/// metadata at another place within a line.
#[test]
fn counts_are_the_same_in_each_run() {
    stay_here();
    let figures = || {
        let rows = counted(4);
        let counts = rows.figures().iter().filter(|row| row.unit == "/1000");
        counts.map(|row| (row.workload.clone(), row.metric, row.summary.median)).collect::<Vec<_>>()
    };
    let (first, second) = (figures(), figures());
    assert_eq!((first.len(), second.len()), (3 * BOUNDS.len(), 3 * BOUNDS.len()));
    for (first, second) in first.into_iter().zip(second) {
        let is_same = if first.1 == "lines" {
            (first.2 - second.2).abs() <= first.2 / 50.0
        } else {
            first.2.to_bits() == second.2.to_bits()
        };
        assert!(is_same && first.0 == second.0, "{first:?} and {second:?}");
    }
}
