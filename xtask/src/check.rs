//! `cargo xtask check`: everything that must hold before a change goes in: format, lints, documentation, tests.

use std::env;
use std::io::{Write, stdout};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cli::TestOptions;
use crate::{paths, test, text};

/// A thing to check by cargo: its name, and cargo's words.
struct Step(&'static str, &'static str);

/// The kernel is linted and documented for the host: that needs no `core` for the kernel's target, and its profile
/// aborts on panic, so nothing of the host's runtime is asked for. No test of the ordinary suite builds the kernel with
/// KASAN, and none the fuzz targets: each set of them is a workspace of its own, which cargo-fuzz builds.
const STEPS: [Step; 12] = [
    Step("format", "fmt --all --check"),
    Step("clippy", "clippy --quiet --all-targets --all-features -- --deny warnings"),
    Step("clippy of the kernel", "clippy --quiet -p rhumb-kernel --profile kernel-dev -- --deny warnings"),
    Step(
        "clippy of the kernel with its laboratory",
        "clippy --quiet -p rhumb-kernel --features lab --profile kernel-dev -- --deny warnings",
    ),
    Step(
        "clippy of the kernel with KASAN",
        "clippy --quiet -p rhumb-kernel --features kasan,lab --profile kernel-dev -- --deny warnings",
    ),
    Step(
        "clippy of the models for loom",
        "clippy --quiet --config build.rustflags=[\"--cfg=loom\"] --target-dir target/models -p rhumb-sync -p rhumb-frames \
         -p rhumb-slab -p rhumb-pagetable -p rhumb-klog -p rhumb-smp --lib --tests -- --deny warnings",
    ),
    Step(
        "clippy of the models for shuttle",
        "clippy --quiet --config build.rustflags=[\"--cfg=shuttle\"] --target-dir target/models -p rhumb-frames -p rhumb-slab \
         -p rhumb-pagetable --lib --tests -- --deny warnings",
    ),
    Step("documentation", "doc --quiet --no-deps --all-features --document-private-items"),
    Step(
        "fuzz targets of bootinfo",
        "check --quiet --manifest-path crates/parts/bootinfo/fuzz/Cargo.toml --target-dir target",
    ),
    Step(
        "fuzz targets of frames",
        "check --quiet --manifest-path crates/memory/frames/fuzz/Cargo.toml --target-dir target",
    ),
    Step(
        "fuzz targets of slab",
        "check --quiet --manifest-path crates/memory/slab/fuzz/Cargo.toml --target-dir target",
    ),
    Step(
        "documentation of the kernel",
        "doc --quiet --no-deps -p rhumb-kernel --features lab --profile kernel-dev --document-private-items",
    ),
];

/// Runs every step, then the tests; fails if one does, but tries them all.
pub(crate) fn command() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for step in &STEPS {
        if !run(step)? {
            failed.push(step.0);
        }
    }
    if !run_text()? {
        failed.push(TEXT);
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

/// Runs one step and prints a line, with what cargo says where it fails.
fn run(&Step(name, words): &Step) -> Result<bool> {
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
