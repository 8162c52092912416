//! The compiler that builds the kernel.
//!
//! The kernel's target has no SSE and no red zone, so it needs a `core` of its own, and stable toolchains come
//! without. Two ways to one:
//! - rustup's prebuilt one, where the target is installed: plain cargo;
//! - Debian's toolchain with the library's source: cargo builds `core` along with the kernel. That option of cargo is
//!   not stable, so it must be told that this is known (`RUSTC_BOOTSTRAP`); our own code uses nothing unstable.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::host::{Host, foreign};

/// The kernel's target.
pub(crate) const TARGET: &str = "x86_64-unknown-none";
/// Where distributions install their Rust.
const SYSTEM_CARGO: &str = "/usr/bin/cargo";
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
/// The oldest minor version of Rust 1 that builds the workspace.
const MIN_MINOR: u32 = 95;

/// A toolchain that can build the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Toolchain {
    /// The toolchain that runs us has the target.
    Installed,
    /// The distribution's, which builds `core` from source.
    BuildStd {
        /// The linker, where the toolchain has none of its own.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Returns the best one on `host`.
    pub(crate) fn find(host: &dyn Host) -> Option<Self> {
        let rustc = env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
        if has_target(host, &rustc) {
            return Some(Self::Installed);
        }
        linker(host).filter(|_| builds_library(host)).map(|linker| Self::BuildStd { linker })
    }

    /// Returns the start of a cargo command that builds for the kernel's target.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Installed => Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Self::BuildStd { .. } => system_cargo(),
        };
        command.args([subcommand, "--target", TARGET]);
        if let Self::BuildStd { .. } = self {
            command.arg("-Zbuild-std=core,alloc,compiler_builtins");
            command.arg("-Zbuild-std-features=compiler-builtins-mem");
        }
        command
    }

    /// Returns the linker that rustc must be told of.
    pub(crate) fn linker(&self) -> Option<&Path> {
        match self {
            Self::Installed => None,
            Self::BuildStd { linker } => Some(linker),
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => write!(f, "rustup's target {TARGET}"),
            Self::BuildStd { linker } => {
                write!(f, "built from source by {SYSTEM_CARGO}, linked by {}", linker.display())
            }
        }
    }
}

/// Returns the distribution's cargo with its compiler, which is told that unstable options are known to be such.
pub(crate) fn system_cargo() -> Command {
    let mut command = foreign(Path::new(SYSTEM_CARGO));
    command.env("RUSTC", SYSTEM_RUSTC).env("RUSTC_BOOTSTRAP", "1");
    command
}

/// Tells whether the distribution's toolchain is recent enough and has the library's source to build from.
pub(super) fn builds_library(host: &dyn Host) -> bool {
    let system = Path::new(SYSTEM_RUSTC);
    let recent = host.output(system, &["--version"]).as_deref().and_then(minor_version) >= Some(MIN_MINOR);
    let source = |sysroot: PathBuf| sysroot.join("lib/rustlib/src/rust/library/Cargo.lock");
    host.exists(Path::new(SYSTEM_CARGO))
        && recent
        && sysroot(host, system).is_some_and(|sysroot| host.exists(&source(sysroot)))
}

/// Tells whether `rustc` has a prebuilt `core` for the kernel.
fn has_target(host: &dyn Host, rustc: &Path) -> bool {
    sysroot(host, rustc)
        .is_some_and(|sysroot| host.exists(&sysroot.join("lib/rustlib").join(TARGET).join("lib")))
}

fn sysroot(host: &dyn Host, rustc: &Path) -> Option<PathBuf> {
    host.output(rustc, &["--print", "sysroot"]).map(|text| PathBuf::from(text.trim()))
}

/// LLVM's linker: under its own name or with a version, the newest first.
fn linker(host: &dyn Host) -> Option<PathBuf> {
    let versioned = (14..=40).rev().map(|version| format!("ld.lld-{version}"));
    ["rust-lld".into(), "ld.lld".into()].into_iter().chain(versioned).find_map(|name| host.program(&name))
}

/// Returns `95` of `rustc 1.95.0 (...)`.
fn minor_version(text: &str) -> Option<u32> {
    text.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// Asks rustup for the target.
pub(super) fn add_target() -> Result<()> {
    let output = Command::new("rustup").args(["target", "add", TARGET]).stdin(Stdio::null()).output();
    let output = output.context("rustup does not start")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "rustup could not add the target:\n{}", text.trim_end());
    Ok(())
}
