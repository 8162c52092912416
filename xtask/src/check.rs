//! `cargo xtask check`: everything that must hold before a change goes in: format, lints, documentation, tests.

use std::env;
use std::io::{Write, stdout};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cli::TestOptions;
use crate::{paths, test, text};

/// One thing to check, by cargo with these arguments.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

/// The kernel is linted and documented for the host: that needs no `core` for the kernel's target, and its profile
/// aborts on panic, so nothing of the host's runtime is asked for.
const STEPS: [Step; 9] = [
    Step { name: "format", arguments: &["fmt", "--all", "--check"], environment: &[] },
    Step {
        name: "clippy",
        arguments: &["clippy", "--quiet", "--all-targets", "--all-features", "--", "--deny", "warnings"],
        environment: &[],
    },
    Step {
        name: "clippy of the kernel",
        arguments: &[
            "clippy",
            "--quiet",
            "-p",
            "rhumb-kernel",
            "--profile",
            "kernel-dev",
            "--",
            "--deny",
            "warnings",
        ],
        environment: &[],
    },
    // No test of the ordinary suite builds this one.
    Step {
        name: "clippy of the kernel with KASAN",
        arguments: &[
            "clippy",
            "--quiet",
            "-p",
            "rhumb-kernel",
            "--features",
            "kasan",
            "--profile",
            "kernel-dev",
            "--",
            "--deny",
            "warnings",
        ],
        environment: &[],
    },
    Step {
        name: "documentation",
        arguments: &["doc", "--quiet", "--no-deps", "--all-features", "--document-private-items"],
        environment: &[("RUSTDOCFLAGS", "--deny warnings")],
    },
    // No test builds the fuzz targets: each set of them is a workspace of its own, which cargo-fuzz builds.
    Step {
        name: "fuzz targets of bootinfo",
        arguments: &[
            "check",
            "--quiet",
            "--manifest-path",
            "crates/parts/bootinfo/fuzz/Cargo.toml",
            "--target-dir",
            "target",
        ],
        environment: &[],
    },
    Step {
        name: "fuzz targets of frames",
        arguments: &[
            "check",
            "--quiet",
            "--manifest-path",
            "crates/memory/frames/fuzz/Cargo.toml",
            "--target-dir",
            "target",
        ],
        environment: &[],
    },
    Step {
        name: "fuzz targets of slab",
        arguments: &[
            "check",
            "--quiet",
            "--manifest-path",
            "crates/memory/slab/fuzz/Cargo.toml",
            "--target-dir",
            "target",
        ],
        environment: &[],
    },
    Step {
        name: "documentation of the kernel",
        arguments: &[
            "doc",
            "--quiet",
            "--no-deps",
            "-p",
            "rhumb-kernel",
            "--profile",
            "kernel-dev",
            "--document-private-items",
        ],
        environment: &[("RUSTDOCFLAGS", "--deny warnings")],
    },
];

/// Runs every step, then the tests; fails if one does, but tries them all.
pub(crate) fn command() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for step in &STEPS {
        if !run(step)? {
            failed.push(step.name);
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
const TEXT: &str = "links, names and words";

/// Checks pages and comments, and prints a line, after the findings if there are any.
fn run_text() -> Result<bool> {
    let started = Instant::now();
    let is_sound = text::check(&paths::root())?;
    let outcome = if is_sound { "ok" } else { "FAILED" };
    println!("check {TEXT} ... {outcome} ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(is_sound)
}

/// Runs one step and prints a line, with what cargo says where it fails.
fn run(step: &Step) -> Result<bool> {
    print!("check {} ... ", step.name);
    stdout().flush().context("standard output is gone")?;
    let started = Instant::now();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(step.arguments)
        .envs(step.environment.iter().copied())
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
