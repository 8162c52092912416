//! The ratios that Rhumb wants to reach, and whether it does.
//!
//! A ratio is the best median of a kind over our median, in one run. Memory held is a figure by itself.

use std::fmt::Write;

use super::subject::Kind;
use crate::report::{Figure, OURS, Report};

/// Our subject whose users go through `GlobalAlloc`.
pub(super) const GLOBAL: &str = "rhumb-global";

/// Every subject, and whose it is.
const KINDS: [(&str, Kind); 11] = [
    (OURS, Kind::Rhumb),
    (GLOBAL, Kind::Rhumb),
    (crate::report::FLOOR, Kind::Floor),
    ("talc", Kind::Kernel),
    ("linked_list_allocator", Kind::Kernel),
    ("rlsf", Kind::Kernel),
    ("slabmalloc", Kind::Kernel),
    ("mimalloc", Kind::UserSpace),
    ("snmalloc", Kind::UserSpace),
    ("jemalloc", Kind::UserSpace),
    ("system", Kind::UserSpace),
];

/// Whose the subject is; `None` where it is unknown.
pub(super) fn kind_of(subject: &str) -> Option<Kind> {
    KINDS.into_iter().find(|&(name, _)| name == subject).map(|(_, kind)| kind)
}

/// The subject with which a figure is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Against {
    /// The best of a kind.
    Best(Kind),
    /// The best of both kinds.
    BestOfAll,
    /// One subject.
    Subject(&'static str),
    /// No subject: the figure itself has a limit.
    Limit,
}

impl Against {
    fn includes(self, subject: &str) -> bool {
        match self {
            Self::Best(kind) => kind_of(subject) == Some(kind),
            Self::BestOfAll => matches!(kind_of(subject), Some(Kind::Kernel | Kind::UserSpace)),
            Self::Subject(name) => subject == name,
            Self::Limit => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Best(Kind::Kernel) => "best kernel crate",
            Self::Best(_) => "best of user space",
            Self::BestOfAll => "best other",
            Self::Subject(name) => name,
            Self::Limit => "limit",
        }
    }
}

/// The figure that one of our subjects is to reach in a workload.
struct Goal {
    workload: &'static str,
    metric: &'static str,
    ours: &'static str,
    against: Against,
    /// So many times better; with a limit: at most this.
    value: f64,
}

const fn goal(
    workload: &'static str,
    metric: &'static str,
    ours: &'static str,
    against: Against,
    value: f64,
) -> Goal {
    Goal { workload, metric, ours, against, value }
}

const GOALS: [Goal; 12] = [
    goal("pair-64", "time", OURS, Against::Best(Kind::UserSpace), 1.5),
    goal("pair-64", "time", OURS, Against::Limit, 3.0),
    goal("pair-64", "time", GLOBAL, Against::Best(Kind::UserSpace), 1.2),
    goal("pair-64", "time", OURS, Against::Best(Kind::Kernel), 3.0),
    goal("burst-1000", "time", OURS, Against::Subject("mimalloc"), 1.0),
    goal("mixed-10k", "time", OURS, Against::BestOfAll, 1.2),
    goal("mixed-10k", "time", GLOBAL, Against::BestOfAll, 1.2),
    goal("mixed-200k", "time", OURS, Against::BestOfAll, 1.2),
    goal("mixed-200k", "time", GLOBAL, Against::BestOfAll, 1.2),
    goal("remote-", "time", OURS, Against::BestOfAll, 1.3),
    goal("held", "churn", OURS, Against::Limit, 1.10),
    goal("held", "sparse", OURS, Against::Limit, 4.0),
];

/// Returns one line for each goal and number of CPUs; empty where nothing of ours ran.
pub(crate) fn judged(report: &Report) -> String {
    let mut text = String::new();
    for ours in report.figures() {
        for goal in GOALS.iter().filter(|goal| goal.applies_to(ours)) {
            let row = report.figures().iter().filter(|other| {
                (&other.workload, other.cpus, other.metric) == (&ours.workload, ours.cpus, ours.metric)
            });
            let best = row
                .filter(|other| goal.against.includes(other.subject))
                .min_by(|a, b| a.summary.median.total_cmp(&b.summary.median));
            let Some(line) = goal.line(ours, best) else { continue };
            if text.is_empty() {
                text.push_str("\ngoals:\n");
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

impl Goal {
    fn applies_to(&self, ours: &Figure) -> bool {
        ours.subject == self.ours && ours.metric == self.metric && ours.workload.starts_with(self.workload)
    }

    fn line(&self, ours: &Figure, best: Option<&Figure>) -> Option<String> {
        let median = ours.summary.median;
        let (is_met, said) = match (self.against, best) {
            (Against::Limit, _) => {
                (median <= self.value, format!("{median:.2}, to be at most {:.2}", self.value))
            }
            (_, Some(best)) => {
                let ratio = best.summary.median / median;
                let against = self.against.name();
                let name = if best.subject == against {
                    against.to_owned()
                } else {
                    format!("{against} ({})", best.subject)
                };
                (ratio >= self.value, format!("{ratio:.2}x the {name}, to be {:.2}x", self.value))
            }
            (_, None) => return None,
        };
        let mark = if is_met { "met" } else { "NOT MET" };
        Some(format!(
            "  {mark:<8}{:<12}{} CPUs  {:<8}{}: {said}",
            ours.workload, ours.cpus, self.metric, self.ours
        ))
    }
}

#[cfg(test)]
mod tests;
