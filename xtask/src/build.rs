//! The kernel's ELF file: compiled and linked by cargo, completed with its symbol table.

use std::io::{BufRead, BufReader, IsTerminal, stderr};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::cli::{BuildCommand, BuildOptions, Contents};
use crate::host::ThisHost;
use crate::progress::{self, Progress};
use crate::setup::{self, Need, TARGET, Toolchain};
use crate::{kasan, paths, symbols};

/// How the kernel's code is made: at fixed addresses in the top 2 GiB, with frame pointers for backtraces. Link
/// arguments are in `kernel/build.rs`, beside the linker script.
pub(crate) const RUST_FLAGS: [&str; 3] =
    ["-Crelocation-model=static", "-Ccode-model=kernel", "-Cforce-frame-pointers=yes"];

/// Runs `cargo xtask build`.
pub(crate) fn command(options: &BuildCommand) -> Result<ExitCode> {
    println!("{}", paths::shown(&kernel(&options.build, options.contents())?));
    Ok(ExitCode::SUCCESS)
}

/// Builds the kernel, installing the tools that this takes, and returns its path.
///
/// # Errors
/// Something cannot be installed, or the kernel does not compile: the compiler's messages have been printed.
pub(crate) fn kernel(options: &BuildOptions, contents: Contents) -> Result<PathBuf> {
    setup::ensure(&[Need::Core])?;
    let toolchain = Toolchain::find(&ThisHost).context("the toolchain that was just found is gone")?;
    let profile = if options.dev { "kernel-dev" } else { "kernel" };
    let target = if options.kasan { paths::kasan_target() } else { paths::kernel_target() };
    let has = [("kasan", options.kasan), ("lab", contents == Contents::WithLab)];
    let more: Vec<&str> = has.into_iter().filter_map(|(word, is_in)| is_in.then_some(word)).collect();
    let complete = paths::kernel_elf(&more);

    let mut cargo = toolchain.cargo("build");
    cargo.args(["--package", "rhumb-kernel", "--profile", profile, "--target-dir"]).arg(&target);
    let mut flags = flags(&toolchain);
    if options.kasan {
        kasan::instrument(&mut cargo, &mut flags, &toolchain, profile)?;
    }
    if options.irqsoff {
        cargo.args(["--features", "irqsoff"]);
    }
    if contents == Contents::WithLab {
        cargo.args(["--features", "lab"]);
    }
    // The form that keeps words with spaces whole.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if !watch(cargo, BUILDING)? {
        bail!("the kernel does not build");
    }

    let linked = target.join(TARGET).join(profile).join("rhumb");
    symbols::complete(&linked, &complete)?;
    Ok(complete)
}

/// Returns the compiler's flags for every crate.
fn flags(toolchain: &Toolchain) -> Vec<String> {
    let mut flags: Vec<String> = RUST_FLAGS.map(String::from).into();
    flags.extend(toolchain.linker().map(|linker| format!("-Clinker={}", linker.display())));
    flags
}

/// The notice of a build that takes time.
pub(crate) const BUILDING: &str = "Building the kernel (the first time takes about a minute)";

/// Runs cargo: its progress becomes one line that begins with `what`, its diagnostics are shown when it is done.
/// Returns whether it succeeded.
pub(crate) fn watch(mut cargo: Command, what: &str) -> Result<bool> {
    if stderr().is_terminal() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    cargo.env("CARGO_TERM_PROGRESS_WHEN", "never").current_dir(paths::root());
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cargo does not start")?;
    let output = child.stderr.take().context("cargo's output is lost")?;

    let mut progress = Progress::new(what);
    let mut diagnostics = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.context("cargo's output cannot be read")?;
        match status(&line) {
            Some(Status::Working(detail)) => progress.update(&detail),
            Some(Status::Idle) => {}
            None => diagnostics.push(line),
        }
    }
    let success = child.wait().context("cargo's end cannot be awaited")?.success();
    drop(progress);
    diagnostics.iter().for_each(|line| tell!("{line}"));
    Ok(success)
}

/// The progress that a line of cargo's tells.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// Something takes time.
    Working(String),
    /// Nothing to tell.
    Idle,
}

impl Status {
    /// Returns the part that takes time, if one does.
    pub(crate) fn working(&self) -> Option<&str> {
        match self {
            Self::Working(detail) => Some(detail),
            Self::Idle => None,
        }
    }
}

/// Returns the status in a line such as `   Compiling core v0.0.0 (...)`; `None` in anything else.
pub(crate) fn status(line: &str) -> Option<Status> {
    let plain = progress::plain(line);
    let (verb, rest) = plain.trim_start().split_once(' ')?;
    match verb {
        "Compiling" | "Downloading" | "Downloaded" | "Blocking" | "Updating" | "Locking" | "Adding" => {
            let detail = rest.split(" (").next().unwrap_or(rest);
            Some(Status::Working(format!("{} {detail}", verb.to_lowercase())))
        }
        "Finished" | "Fresh" => Some(Status::Idle),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
