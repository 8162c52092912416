//! Getting what a command needs, saying what and why, without being asked.
//!
//! For each [`Need`] there is one answer, decided without side effects by [`decide`]:
//! it is there; it can be had (as root on Debian from apt, QEMU also from the backports, a compiler target from
//! rustup); or a person must type a command, which is printed. Only [`ensure`] acts.

mod apt;
mod need;
mod qemu;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

pub(crate) use self::need::Need;
pub(crate) use self::qemu::{PROGRAM as QEMU, Version};
use self::toolchain::builds_library;
pub(crate) use self::toolchain::{TARGET, Toolchain, system_cargo};
use crate::host::{Host, ThisHost};
use crate::paths;

/// The remedy for a need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It is there; the text says where.
    Present(String),
    /// apt can bring it, and we may ask it to.
    Apt(&'static [&'static str]),
    /// apt can bring a newer one than the release has from the release's backports, or else the release's.
    Backports(&'static [&'static str]),
    /// rustup can bring it.
    Rustup,
    /// Only a person can bring it: this command, or this advice.
    Person(String),
}

/// Returns the remedy for `need` on `host`. Decides only.
pub(crate) fn decide(host: &dyn Host, need: Need) -> Answer {
    if matches!(need, Need::Qemu | Need::Plugins) && qemu::wants_backport(host) {
        return Answer::Backports(need.packages());
    }
    if let Some(place) = find(host, need) {
        return Answer::Present(place);
    }
    if need == Need::Plugins && host.program(QEMU).is_some() {
        // Another QEMU hides the distribution's, or the distribution's has none: installing it again changes nothing.
        return Answer::Person(
            "this QEMU was built without plugins; install or build one that has them (configure --enable-plugins)".into(),
        );
    }
    let packages = need.packages();
    let apt = host.is_debian() && host.program("apt-get").is_some();
    if apt && host.is_root() {
        return Answer::Apt(packages);
    }
    if need == Need::Core && host.program("rustup").is_some() {
        return Answer::Rustup;
    }
    Answer::Person(advice(host, need, apt))
}

/// Returns where `need` is, if it is there.
fn find(host: &dyn Host, need: Need) -> Option<String> {
    let program = |name| host.program(name).map(|path| path.display().to_string());
    match need {
        Need::Core => Toolchain::find(host).map(|toolchain| toolchain.to_string()),
        Need::Qemu => program(QEMU),
        Need::Plugins => {
            let help = host.output(&host.program(QEMU)?, &["-help"])?;
            help.lines().any(|line| line.starts_with("-plugin ")).then(|| program(QEMU))?
        }
        Need::ImageTools => {
            let platforms = ["/usr/lib/grub/i386-pc", "/usr/lib/grub/x86_64-efi"];
            let complete = platforms.iter().all(|place| host.exists(Path::new(place)))
                && ["xorriso", "mformat"].iter().all(|tool| host.program(tool).is_some());
            ["grub-mkrescue", "grub2-mkrescue"].into_iter().find_map(program).filter(|_| complete)
        }
        Need::Ovmf => ovmf(host).map(|(code, _)| code.into()),
        // Under these names the build scripts of the crates look for them.
        Need::NativeCompilers => {
            let complete = ["cc", "c++", "make"].iter().all(|tool| host.program(tool).is_some());
            program("c++").filter(|_| complete)
        }
        Need::ThreadSanitizer => thread_sanitizer(host).map(|runtime| runtime.display().to_string()),
    }
}

/// Returns the command that brings `need` on a machine where we cannot.
fn advice(host: &dyn Host, need: Need, apt: bool) -> String {
    if need == Need::Core && !apt {
        return "install rustup (https://rustup.rs), then: rustup target add x86_64-unknown-none".into();
    }
    if apt {
        return apt::command_line(need.packages());
    }
    let names = match need {
        Need::Core | Need::Qemu | Need::Plugins => {
            ["qemu-system-x86-core", "qemu-system-x86", "qemu-x86", "qemu"]
        }
        Need::ImageTools => [
            "grub2-tools-extra grub2-pc-modules grub2-efi-x64-modules xorriso mtools",
            "grub libisoburn mtools",
            "grub2-i386-pc grub2-x86_64-efi xorriso mtools",
            "i686-elf-grub xorriso mtools",
        ],
        Need::Ovmf => ["edk2-ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "qemu"],
        Need::NativeCompilers => ["gcc gcc-c++ make", "base-devel", "gcc gcc-c++ make", "gcc make"],
        Need::ThreadSanitizer => return format!("use Debian, which has {}", need.packages().join(" ")),
    };
    let managers = [
        ("dnf", "sudo dnf install"),
        ("pacman", "sudo pacman -S"),
        ("zypper", "sudo zypper install"),
        ("brew", "brew install"),
    ];
    let command = managers.iter().zip(names).find(|((manager, _), _)| host.program(manager).is_some());
    match command {
        Some(((_, install), packages)) => format!("{install} {packages}"),
        None => format!("install {} with this system's package manager", need.name()),
    }
}

/// OVMF's code and its variables, as one of the distributions installs them.
pub(crate) fn ovmf(host: &dyn Host) -> Option<(&'static str, &'static str)> {
    const PLACES: [(&str, &str); 4] = [
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ];
    PLACES.into_iter().find(|(code, vars)| host.exists(Path::new(code)) && host.exists(Path::new(vars)))
}

/// ThreadSanitizer's runtime, the newest, where there is a toolchain that rebuilds the standard library for it.
pub(crate) fn thread_sanitizer(host: &dyn Host) -> Option<PathBuf> {
    let place = |version| {
        format!("/usr/lib/llvm-{version}/lib/clang/{version}/lib/linux/libclang_rt.tsan-x86_64.a").into()
    };
    (16..=40).rev().map(place).find(|runtime: &PathBuf| host.exists(runtime)).filter(|_| builds_library(host))
}

/// Makes sure that all of `needs` are met: installs the tools that it may install, and names the others.
///
/// # Errors
/// Something is missing that only a person can install, or an installation failed.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let mut left_to_person = Vec::new();
    for &need in needs {
        match decide(&ThisHost, need) {
            Answer::Present(_) => {}
            Answer::Apt(packages) => install(need, packages)?,
            Answer::Backports(packages) => install_newer(need, packages)?,
            Answer::Rustup => add_target(need)?,
            Answer::Person(command) => {
                left_to_person.push(format!("{} ({}):\n    {command}", need.name(), need.purpose()))
            }
        }
    }
    if !left_to_person.is_empty() {
        bail!("something is missing that you must install:\n  {}", left_to_person.join("\n  "));
    }
    Ok(())
}

/// Brings `need` from apt; where apt has no such packages, from rustup.
fn install(need: Need, packages: &[&str]) -> Result<()> {
    let outcome = apt::install(need, packages);
    if need == Need::Core && outcome.is_err() && ThisHost.program("rustup").is_some() {
        return add_target(need);
    }
    outcome?;
    match find(&ThisHost, need) {
        Some(_) => Ok(()),
        None => bail!("apt installed {}, but {} is still not found", packages.join(" "), need.name()),
    }
}

/// Brings `need` from rustup.
fn add_target(need: Need) -> Result<()> {
    tell!("Installing {} {}: rustup target add {TARGET}", need.name(), need.purpose());
    toolchain::add_target().map_err(|error| {
        let advice = advice(&ThisHost, need, ThisHost.is_debian());
        anyhow!("{error:#}\ntry: {advice}")
    })
}

/// Brings a newer QEMU than the release's. Where none is to be had, the older one does, and this is said once.
fn install_newer(need: Need, packages: &[&str]) -> Result<()> {
    let outcome = apt::install_backport(need, packages);
    if let Err(error) = outcome {
        let refusal = qemu::refusal();
        tell!(
            "The backports have no newer QEMU for now ({error:#}): the release's does; delete {} to ask again.",
            paths::shown(&refusal)
        );
        fs::create_dir_all(paths::target())
            .and_then(|()| fs::write(&refusal, format!("{error:#}\n")))
            .with_context(|| format!("{} cannot be written", refusal.display()))?;
    }
    match decide(&ThisHost, need) {
        Answer::Apt(packages) => install(need, packages),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
