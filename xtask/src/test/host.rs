//! The host's tests: cargo runs them, this module retells them in the format of the kernel's.
//!
//! A test is `host/PACKAGE::PATH`, a documentation example `host/PACKAGE::doc::PATH`, with the package's `rhumb-` left
//! out. libtest filters by the path alone; so with a filter the tests are listed first, and chosen by full name.
//!
//! Some packages are tested once more in another build ([`Build`]): with every check, or under a model checker. These
//! tests are `host/PACKAGE-BUILD::PATH`.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, pipe};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::report::{Report, Verdict};
use crate::paths;
use crate::progress::Progress;

/// Cargo's word for what it builds, in the progress line.
const BUILDING: &str = "Building the host's tests";

/// A build of the host's tests: the usual one, or one package in another way.
#[derive(Debug)]
struct Build {
    /// What test names have in place of the package; empty in the usual build.
    name: &'static str,
    /// Cargo's arguments.
    arguments: &'static [&'static str],
    /// The compiler's, for what cargo has no word for.
    rustflags: &'static str,
}

const USUAL: Build = Build { name: "", arguments: &[], rustflags: "" };

/// The others: optimised, since checks and model checkers multiply the work.
const OTHERS: [Build; 10] = [
    featured("frames-checked", &["--release", "--package", "rhumb-frames", "--lib", "--features", "checked"]),
    featured("frames-loom", &["--release", "--package", "rhumb-frames", "--lib", "--features", "loom"]),
    featured("frames-shuttle", &["--release", "--package", "rhumb-frames", "--lib", "--features", "shuttle"]),
    featured("slab-checked", &["--release", "--package", "rhumb-slab", "--lib", "--features", "checked"]),
    featured("slab-loom", &["--release", "--package", "rhumb-slab", "--lib", "--features", "loom"]),
    featured("slab-shuttle", &["--release", "--package", "rhumb-slab", "--lib", "--features", "shuttle"]),
    featured("pagetable-loom", &["--release", "--package", "rhumb-pagetable", "--lib", "--features", "loom"]),
    featured(
        "pagetable-shuttle",
        &["--release", "--package", "rhumb-pagetable", "--lib", "--features", "shuttle"],
    ),
    Build {
        rustflags: "--cfg loom",
        ..featured("klog-loom", &["--release", "--package", "rhumb-klog", "--lib"])
    },
    Build {
        rustflags: "--cfg loom",
        ..featured("smp-loom", &["--release", "--package", "rhumb-smp", "--lib"])
    },
];

const fn featured(name: &'static str, arguments: &'static [&'static str]) -> Build {
    Build { name, arguments, rustflags: "" }
}

impl Build {
    /// The full name of the test `path` in `suite`.
    fn full_name(&self, suite: &Suite, path: &str) -> String {
        if self.name.is_empty() { suite.full_name(path) } else { format!("host/{}::{path}", self.name) }
    }

    /// Whether `filter` asks for this build. The other builds take minutes to make on a busy machine: it must hold
    /// their word (`loom`, say), unless it takes all there is.
    fn is_wanted(&self, filter: &str) -> bool {
        let word = self.name.rsplit('-').next().unwrap_or("");
        filter.is_empty() || "host/".contains(filter) || filter.contains(word)
    }
}

fn builds(filter: &str) -> impl Iterator<Item = &'static Build> {
    [&USUAL].into_iter().chain(&OTHERS).filter(move |build| build.is_wanted(filter))
}

/// A set of tests that cargo runs together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Suite {
    /// Unit tests of a library, by the name of its binary.
    Library(String),
    /// Unit tests of a program, by its name.
    Program(String),
    /// An integration test.
    Integration(String),
    /// Examples in a package's documentation.
    Doc(String),
}

impl Suite {
    /// The suite that a line of cargo's announces.
    fn announced(line: &str) -> Option<Self> {
        let line = line.trim_start();
        if let Some(package) = line.strip_prefix("Doc-tests ") {
            return Some(Self::Doc(package.into()));
        }
        // `Running unittests src/lib.rs (target/debug/deps/rhumb_machine-0123456789abcdef)`
        let (kind, binary) = line.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
        let stem = binary.rsplit('/').next()?.rsplit_once('-')?.0.to_string();
        Some(match kind.strip_prefix("unittests ") {
            Some(file) if file.ends_with("lib.rs") => Self::Library(stem),
            Some(_) => Self::Program(stem),
            None => Self::Integration(stem),
        })
    }

    /// The full name of the suite's test `path`.
    fn full_name(&self, path: &str) -> String {
        let short = |name: &str| name.trim_start_matches("rhumb_").to_string();
        match self {
            Self::Library(name) | Self::Program(name) | Self::Integration(name) => {
                format!("host/{}::{path}", short(name))
            }
            Self::Doc(name) => format!("host/{}::doc::{path}", short(name)),
        }
    }

    /// Cargo's arguments for this suite alone.
    fn arguments(&self) -> Vec<String> {
        let package = |name: &str| name.replace('_', "-");
        match self {
            Self::Library(name) => vec!["--package".into(), package(name), "--lib".into()],
            // Cargo's announcement has underscores where the program's own name may have hyphens.
            Self::Program(name) => vec!["--package".into(), package(name), "--bins".into()],
            Self::Integration(name) => vec!["--test".into(), name.clone()],
            Self::Doc(name) => vec!["--package".into(), package(name), "--doc".into()],
        }
    }
}

/// The full names of all host tests that `filter` is a part of.
///
/// # Errors
/// The tests do not build: cargo's messages are in the error.
pub(super) fn list(filter: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for build in builds(filter) {
        for (suite, paths) in choose(build, filter)? {
            names.extend(paths.iter().map(|path| build.full_name(&suite, path)));
        }
    }
    Ok(names)
}

/// Runs the host tests that `filter` is a part of.
///
/// # Errors
/// Cargo does not start, or a filter's tests do not build.
pub(super) fn run(filter: &str, report: &mut Report) -> Result<()> {
    for build in builds(filter) {
        if filter.is_empty() {
            retell(build, &["--no-fail-fast"], report)?;
            continue;
        }
        for (suite, paths) in choose(build, filter)? {
            // The other builds name their package and what of it to test already.
            let mut arguments = if build.name.is_empty() { suite.arguments() } else { Vec::new() };
            arguments.extend(["--no-fail-fast", "--", "--exact"].map(String::from));
            arguments.extend(paths);
            retell(build, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), report)?;
        }
    }
    Ok(())
}

/// The tests of a build that `filter` is a part of, by suite.
fn choose(build: &Build, filter: &str) -> Result<BTreeMap<Suite, Vec<String>>> {
    let mut suite = None;
    let mut chosen: BTreeMap<Suite, Vec<String>> = BTreeMap::new();
    let mut rest = Vec::new();
    let success = cargo(build, &["--", "--list"], |line| {
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

/// Runs `cargo test` with these arguments and reports each test.
fn retell(build: &'static Build, arguments: &[&str], report: &mut Report) -> Result<()> {
    let mut teller = Teller::of(build);
    let success = cargo(build, arguments, |line| teller.hear(line, report))?;
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
    told_failure: bool,
}

impl Teller {
    fn of(build: &'static Build) -> Self {
        Self { build, suite: None, failed: Vec::new(), rest: Vec::new(), told_failure: false }
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
        } else if line.starts_with("test result: ") {
            self.settle(report);
        } else if !line.trim().is_empty() && !line.starts_with("running ") {
            self.rest.push(line.into());
        }
    }

    /// The suite is over: what failed is reported with what was said.
    fn settle(&mut self, report: &mut Report) {
        let said = std::mem::take(&mut self.rest).join("\n");
        for (index, name) in std::mem::take(&mut self.failed).iter().enumerate() {
            let why = if index == 0 { said.clone() } else { "see above".into() };
            report.add(name, Verdict::Failed(why), None);
            self.told_failure = true;
        }
    }

    /// Cargo is done. A failure that no test told is one of building, or of a test that took its process down.
    fn close(mut self, success: bool, report: &mut Report) {
        let rest = self.rest.join("\n");
        self.settle(report);
        if !success && !self.told_failure {
            let unbuilt =
                ["host/build", self.build.name].join(if self.build.name.is_empty() { "" } else { "-" });
            let name = self.suite.map_or(unbuilt, |suite| self.build.full_name(&suite, "(process)"));
            report.add(&name, Verdict::Failed(rest), None);
        }
    }
}

/// Path and result of `test PATH ... RESULT`.
fn result(line: &str) -> Option<(&str, &str)> {
    let (path, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((path.trim_end_matches(" - should panic"), result))
}

/// Runs `cargo test` for a build with these arguments besides; hands each line of its output to `hear`, as it comes and
/// in order, less what only says that cargo works. Returns whether it succeeded.
fn cargo(build: &Build, arguments: &[&str], mut hear: impl FnMut(&str)) -> Result<bool> {
    // One pipe for both: headings come on standard error, results on standard output.
    let (output, input) = pipe().context("no pipe for cargo's output")?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("test").args(build.arguments).args(arguments).current_dir(paths::root());
    if !build.rustflags.is_empty() {
        command.env("RUSTFLAGS", build.rustflags);
    }
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
mod tests {
    use super::{OTHERS, Suite, USUAL, result};

    #[test]
    fn understands_cargos_headings() {
        let unit =
            Suite::announced("     Running unittests src/lib.rs (target/debug/deps/rhumb_machine-0a1b)");
        assert_eq!(unit, Some(Suite::Library("rhumb_machine".into())));
        let program = Suite::announced("     Running unittests src/main.rs (target/debug/deps/xtask-0a1b)");
        assert_eq!(program, Some(Suite::Program("xtask".into())));
        assert_eq!(unit.expect("above").full_name("tests::range"), "host/machine::tests::range");
        let integration = Suite::announced("     Running tests/whole.rs (/t/debug/deps/whole-0a1b)");
        assert_eq!(integration, Some(Suite::Integration("whole".into())));
        assert_eq!(Suite::announced("   Doc-tests rhumb_symbols"), Some(Suite::Doc("rhumb_symbols".into())));
        assert_eq!(Suite::announced("running 3 tests"), None);
    }

    #[test]
    fn names_of_other_builds() {
        let [_, loom, ..] = &OTHERS;
        let suite = Suite::Library("rhumb_frames".into());
        assert_eq!(USUAL.full_name(&suite, "tests::a"), "host/frames::tests::a");
        assert_eq!(loom.full_name(&suite, "tests::a"), "host/frames-loom::tests::a");
        for filter in ["", "host/", "loom", "frames-loom", "host/frames-loom::tests"] {
            assert!(loom.is_wanted(filter) && USUAL.is_wanted(filter), "{filter}");
        }
        for filter in ["host/frames::", "frames", "frames-checked"] {
            assert!(!loom.is_wanted(filter) && USUAL.is_wanted(filter), "{filter}");
        }
    }

    #[test]
    fn understands_results() {
        assert_eq!(result("test tests::a ... ok"), Some(("tests::a", "ok")));
        assert_eq!(result("test tests::a - should panic ... FAILED"), Some(("tests::a", "FAILED")));
        assert_eq!(
            result("test src/lib.rs - X (line 3) ... ignored, slow"),
            Some(("src/lib.rs - X (line 3)", "ignored, slow"))
        );
        assert_eq!(result("test result: ok. 1 passed; 0 failed"), None);
    }
}
