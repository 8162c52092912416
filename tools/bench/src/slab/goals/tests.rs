//! Goals, judged on figures that are made up.

use super::*;
use crate::driver::Better;
use crate::stats::Summary;

fn report(figures: &[(&'static str, &'static str, f64)]) -> Report {
    let mut report = Report::default();
    for &(workload, subject, median) in figures {
        report.add(Figure {
            workload: workload.to_owned(),
            cpus: 2,
            subject,
            metric: if workload == "held" { "churn" } else { "time" },
            unit: "ns",
            better: Better::Lower,
            summary: Summary { median, low: median, high: median },
        });
    }
    report
}

#[test]
fn goals_are_judged() {
    let figures = [
        ("pair-64", OURS, 2.0),
        ("pair-64", GLOBAL, 3.5),
        ("pair-64", "floor", 1.0),
        ("pair-64", "mimalloc", 4.0),
        ("pair-64", "talc", 5.0),
        ("held", OURS, 1.2),
    ];
    let text = judged(&report(&figures));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "",
            "goals:",
            "  met     pair-64     2 CPUs  time    rhumb: 2.00x the best of user space (mimalloc), to be 1.50x",
            "  met     pair-64     2 CPUs  time    rhumb: 2.00, to be at most 3.00",
            "  NOT MET pair-64     2 CPUs  time    rhumb: 2.50x the best kernel crate (talc), to be 3.00x",
            "  NOT MET pair-64     2 CPUs  time    rhumb-global: 1.14x the best of user space (mimalloc), to be 1.20x",
            "  NOT MET held        2 CPUs  churn   rhumb: 1.20, to be at most 1.10",
        ]
    );
    assert_eq!(judged(&report(&[("pair-64", "talc", 1.0)])), "");
}
