//! `cargo xtask bench`: the benchmarks, built for speed and run on this machine.
//!
//! The benchmarks are a program of their own, with the competitors that only they need; here it is built with the native
//! profile and started with the arguments as they are.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cli::BenchOptions;
use crate::paths;

/// `cargo xtask bench`.
pub(crate) fn command(options: &BenchOptions) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "rhumb-bench", "--", &options.family])
        .args(&options.arguments)
        .current_dir(paths::root())
        .status()
        .context("cargo does not start")?;
    match status.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        None => bail!("the benchmark was ended: {status}"),
    }
}
