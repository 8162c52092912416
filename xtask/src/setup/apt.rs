//! Debian's packages: installed quietly, reported in one line, explained in full when it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use super::need::Need;
use crate::host::{Host, ThisHost};
use crate::progress::Progress;

/// Where Debian keeps the keys of its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Files of recommended packages (desktop audio and the like for QEMU) serve nothing here.
const OPTIONS: [&str; 4] = ["install", "--yes", "--quiet", "--no-install-recommends"];

/// Returns the command that a person types for the same effect.
pub(super) fn command_line(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs `packages`. A new machine has no package lists, and an old one has stale ones: both are cured by one
/// update, which is not made where it is not needed.
pub(super) fn install(need: Need, packages: &[&str]) -> Result<()> {
    tell!("Installing {} {}: apt-get install {}", need.name(), need.purpose(), packages.join(" "));
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

/// Installs `packages` from the backports of this release: the suite beside the one that the sources name, of the same
/// archive. Nothing in `/etc` changes: the source list is a file that is gone afterwards.
///
/// # Errors
/// The archive has no such suite, or cannot be reached.
pub(super) fn install_backport(need: Need, packages: &[&str]) -> Result<()> {
    let release = ThisHost.codename().context("the release has no name")?;
    let suite = format!("{release}-backports");
    tell!(
        "Installing a newer {} {}: apt-get install -t {suite} {}",
        need.name(),
        need.purpose(),
        packages.join(" ")
    );
    let mut progress = Progress::new(format!("installing {} from {suite}", need.name()));
    progress.update("apt-get update");
    let list = SourceList::write(&source(&targets()?, &release, &suite)?)?;
    let only = [list.option(), "Dir::Etc::sourceparts=/dev/null".into(), "APT::Get::List-Cleanup=0".into()];
    let update = apt(&with_options(&only, &["update", "--quiet"]))?;
    if !update.status.success() {
        bail!("{}", last_line(&update));
    }
    // The package's other dependencies come from the release, whose lists a new machine does not have.
    let install = [&OPTIONS[..], &["-t", &suite], packages].concat();
    let listed = [list.option()];
    let install = with_options(&listed, &install);
    progress.update("apt-get install");
    if apt(&install)?.status.success() {
        return Ok(());
    }
    progress.update("apt-get update");
    apt(&with_options(&listed, &["update", "--quiet"]))?;
    progress.update("apt-get install");
    let output = apt(&install)?;
    if output.status.success() { Ok(()) } else { bail!("{}", last_line(&output)) }
}

/// Lists the entries of apt's sources, one in each line: archive, release, component.
fn targets() -> Result<String> {
    let output =
        apt(&["indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the source line of `suite` in the archive that has `release`.
fn source(targets: &str, release: &str, suite: &str) -> Result<String> {
    let site = targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (site, name, component) = (words.next()?, words.next()?, words.next()?);
        (name == release && component == "main").then_some(site)
    });
    let site = site.with_context(|| format!("apt's sources name no archive of {release}"))?;
    let keyring = if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
    Ok(format!("deb {keyring}{site} {suite} main"))
}

/// `apt-get`'s arguments with these settings before them.
fn with_options<'a>(options: &'a [String], arguments: &[&'a str]) -> Vec<&'a str> {
    options.iter().flat_map(|option| ["-o", option]).chain(arguments.iter().copied()).collect()
}

/// Returns the last thing that apt complained of.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("apt-get failed").trim().into()
}

/// The machine's own list of sources and one line more, in a file that is gone when this is.
struct SourceList(PathBuf);

impl SourceList {
    fn write(line: &str) -> Result<Self> {
        let own = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
        let file = env::temp_dir().join(format!("rhumb-sources-{}.list", std::process::id()));
        fs::write(&file, format!("{line}\n{own}"))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(Self(file))
    }

    /// Returns the setting that has apt read it.
    fn option(&self) -> String {
        format!("Dir::Etc::sourcelist={}", self.0.display())
    }
}

impl Drop for SourceList {
    fn drop(&mut self) {
        // A small file too many in the folder for such files is no reason to fail.
        let _ = fs::remove_file(&self.0);
    }
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

#[cfg(test)]
mod tests;
