//! Debian's packages: installed quietly, reported in one line, explained in full when it fails.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::Need;
use crate::progress::Progress;

/// Files of recommended packages (desktop audio and the like for QEMU) serve nothing here.
const OPTIONS: [&str; 4] = ["install", "--yes", "--quiet", "--no-install-recommends"];

/// The command that a person types for the same effect.
pub(super) fn command_line(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs `packages`. A new machine has no package lists, and an old one has stale ones: both are cured by one
/// update, which is not made where it is not needed.
pub(super) fn install(need: Need, packages: &[&str]) -> Result<()> {
    eprintln!("Installing {} {}: apt-get install {}", need.name(), need.purpose(), packages.join(" "));
    let mut progress = Progress::new(format!("installing {}", need.name()));
    progress.update("apt-get install");
    if apt(&[&OPTIONS[..], packages].concat())?.status.success() {
        return Ok(());
    }
    progress.update("apt-get update");
    let update = apt(&["update", "--quiet"])?;
    progress.update("apt-get install");
    let output = apt(&[&OPTIONS[..], packages].concat())?;
    drop(progress);
    if output.status.success() {
        return Ok(());
    }
    let failed = if update.status.success() { &output } else { &update };
    let text = String::from_utf8_lossy(&failed.stderr);
    bail!(
        "apt-get could not install {}:\n{}\ntry: {}",
        packages.join(" "),
        text.trim_end(),
        command_line(packages)
    )
}

fn apt(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command.output().context("apt-get does not start")
}
