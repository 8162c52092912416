//! A process for each case.
//!
//! The heaps of user space are one for the process: the next round would begin with the memory that a round leaves
//! behind, and memory held could not be told from memory of before. So each case runs in a fresh process, which is this
//! program again with `slab-case` as its command, and says its samples on lines of `metric unit direction value`.

use std::process::{Command, Stdio};

use crate::args::Options;
use crate::driver::{Better, Case, Outcome, Sample, Unfit};

/// All metrics and units of this family, so that a child's words become the parent's.
const WORDS: [&str; 8] = ["time", "failed", "wrong", "churn", "sparse", "ns", "objects", "held/live"];

/// Returns `case` as a case that runs in a process of its own.
pub(super) fn apart(options: &Options, workload: &'static str, cpus: usize, case: Case) -> Case {
    let subject = case.subject;
    let mut arguments = vec!["slab-case".to_owned(), "--only".to_owned(), format!("{workload}/{subject}")];
    arguments.extend(["--cpus".to_owned(), cpus.to_string()]);
    arguments.extend(["--pages".to_owned(), options.pages_word().to_owned()]);
    arguments.extend(options.is_quick().then(|| "--quick".to_owned()));
    Case { subject, run: Box::new(move || outcome_of(&arguments)) }
}

/// Runs the case that the options name, in this process, and returns its samples as text.
///
/// # Errors
/// There is no such case, or it could not be run.
pub(crate) fn run(options: &Options) -> Result<String, String> {
    let groups = super::groups_of(options, |_, _, _, case| case).map_err(|error| error.to_string())?;
    for group in groups {
        for mut case in group.cases {
            if options.names_exactly(&group.workload, case.subject) {
                return (case.run)().map(|samples| said(&samples)).map_err(|unfit| unfit.to_string());
            }
        }
    }
    Err("no such case".to_owned())
}

fn outcome_of(arguments: &[String]) -> Outcome {
    let unfit = |error: std::io::Error| Unfit(format!("its process cannot be started: {error}"));
    let program = std::env::current_exe().map_err(unfit)?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(unfit)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default().trim_start_matches("rhumb-bench: ").to_owned();
        return Err(Unfit(if last.is_empty() { output.status.to_string() } else { last }));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| heard(line).ok_or_else(|| Unfit(format!("said {line:?}")))).collect()
}

fn said(samples: &[Sample]) -> String {
    let line = |sample: &Sample| {
        let direction = if sample.better == Better::Lower { "lower" } else { "higher" };
        format!("{} {} {direction} {}\n", sample.metric, sample.unit, sample.value)
    };
    samples.iter().map(line).collect()
}

fn heard(line: &str) -> Option<Sample> {
    let word = |text: &str| WORDS.into_iter().find(|&word| word == text);
    let [metric, unit, direction, value] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let better = if direction == "lower" { Better::Lower } else { Better::Higher };
    Some(Sample::of(word(metric)?, word(unit)?, better, value.parse().ok()?))
}

#[cfg(test)]
mod tests;
