//! `cargo xtask check`: everything that must hold before a change goes in: format, lints, documentation, tests.

use std::env;
use std::fs;
use std::io::{Write, stdout};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cli::TestOptions;
use crate::test::{self, builds};
use crate::{paths, text};

/// A thing to check by cargo: its name, and cargo's words.
struct Step {
    name: String,
    words: String,
}

impl Step {
    fn new(name: impl Into<String>, words: impl Into<String>) -> Self {
        Self { name: name.into(), words: words.into() }
    }
}

/// The features of the kernels that people build. KASAN and the tracer of interrupts have code of their own in both the
/// kernel alone and the laboratory.
const KERNELS: [&str; 6] = ["", "lab", "kasan", "kasan,lab", "irqsoff", "irqsoff,lab"];

/// The model checkers, by the `cfg` that turns each on.
const CHECKERS: [&str; 2] = ["loom", "shuttle"];

/// Returns the steps of cargo.
///
/// The kernel is linted and documented for the host: that needs no `core` for the kernel's target, and its profile
/// aborts on panic, so nothing of the host's runtime is asked for. No test of the ordinary suite builds the kernel with
/// KASAN, and none the fuzz targets: each set of them is a workspace of its own, which cargo-fuzz builds.
fn steps() -> Result<Vec<Step>> {
    const DENY: &str = "-- --deny warnings";
    let mut steps = vec![
        Step::new("format", "fmt --all --check"),
        Step::new("clippy", format!("clippy --quiet --all-targets --all-features {DENY}")),
    ];
    for features in KERNELS {
        let with = if features.is_empty() { String::new() } else { format!(" with {features}") };
        let words =
            format!("clippy --quiet -p rhumb-kernel --features={features} --profile kernel-dev {DENY}");
        steps.push(Step::new(format!("clippy of the kernel{with}"), words));
    }
    for checker in CHECKERS {
        let packages = builds::packages_for(checker).join(" -p ");
        ensure!(!packages.is_empty(), "no package has models for {checker}");
        let flags = format!("--config build.rustflags=[\"--cfg={checker}\"] --target-dir target/models");
        let words = format!("clippy --quiet {flags} -p {packages} --lib --tests {DENY}");
        steps.push(Step::new(format!("clippy of the models for {checker}"), words));
    }
    steps.push(Step::new(
        "clippy of the counting build",
        format!(
            "clippy --quiet --config build.rustflags=[\"--cfg=rhumb_counted\"] --target-dir target/models \
             -p rhumb-sync -p rhumb-slab -p rhumb-bench --no-default-features --all-targets {DENY}"
        ),
    ));
    let document = "doc --quiet --no-deps --document-private-items";
    let kernel = "-p rhumb-kernel --features lab --profile kernel-dev";
    steps.push(Step::new("documentation", format!("{document} --all-features")));
    steps.push(Step::new("documentation of the kernel", format!("{document} {kernel}")));
    let modules = "--manifest-path modules/Cargo.toml";
    steps.push(Step::new("format of the loadable modules", format!("fmt {modules} --all --check")));
    // Their profile aborts on panic, as the kernel's does.
    let words = format!("clippy --quiet {modules} --workspace --release --target-dir target {DENY}");
    steps.push(Step::new("clippy of the loadable modules", words));
    for manifest in fuzz_targets()? {
        let words = format!("check --quiet --manifest-path {manifest} --target-dir target");
        steps.push(Step::new(format!("fuzz targets of {manifest}"), words));
    }
    Ok(steps)
}

/// Returns the manifest of each set of fuzz targets: `crates/*/*/fuzz/Cargo.toml`.
fn fuzz_targets() -> Result<Vec<String>> {
    let mut folders = vec!["crates".to_owned()];
    for _ in 0..2 {
        let inside = folders.iter().map(|folder| folders_in(folder)).collect::<Result<Vec<_>>>()?;
        folders = inside.concat();
    }
    folders.sort();
    let manifests = folders.into_iter().map(|folder| format!("{folder}/fuzz/Cargo.toml"));
    let found: Vec<String> = manifests.filter(|manifest| paths::root().join(manifest).exists()).collect();
    ensure!(!found.is_empty(), "no crate has fuzz targets");
    Ok(found)
}

/// Returns the folders in a folder of the tree.
fn folders_in(folder: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(paths::root().join(folder)).with_context(|| format!("cannot read {folder}"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(format!("{folder}/{}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(found)
}

/// Runs every step, then the tests; fails if one does, but tries them all.
pub(crate) fn command() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for step in steps()? {
        if !run(&step)? {
            failed.push(step.name);
        }
    }
    if !run_text()? {
        failed.push(TEXT.to_owned());
    }
    let tests = test::command(&TestOptions::default())?;
    if failed.is_empty() {
        return Ok(tests);
    }
    println!("failed checks: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The name of the step that reads pages and comments.
const TEXT: &str = "links, names, words and arrows";

/// Checks pages and comments, and prints a line, after the findings if there are any.
fn run_text() -> Result<bool> {
    let started = Instant::now();
    let is_sound = text::check(&paths::root())?;
    let outcome = if is_sound { "ok" } else { "FAILED" };
    println!("check {TEXT} ... {outcome} ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(is_sound)
}

/// Runs one step and prints a line, with cargo's messages where it fails.
fn run(Step { name, words }: &Step) -> Result<bool> {
    print!("check {name} ... ");
    stdout().flush().context("standard output is gone")?;
    let started = Instant::now();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(words.split(' '))
        .env("RUSTDOCFLAGS", "--deny warnings")
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .output()
        .context("cargo does not start")?;
    let took = started.elapsed().as_secs_f64();
    if output.status.success() {
        println!("ok ({took:.1} s)");
    } else {
        println!("FAILED ({took:.1} s)");
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}

#[cfg(test)]
mod tests;
