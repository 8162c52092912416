//! Results as they come: one line a test, details of failures, the count.

use std::process::ExitCode;
use std::time::Duration;

/// How a test ended.
pub(crate) enum Verdict {
    /// As it must.
    Passed,
    /// Otherwise; the text shows why.
    Failed(String),
    /// Not at all; the text says why.
    Skipped(String),
}

/// Says that `filter` chooses no test.
pub(crate) fn no_test_has(filter: &str) -> String {
    format!("no test has `{filter}` in its name (see --list)")
}

/// The count so far.
#[derive(Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

impl Report {
    /// Takes down and prints one result.
    pub(crate) fn add(&mut self, name: &str, verdict: Verdict, duration: Option<Duration>) {
        let took = duration.map(|duration| format!(" ({:.1} s)", duration.as_secs_f64())).unwrap_or_default();
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                println!("test {name} ... ok{took}");
            }
            Verdict::Failed(why) => {
                self.failed.push(name.into());
                println!("test {name} ... FAILED{took}");
                why.trim_end().lines().for_each(|line| println!("    {line}"));
            }
            Verdict::Skipped(why) => {
                self.skipped += 1;
                println!("test {name} ... skipped: {why}");
            }
        }
    }

    /// Returns the names of the tests that failed so far.
    #[cfg(test)]
    pub(crate) fn failed(&self) -> &[String] {
        &self.failed
    }

    /// Prints the failed tests, then the count. The exit status says whether all is well: at least one test ran,
    /// none failed.
    pub(crate) fn close(self, filter: &str) -> ExitCode {
        if !self.failed.is_empty() {
            println!("\nfailed:");
            self.failed.iter().for_each(|name| println!("    {name}"));
        }
        if self.passed + self.failed.len() + self.skipped == 0 && !filter.is_empty() {
            println!("{}", no_test_has(filter));
        }
        let skipped = if self.skipped > 0 { format!(", {} skipped", self.skipped) } else { String::new() };
        println!("\n{} passed, {} failed{skipped}", self.passed, self.failed.len());
        if self.failed.is_empty() && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
