//! Goals: the figures that Rhumb wants to reach, and whether a run shows that it reaches them.
//!
//! ```text
//!   met         burst-1000  2 CPUs  time  rhumb: 1.31x the best heap of user space (mimalloc), to be 1.00x
//!   NOT MET     held        2 CPUs  churn rhumb: 1.18, to be at most 1.16; rests on noise: 1.15 to 1.20
//!   not judged  pair-64     2 CPUs  time  rhumb: mimalloc did not run (`cargo xtask bench slab` builds it)
//! ```
//!
//! A goal names the subjects that it is against. Unless all of them ran in the same row, the goal is not judged, because
//! the best of those that are left is no stand-in for the best. A goal whose outcome would be another within the
//! rounds' lowest and highest values says so.

use std::fmt;

use crate::report::{Figure, OURS, Report, of_cpus};
use crate::stats::{Better, Summary};

/// The figure that one of our subjects is to reach in a workload.
#[derive(Debug)]
pub(crate) struct Goal {
    /// The beginning of the workload's name.
    pub(crate) workload: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) cpus: Cpus,
    pub(crate) target: Target,
}

/// The numbers of CPUs on which a goal holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cpus {
    Any,
    One,
    Several,
    /// The largest number in the run.
    Most,
}

/// The demand of a goal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// At least so many times as good as the best of these.
    BestOf(&'static Rivals, f64),
    /// At most this or, where more is better, at least this.
    Limit(f64),
    /// At most so many times the figure on one CPU.
    OneCpu(f64),
}

/// The subjects that a goal is against, all of which must have run.
#[derive(Debug)]
pub(crate) struct Rivals {
    /// Their name together, as in "the best heap of user space".
    pub(crate) name: &'static str,
    pub(crate) subjects: &'static [&'static str],
    /// How to bring those that did not run.
    pub(crate) remedy: &'static str,
}

/// Advice where a subject is built and did not run all the same.
pub(crate) const LEFT_OUT: &str = "--only left it out, or a note says why";

/// The result of a goal in one row of the report.
#[derive(Clone, PartialEq, Debug)]
enum Verdict {
    /// The value, with the lowest and the highest that the rounds allow, and whether each of them meets the goal.
    Judged { value: [f64; 3], is_met: [bool; 3], said: String, unit: &'static str },
    /// Why it was not judged.
    NotJudged(String),
}

/// Returns one line for each goal and each of its rows; empty where nothing of ours ran.
pub(crate) fn judged(report: &Report, goals: &[Goal]) -> String {
    if !report
        .figures()
        .iter()
        .any(|figure| figure.subject == OURS || goals.iter().any(|goal| goal.ours == figure.subject))
    {
        return String::new();
    }
    let rows = report.rows();
    let lines = goals.iter().flat_map(|goal| {
        let of_goal: Vec<&Vec<&Figure>> = rows.iter().filter(|row| goal.is_about(row[0])).collect();
        let most = of_goal.iter().map(|row| row[0].cpus).max().unwrap_or(1);
        of_goal
            .into_iter()
            .filter(move |row| goal.cpus.include(row[0].cpus, most))
            .map(|row| goal.line(row, &goal.verdict(row, report)))
    });
    lines.collect()
}

impl Cpus {
    fn include(self, cpus: usize, most: usize) -> bool {
        match self {
            Self::Any => true,
            Self::One => cpus == 1,
            Self::Several => cpus > 1,
            Self::Most => cpus == most,
        }
    }
}

impl Goal {
    fn is_about(&self, figure: &Figure) -> bool {
        figure.metric == self.metric && figure.workload.starts_with(self.workload)
    }

    fn verdict(&self, row: &[&Figure], report: &Report) -> Verdict {
        let not = |why: &str| Verdict::NotJudged(why.to_owned());
        let Some(ours) = find(row, self.ours) else { return not("it did not run (a note says why)") };
        if !ours.is_resolved() {
            return not("below the clock's resolution");
        }
        match self.target {
            Target::Limit(limit) => {
                let Summary { median, low, high } = ours.summary;
                let at = if ours.better == Better::Lower { "most" } else { "least" };
                judge(
                    [median, low, high],
                    "",
                    |value| is_within(value, limit, ours.better),
                    |value| format!("{value}, to be at {at} {limit:.2}"),
                )
            }
            Target::OneCpu(_) if ours.cpus == 1 => not("1 CPU ran alone (--cpus 1,N brings more)"),
            Target::OneCpu(most) => {
                let mut alone = report.figures().iter().filter(|other| {
                    (other.subject, other.cpus, other.metric, other.workload.as_str())
                        == (ours.subject, 1, ours.metric, ours.workload.as_str())
                });
                match alone.next() {
                    None => not("1 CPU did not run (--cpus 1,N brings it)"),
                    Some(alone) if !alone.is_resolved() => not("below the clock's resolution"),
                    Some(alone) => judge(
                        quotient(ours.summary, alone.summary),
                        "x",
                        |value| value <= most,
                        |value| format!("{value} the figure on 1 CPU, to be at most {most:.2}x"),
                    ),
                }
            }
            Target::BestOf(rivals, least) => rivals.verdict(row, ours, least),
        }
    }

    fn line(&self, row: &[&Figure], verdict: &Verdict) -> String {
        let mark = match verdict {
            Verdict::Judged { is_met: [true, ..], .. } => "met",
            Verdict::Judged { .. } => "NOT MET",
            Verdict::NotJudged(_) => "not judged",
        };
        let Figure { workload, cpus, .. } = row[0];
        let cpus = of_cpus(*cpus);
        format!("  {mark:<12}{workload:<16}{cpus:>8}  {:<21} {}: {verdict}\n", self.metric, self.ours)
    }
}

impl Rivals {
    fn verdict(&self, row: &[&Figure], ours: &Figure, least: f64) -> Verdict {
        let absent: Vec<&str> =
            self.subjects.iter().copied().filter(|subject| find(row, subject).is_none()).collect();
        if !absent.is_empty() {
            return Verdict::NotJudged(format!("{} did not run ({})", absent.join(", "), self.remedy));
        }
        let rivals: Vec<&Figure> = self.subjects.iter().filter_map(|subject| find(row, subject)).collect();
        if rivals.iter().any(|rival| !rival.is_resolved()) {
            return Verdict::NotJudged("a rival is below the clock's resolution".to_owned());
        }
        let best = |part: fn(&Summary) -> f64| {
            let values = rivals.iter().map(|rival| (part(&rival.summary), rival.subject));
            values.min_by(|(a, _), (b, _)| ours.better.order(*a, *b)).unwrap_or((f64::NAN, ""))
        };
        let (median, subject) = best(|summary| summary.median);
        let theirs =
            Summary { median, low: best(|summary| summary.low).0, high: best(|summary| summary.high).0 };
        let ratios = match ours.better {
            Better::Lower => quotient(theirs, ours.summary),
            Better::Higher => quotient(ours.summary, theirs),
        };
        let name = if self.subjects.len() == 1 {
            subject.to_owned()
        } else {
            format!("the best {} ({subject})", self.name)
        };
        judge(ratios, "x", |value| value >= least, |value| format!("{value} {name}, to be {least:.2}x"))
    }
}

/// Returns the figure of a subject in a row.
fn find<'row>(row: &[&'row Figure], subject: &str) -> Option<&'row Figure> {
    row.iter().copied().find(|figure| figure.subject == subject)
}

fn is_within(value: f64, limit: f64, better: Better) -> bool {
    if better == Better::Lower { value <= limit } else { value >= limit }
}

/// Returns the quotient of two medians, then the lowest and the highest quotient within their spreads.
fn quotient(over: Summary, under: Summary) -> [f64; 3] {
    [over.median / under.median, over.low / under.high, over.high / under.low]
}

/// Returns the verdict on a value and on its lowest and highest; `said` has a text for the value.
fn judge(
    value: [f64; 3],
    unit: &'static str,
    meets: impl Fn(f64) -> bool,
    said: impl Fn(String) -> String,
) -> Verdict {
    if !value[0].is_finite() {
        return Verdict::NotJudged("a figure is zero".to_owned());
    }
    let said = said(format!("{:.2}{unit}", value[0]));
    Verdict::Judged { value, is_met: value.map(meets), said, unit }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged { value: [_, low, high], is_met: [_, met_low, met_high], said, unit } => {
                f.write_str(said)?;
                if met_low == met_high {
                    return Ok(());
                }
                write!(f, "; rests on noise: {low:.2}{unit} to {high:.2}{unit}")
            }
            Self::NotJudged(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests;
