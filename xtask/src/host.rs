//! The programs, files, packages and rights of this machine. The only module that looks.
//!
//! Everything goes through the trait, so that the decisions of [`crate::setup`] are tested against machines that are
//! not there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine that Rhumb is to be built on.
pub(crate) trait Host {
    /// Returns the program's path, where it is in the search path.
    fn program(&self, name: &str) -> Option<PathBuf>;
    /// Tells whether this file or directory exists.
    fn exists(&self, path: &Path) -> bool;
    /// Tells whether packages can be installed without asking for a password.
    fn is_root(&self) -> bool;
    /// Tells whether this is Debian or made of it.
    fn is_debian(&self) -> bool;
    /// Returns the release's name, as `bookworm`.
    fn codename(&self) -> Option<String>;
    /// Returns the standard output of a program, where it succeeds.
    fn output(&self, program: &Path, arguments: &[&str]) -> Option<String>;
}

/// The machine that this runs on.
pub(crate) struct ThisHost;

impl Host for ThisHost {
    fn program(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&env::var_os("PATH")?)
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn is_debian(&self) -> bool {
        self.exists(Path::new("/etc/debian_version"))
    }

    fn codename(&self) -> Option<String> {
        let text = fs::read_to_string("/etc/os-release").ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
        Some(name.trim_matches('"').into())
    }

    fn output(&self, program: &Path, arguments: &[&str]) -> Option<String> {
        let output =
            foreign(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Returns a command of another toolchain than the one that runs us: `cargo run` leaves its own choices in the
/// environment, and they would mislead it.
pub(crate) fn foreign(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in [
        "RUSTUP_TOOLCHAIN",
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(name);
    }
    command
}

/// Returns the memory that a process can still take here; as much as there can be where the system does not say.
pub(crate) fn available_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib << 10)
}
