//! Goals, judged on figures that are made up.

use super::*;
use crate::{frames, slab};

/// The figures of a row: workload, CPUs, subject, and its median, lowest and highest value.
type Made = (&'static str, usize, &'static str, [f64; 3]);

fn metric_of(workload: &str) -> (&'static str, Better) {
    match workload {
        "held" => ("churn", Better::Lower),
        "healing" => ("blocks-healed", Better::Higher),
        _ => ("time", Better::Lower),
    }
}

fn report(figures: &[Made]) -> Report {
    let mut report = Report::default();
    for &(workload, cpus, subject, [median, low, high]) in figures {
        let (metric, better) = metric_of(workload);
        report.add(Figure {
            workload: workload.to_owned(),
            cpus,
            subject,
            metric,
            unit: "ns",
            better,
            summary: Summary { median, low, high },
            resolution: 0.0,
        });
    }
    report
}

/// A figure without spread.
fn exact(workload: &'static str, cpus: usize, subject: &'static str, value: f64) -> Made {
    (workload, cpus, subject, [value; 3])
}

/// Returns the lines without the spaces that align them.
fn lines(report: &Report, goals: &[Goal]) -> Vec<String> {
    let text = judged(report, goals);
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn slab_lines(figures: &[Made]) -> Vec<String> {
    lines(&report(figures), &slab::goals::GOALS)
}

fn frames_lines(figures: &[Made]) -> Vec<String> {
    lines(&report(figures), &frames::goals::GOALS)
}

const HEAPS: [(&str, f64); 3] = [("mimalloc", 4.0), ("snmalloc", 3.0), ("jemalloc", 5.0)];

#[test]
fn goals_are_judged_against_the_best_of_those_that_they_name() {
    let mut figures = vec![exact("pair-64", 2, OURS, 2.0), exact("held", 2, OURS, 1.2)];
    figures.extend(HEAPS.map(|(heap, value)| exact("pair-64", 2, heap, value)));
    // Faster than all, and named by no goal.
    figures.push(exact("pair-64", 2, "system", 0.1));
    figures.push(exact("pair-64", 2, "floor", 0.1));
    figures.push(exact("pair-64", 2, "rhumb-global", 2.5));
    assert_eq!(
        slab_lines(&figures),
        [
            "met pair-64 2 CPUs time rhumb: 1.50x the best heap of user space (snmalloc), to be 1.20x",
            "NOT MET pair-64 2 CPUs time rhumb-global: 0.80x rhumb, to be 1.00x",
            "NOT MET held 2 CPUs churn rhumb: 1.20, to be at most 1.16",
        ]
    );
}

#[test]
fn a_goal_is_not_judged_without_its_competitors() {
    let mut figures = vec![exact("burst-1000", 1, OURS, 2.0), exact("burst-1000", 1, "system", 40.0)];
    let remedy = |names: &str, remedy: &str| {
        [format!("not judged burst-1000 1 CPU time rhumb: {names} did not run ({remedy})")]
    };
    let built = if cfg!(feature = "user-space") { LEFT_OUT } else { "`cargo xtask bench slab` builds it" };
    assert_eq!(slab_lines(&figures), remedy("mimalloc, snmalloc, jemalloc", built));
    // The best of two is no stand-in for the best of three.
    figures.push(exact("burst-1000", 1, "jemalloc", 3.0));
    figures.push(exact("burst-1000", 1, "mimalloc", 3.0));
    assert_eq!(slab_lines(&figures), remedy("snmalloc", built));
    // On another number of CPUs is not here.
    figures.push(exact("burst-1000", 2, "snmalloc", 3.0));
    let lines = slab_lines(&figures);
    assert_eq!(lines[..1], remedy("snmalloc", built));
    assert_eq!(lines[1], "not judged burst-1000 2 CPUs time rhumb: it did not run (a note says why)");
    figures.push(exact("burst-1000", 1, "snmalloc", 3.0));
    assert!(slab_lines(&figures)[0].starts_with("met "));
}

#[test]
fn nothing_is_judged_where_nothing_of_ours_ran() {
    assert_eq!(slab_lines(&[exact("pair-64", 1, "talc", 1.0)]), [""; 0]);
    assert_eq!(slab_lines(&[exact("guard", 1, OURS, 1.0)]), [""; 0]);
}

#[test]
fn a_goal_within_the_spread_rests_on_noise() {
    let line = |ours: [f64; 3], theirs: [f64; 3]| {
        let figures = [("remote-64", 2, OURS, ours)].into_iter();
        let figures = figures.chain(HEAPS.map(|(heap, _)| ("remote-64", 2, heap, theirs)));
        slab_lines(&figures.collect::<Vec<_>>()).remove(0)
    };
    let cases = [
        ([10.0, 9.0, 10.5], [14.0, 14.0, 15.0], "met", ""),
        ([10.0, 9.0, 12.0], [14.0, 13.5, 15.0], "met", "; rests on noise: 1.12x to 1.67x"),
        ([10.0, 9.0, 12.0], [12.0, 11.0, 15.0], "NOT MET", "; rests on noise: 0.92x to 1.67x"),
        ([10.0, 9.0, 12.0], [11.0, 11.0, 11.5], "NOT MET", ""),
    ];
    for (ours, theirs, mark, noise) in cases {
        let line = line(ours, theirs);
        assert!(line.starts_with(mark) && line.ends_with(&format!("to be 1.30x{noise}")), "{line}");
    }
    // A competitor that is the best in its best round alone may be the best.
    let mut figures =
        vec![exact("remote-64", 2, OURS, 10.0), ("remote-64", 2, "mimalloc", [20.0, 11.0, 20.0])];
    figures.extend(["snmalloc", "jemalloc"].map(|heap| exact("remote-64", 2, heap, 14.0)));
    assert!(slab_lines(&figures)[0].ends_with("(snmalloc), to be 1.30x; rests on noise: 1.10x to 1.40x"));
    let held = slab_lines(&[("held", 1, OURS, [1.10, 1.05, 1.20])]);
    assert_eq!(held, ["met held 1 CPU churn rhumb: 1.10, to be at most 1.16; rests on noise: 1.05 to 1.20"]);
    let healed = frames_lines(&[("healing", 1, OURS, [24.0, 23.0, 25.0])]);
    assert_eq!(
        healed,
        [
            "NOT MET healing 1 CPU blocks-healed rhumb: 24.00, to be at least 25.00; rests on noise: 23.00 to 25.00"
        ]
    );
}

#[test]
fn a_figure_on_one_cpu_is_the_measure_of_the_figure_on_the_most() {
    let one = exact("bulk@16G", 1, OURS, 10.0);
    let not_judged =
        |why: &str, cpus: usize| [format!("not judged bulk@16G {} time rhumb: {why}", of_cpus(cpus))];
    assert_eq!(frames_lines(&[one]), not_judged("1 CPU ran alone (--cpus 1,N brings more)", 1));
    let four = exact("bulk@16G", 4, OURS, 12.5);
    assert_eq!(frames_lines(&[four]), not_judged("1 CPU did not run (--cpus 1,N brings it)", 4));
    // Two CPUs are not the most.
    let lines = frames_lines(&[one, exact("bulk@16G", 2, OURS, 99.0), four]);
    assert_eq!(lines, ["NOT MET bulk@16G 4 CPUs time rhumb: 1.25x the figure on 1 CPU, to be at most 1.20x"]);
    let lines = frames_lines(&[one, ("bulk@16G", 4, OURS, [11.0, 9.0, 13.0])]);
    assert!(lines[0].starts_with("met") && lines[0].ends_with("rests on noise: 0.90x to 1.30x"), "{lines:?}");
}

#[test]
fn mixed_orders_are_to_lead_by_half_on_several_cpus_only() {
    for (cpus, mark, times) in [(1, "met", "1.00x"), (2, "NOT MET", "1.50x")] {
        let Target::BestOf(others, _) = frames::goals::GOALS[0].target else { panic!("no competitors") };
        let figures = others.subjects.iter().map(|&subject| exact("mixed", cpus, subject, 12.0));
        let lines = frames_lines(&figures.chain([exact("mixed", cpus, OURS, 10.0)]).collect::<Vec<_>>());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(mark) && lines[0].ends_with(times), "{}", lines[0]);
        let lines =
            frames_lines(&[exact("mixed", cpus, OURS, 10.0), exact("mixed", cpus, "linux-model", 90.0)]);
        assert!(lines[0].starts_with("not judged") && lines[0].contains("frame-alloc, osdk"), "{}", lines[0]);
    }
}

#[test]
fn what_has_no_value_is_not_judged() {
    let goals = |target| [Goal { workload: "latency", metric: "time", ours: OURS, cpus: Cpus::Any, target }];
    static FAST: Rivals = Rivals { name: "other", subjects: &["fast"], remedy: "" };
    let against = goals(Target::BestOf(&FAST, 1.0));
    for (ours, theirs) in [(0.0, 100.0), (100.0, 0.0), (4.9, 4.9)] {
        let mut report = Report::default();
        for (subject, value) in [(OURS, ours), ("fast", theirs)] {
            report.add(Figure { resolution: 5.0, ..report_figure(subject, value) });
        }
        let lines = lines(&report, &against);
        assert!(
            lines[0].starts_with("not judged") && lines[0].ends_with("below the clock's resolution"),
            "{lines:?}"
        );
    }
    let zero = report(&[exact("latency", 1, OURS, 0.0), exact("latency", 1, "fast", 1.0)]);
    assert!(lines(&zero, &against)[0].ends_with("rhumb: a figure is zero"));
}

fn report_figure(subject: &'static str, value: f64) -> Figure {
    report(&[exact("latency", 1, subject, value)]).figures()[0].clone()
}
