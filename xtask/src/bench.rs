//! `cargo xtask bench`: the benchmarks, built for speed and run on this machine.
//!
//! The benchmarks are a program of their own, with the competitors that only they need; here it is built with the
//! native profile and started with the arguments as they are. Object allocators are compared with the heaps of user
//! space where this machine can build them; where it cannot, they are left out, and a message says how to
//! get them.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::cli::BenchOptions;
use crate::paths;
use crate::setup::{self, Need};
use crate::test::builds::COUNTED;

/// The benchmarks' own help, so that showing it builds nothing.
const HELP: &str = include_str!("../../tools/bench/src/args/help.txt");

/// Runs `cargo xtask bench`.
pub(crate) fn command(options: &BenchOptions) -> Result<ExitCode> {
    let (family, arguments) = options.family.name_and_arguments();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let features = features(family);
    if !build::watch(cargo("build", family, features), "Building the benchmarks")? {
        return Ok(ExitCode::FAILURE);
    }
    let status = cargo("run", family, features)
        .args(["--quiet", "--", family])
        .args(arguments)
        .current_dir(paths::root())
        .status()
        .context("cargo does not start")?;
    match status.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        None => bail!("the benchmark was ended: {status}"),
    }
}

/// Returns a command that has cargo build or run the benchmarks of a family.
fn cargo(verb: &str, family: &str, features: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([verb, "--release", "--package", "rhumb-bench"]).args(features);
    if family == "scale" {
        // A build of its own, in a folder of its own, so that neither build makes the other one old.
        command.env("RUSTFLAGS", COUNTED).args(["--no-default-features", "--target-dir", "target/models"]);
    }
    command
}

/// Returns the features that the family needs beyond those that are always built. The heaps of user space are for one
/// family only, so that runs of the others do not wait for them.
fn features(family: &str) -> &'static [&'static str] {
    if family != "slab" {
        return &[];
    }
    match setup::ensure(&[Need::NativeCompilers]) {
        Ok(()) => &["--features", "user-space"],
        Err(error) => {
            tell!(
                "mimalloc, snmalloc and jemalloc are left out, and goals against them are not judged: {error:#}"
            );
            &[]
        }
    }
}
