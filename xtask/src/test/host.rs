//! The host's tests: cargo runs them, this module retells them in the format of the kernel's.
//!
//! A test is `host/PACKAGE::PATH`, a documentation example `host/PACKAGE::doc::PATH`, with the package's `rhumb-` left
//! out. libtest filters by the path alone; so with a filter the tests are listed first, and chosen by full name.
//!
//! Some packages are tested once more in another build, as `host/PACKAGE-BUILD::PATH`: see [`super::builds`]. Where a
//! process fails although no test in it says so, `(process)` is the path: a test took the process down, or
//! ThreadSanitizer saw a race.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, pipe};
use std::process::Stdio;

use anyhow::{Context, Result};

use super::builds::{Build, Builds};
use super::report::{Report, Verdict};
use super::suite::Suite;
use crate::paths;
use crate::progress::Progress;

/// Cargo's word for what it builds, in the progress line.
const BUILDING: &str = "Building the host's tests";

/// Returns the full names of all host tests of these builds that `filter` is a part of.
///
/// # Errors
/// The tests do not build: cargo's messages are in the error.
pub(super) fn list(builds: Builds, filter: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for build in builds.chosen(filter) {
        for (suite, paths) in choose(build, filter)? {
            names.extend(paths.iter().map(|path| build.full_name(&suite, path)));
        }
    }
    Ok(names)
}

/// Runs the host tests of these builds that `filter` is a part of.
///
/// # Errors
/// Cargo does not start, or a filter's tests do not build.
pub(super) fn run(builds: Builds, filter: &str, report: &mut Report) -> Result<()> {
    for build in builds.chosen(filter) {
        if filter.is_empty() {
            retell(build, &build.selection(), &[], report)?;
            continue;
        }
        for (suite, paths) in choose(build, filter)? {
            retell(build, &suite.arguments(), &paths, report)?;
        }
    }
    Ok(())
}

/// Returns the tests of a build that `filter` is a part of, by suite.
fn choose(build: &Build, filter: &str) -> Result<BTreeMap<Suite, Vec<String>>> {
    let mut suite = None;
    let mut chosen: BTreeMap<Suite, Vec<String>> = BTreeMap::new();
    let mut rest = Vec::new();
    let mut arguments = vec!["--", "--list"];
    arguments.extend(build.only_ignored.then_some("--ignored"));
    let success = cargo(build, &build.selection(), &arguments, |line| {
        if let Some(announced) = Suite::announced(line) {
            suite = Some(announced);
        } else if let (Some(suite), Some(path)) = (&suite, line.strip_suffix(": test")) {
            if build.full_name(suite, path).contains(filter) {
                chosen.entry(suite.clone()).or_default().push(path.into());
            }
        } else {
            rest.push(line.to_string());
        }
    })?;
    anyhow::ensure!(success, "the host's tests do not build:\n{}", rest.join("\n"));
    Ok(chosen)
}

/// Runs the selected tests, of them those with these paths if there are any, and reports each.
fn retell(build: &'static Build, selection: &[String], paths: &[String], report: &mut Report) -> Result<()> {
    let mut arguments = vec!["--no-fail-fast"];
    if !paths.is_empty() || build.only_ignored {
        arguments.push("--");
    }
    arguments.extend(build.only_ignored.then_some("--ignored"));
    if !paths.is_empty() {
        arguments.push("--exact");
        arguments.extend(paths.iter().map(String::as_str));
    }
    let mut teller = Teller::of(build);
    let success = cargo(build, selection, &arguments, |line| teller.hear(line, report))?;
    teller.close(success, report);
    Ok(())
}

/// Follows a run of `cargo test`.
struct Teller {
    build: &'static Build,
    suite: Option<Suite>,
    /// Failed tests of this suite, whose output comes at its end.
    failed: Vec<String>,
    /// Whatever is neither a result nor a heading: compiler messages, output of failed tests.
    rest: Vec<String>,
    /// Cargo says that the suite's process failed.
    process_failed: bool,
    told_failure: bool,
}

impl Teller {
    fn of(build: &'static Build) -> Self {
        let (failed, rest) = (Vec::new(), Vec::new());
        Self { build, suite: None, failed, rest, process_failed: false, told_failure: false }
    }

    fn hear(&mut self, line: &str, report: &mut Report) {
        if let Some(suite) = Suite::announced(line) {
            self.settle(report);
            self.suite = Some(suite);
        } else if let (Some(suite), Some((path, result))) = (&self.suite, result(line)) {
            let name = self.build.full_name(suite, path);
            match result {
                "ok" => report.add(&name, Verdict::Passed, None),
                "FAILED" => self.failed.push(name),
                _ => report.add(&name, Verdict::Skipped(result.replace("ignored, ", "")), None),
            }
        } else if !line.trim().is_empty()
            && !line.starts_with("running ")
            && !line.starts_with("test result: ")
        {
            // After the suite's results, since the process may fail as it ends.
            self.process_failed |= line.starts_with("error: ") && line.contains("test failed, to rerun");
            self.rest.push(line.into());
        }
    }

    /// The suite is over: the tests that failed are reported with their output.
    fn settle(&mut self, report: &mut Report) {
        let said = std::mem::take(&mut self.rest).join("\n");
        let failed = std::mem::take(&mut self.failed);
        for (index, name) in failed.iter().enumerate() {
            let why = if index == 0 { said.clone() } else { "see above".into() };
            report.add(name, Verdict::Failed(why), None);
            self.told_failure = true;
        }
        if let (Some(suite), true, false) = (&self.suite, self.process_failed, !failed.is_empty()) {
            report.add(&self.build.full_name(suite, "(process)"), Verdict::Failed(said), None);
            self.told_failure = true;
        }
        self.process_failed = false;
    }

    /// Cargo is done. A failure that neither a test nor its process told is one of building.
    fn close(mut self, success: bool, report: &mut Report) {
        let rest = self.rest.join("\n");
        self.settle(report);
        if !success && !self.told_failure {
            let name =
                ["host/build", self.build.name].join(if self.build.name.is_empty() { "" } else { "-" });
            report.add(&name, Verdict::Failed(rest), None);
        }
    }
}

/// Path and result of `test PATH ... RESULT`.
fn result(line: &str) -> Option<(&str, &str)> {
    let (path, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((path.trim_end_matches(" - should panic"), result))
}

/// Runs `cargo test` for the selected tests of a build; hands each line of its output to `hear`, as it comes and in
/// order, but for lines that only tell cargo's progress. Returns whether it succeeded.
fn cargo(
    build: &Build,
    selection: &[String],
    arguments: &[&str],
    mut hear: impl FnMut(&str),
) -> Result<bool> {
    // One pipe for both: headings come on standard error, results on standard output.
    let (output, input) = pipe().context("no pipe for cargo's output")?;
    let mut command = build.cargo_test()?;
    command.args(selection).args(arguments).current_dir(paths::root());
    command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never").stdin(Stdio::null());
    command.stdout(input.try_clone().context("no pipe for cargo's output")?).stderr(input);
    let mut child = command.spawn().context("cargo does not start")?;
    // The command holds the pipe's other end: with it the output would never end.
    drop(command);

    let mut progress = Some(Progress::new(BUILDING));
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cargo's output cannot be read")?;
        let line = String::from_utf8_lossy(&line);
        match crate::build::status(&line) {
            Some(detail) => {
                if let (Some(progress), Some(detail)) = (&mut progress, detail.working()) {
                    progress.update(detail);
                }
            }
            None => {
                // From the first heading on there are results to read instead.
                if Suite::announced(&line).is_some() {
                    progress = None;
                }
                hear(&line);
            }
        }
    }
    Ok(child.wait().context("cargo's end cannot be awaited")?.success())
}

#[cfg(test)]
mod tests;
