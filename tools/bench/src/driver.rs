//! Runs groups of cases interleaved: round after round over the subjects, so that a slow minute of the machine hits
//! all of them alike; and each round starts with another subject.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write, stderr};

use crate::args::Options;
use crate::report::{Figure, Report, of_cpus};
pub(crate) use crate::stats::Better;
use crate::stats::Summary;

/// One figure of one round.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) value: f64,
    /// The smallest value that can be told from nothing; 0 for counts, and for times far above the clock's resolution.
    pub(crate) resolution: f64,
}

impl Sample {
    /// Returns a value far above the resolution of its measurement.
    pub(crate) const fn of(metric: &'static str, unit: &'static str, better: Better, value: f64) -> Self {
        Self { metric, unit, better, value, resolution: 0.0 }
    }

    /// Returns nanoseconds; fewer are better.
    pub(crate) const fn ns(metric: &'static str, value: f64) -> Self {
        Self::of(metric, "ns", Better::Lower, value)
    }

    /// Returns nanoseconds that a clock of this resolution has measured in single readings.
    pub(crate) const fn resolved_ns(metric: &'static str, value: f64, resolution: f64) -> Self {
        Self { resolution, ..Self::ns(metric, value) }
    }

    /// Returns a count of `unit`.
    pub(crate) const fn count(metric: &'static str, unit: &'static str, better: Better, value: u64) -> Self {
        Self::of(metric, unit, better, value as f64)
    }
}

/// Why a subject does not take part in a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unfit(pub(crate) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of a run of a case.
pub(crate) type Outcome = Result<Vec<Sample>, Unfit>;

/// One subject in one workload.
pub(crate) struct Case {
    pub(crate) subject: &'static str,
    pub(crate) run: Box<dyn FnMut() -> Outcome>,
}

/// One workload on one number of CPUs, and all subjects of it.
pub(crate) struct Group {
    pub(crate) workload: String,
    pub(crate) cpus: usize,
    pub(crate) cases: Vec<Case>,
}

/// The results of a case so far: values per metric, in the order in which the metrics first came.
#[derive(Default)]
struct Record {
    metrics: Vec<Sample>,
    values: BTreeMap<&'static str, Vec<f64>>,
    unfit: Option<Unfit>,
}

/// Runs all groups.
pub(crate) fn run(groups: Vec<Group>, options: &Options) -> Report {
    let mut report = Report::default();
    let mut progress = Progress::new(groups.iter().map(|group| group.cases.len() * options.rounds).sum());
    for mut group in groups {
        let mut records: Vec<Record> = group.cases.iter().map(|_| Record::default()).collect();
        for round in 0..options.rounds {
            for turn in 0..group.cases.len() {
                let index = (turn + round) % group.cases.len();
                let (case, record) = (&mut group.cases[index], &mut records[index]);
                progress.step(&group.workload, group.cpus, case.subject);
                if record.unfit.is_none() {
                    record.take((case.run)());
                }
            }
        }
        for (case, record) in group.cases.iter().zip(records) {
            record.into_report(&mut report, &group, case.subject);
        }
    }
    progress.finish();
    report
}

impl Record {
    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Ok(samples) => {
                for sample in samples {
                    self.values.entry(sample.metric).or_default().push(sample.value);
                    match self.metrics.iter_mut().find(|first| first.metric == sample.metric) {
                        // The coarsest round speaks for all.
                        Some(first) => first.resolution = first.resolution.max(sample.resolution),
                        None => self.metrics.push(sample),
                    }
                }
            }
            Err(unfit) => self.unfit = Some(unfit),
        }
    }

    fn into_report(self, report: &mut Report, group: &Group, subject: &'static str) {
        if let Some(unfit) = self.unfit {
            report.note(format!("{}, {}: {subject}: {unfit}", group.workload, of_cpus(group.cpus)));
        }
        for sample in self.metrics {
            let values = self.values.get(sample.metric).map_or(&[][..], Vec::as_slice);
            if let Some(summary) = Summary::of(values) {
                report.add(Figure {
                    workload: group.workload.clone(),
                    cpus: group.cpus,
                    subject,
                    metric: sample.metric,
                    unit: sample.unit,
                    better: sample.better,
                    summary,
                    resolution: sample.resolution,
                });
            }
        }
    }
}

/// A line on the terminal that names the running case; nothing where there is no terminal.
struct Progress {
    shown: bool,
    done: usize,
    total: usize,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { shown: stderr().is_terminal(), done: 0, total }
    }

    fn step(&mut self, workload: &str, cpus: usize, subject: &str) {
        if self.shown {
            eprint!("\r\x1b[K[{}/{}] {workload}, {}: {subject}", self.done, self.total, of_cpus(cpus));
            // A terminal that cannot be written to misses a line of progress.
            let _ = stderr().flush();
        }
        self.done += 1;
    }

    fn finish(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests;
