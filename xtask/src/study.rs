//! `cargo xtask study`: the study, built for speed and run on this machine.
//!
//! The study is a program of its own, `rhumb-study`; here it is built and started with the arguments as they are. Only
//! `study kernel` gets more: the kernel with its laboratory, the counting plugin, and the path of QEMU.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, ensure};

use crate::cli::{BuildOptions, Contents, StudyOptions};
use crate::host::{Host, ThisHost};
use crate::setup::{self, Need};
use crate::{build, count, paths};

const PACKAGE: &str = "rhumb-study";
/// The study that boots the kernel.
const KERNEL: &str = "kernel";
/// Options of all studies that a value follows.
const VALUED: [&str; 3] = ["--out", "--name", "--seed"];

/// Runs `cargo xtask study`.
pub(crate) fn command(options: &StudyOptions) -> Result<ExitCode> {
    let mut study = Command::new(program()?);
    study.args(&options.arguments);
    if boots_the_kernel(&options.arguments) {
        study.args(for_the_kernel()?);
    }
    // In the place of this process, so that Ctrl-C and the exit status are the study's.
    Err(anyhow!(study.exec()).context("the study does not start"))
}

/// Builds the program and says where it is.
fn program() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Named, whatever cargo's configuration says, so that the program is where it is looked for.
    cargo.args(["build", "--release", "--package", PACKAGE, "--target-dir"]).arg(paths::target());
    ensure!(build::watch(cargo, "Building the study")?, "the study does not build");
    let program = paths::target().join("release").join(PACKAGE);
    ensure!(
        program.is_file(),
        "{} is not there: does cargo build for another target than this machine?",
        program.display()
    );
    Ok(program)
}

/// Tells whether the arguments are those of a study that boots the kernel, and not of its help, nor with a kernel.
fn boots_the_kernel(arguments: &[String]) -> bool {
    let mut is_value = false;
    let is_command = |word: &&String| {
        let is_word = !is_value && !word.starts_with('-');
        is_value = VALUED.contains(&word.as_str());
        is_word
    };
    let command = arguments.iter().find(is_command);
    let ends_it = |word: &String| {
        matches!(word.as_str(), "--help" | "-h" | "--kernel") || word.starts_with("--kernel=")
    };
    command.is_some_and(|command| command == KERNEL) && !arguments.iter().any(ends_it)
}

/// Builds what `study kernel` needs, and returns the arguments that name it.
fn for_the_kernel() -> Result<Vec<String>> {
    setup::ensure(&[Need::Core, Need::Qemu, Need::Plugins])?;
    let kernel = build::kernel(&BuildOptions::default(), Contents::WithLab)?;
    let plugin = count::plugin::build()?;
    let qemu = ThisHost.program(setup::QEMU).with_context(|| format!("{} is not found", setup::QEMU))?;
    let word = |path: PathBuf| path.display().to_string();
    Ok(vec!["--kernel".into(), word(kernel), "--plugin".into(), word(plugin), "--qemu".into(), word(qemu)])
}

#[cfg(test)]
mod tests;
