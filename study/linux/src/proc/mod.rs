//! Texts of `/proc` and `/sys`, parsed.
//!
//! Each parser takes a text, so that texts of other kernels can be given to it. A field that a kernel lacks is `None`,
//! never zero.
//!
//! | module | owns |
//! |---|---|
//! | [`counters`] | `meminfo`, `vmstat`: the direct map by page size, its splits and merges |
//! | [`process`] | `PID/status`, `PID/stat`, `PID/cgroup`: a process by name, user, name space, container |
//! | [`mappings`] | `PID/maps`, `PID/smaps`: files of secret memory in address spaces |
//! | [`kernel`] | `modules`, `vmallocinfo`, `PID/fdinfo`: modules and BPF programs |
//! | [`tables`] | `debug/page_tables`: the kernel's own listing of its map |
//!
//! The crate `procfs` reads the same files. It is not used here, because a scan of all processes must neither parse what
//! it does not need nor fail where a field is missing.

pub mod counters;
pub mod kernel;
pub mod mappings;
pub mod process;
pub mod tables;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that is read of one file, in bytes.
const AT_MOST: u64 = 64 << 20;

/// The places where a system shows itself.
#[derive(Clone, Debug)]
pub struct Root {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/etc/passwd`.
    pub passwd: PathBuf,
}

impl Root {
    /// Returns the places of this system.
    pub fn system() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), passwd: "/etc/passwd".into() }
    }

    /// Reads a file of `/proc`.
    ///
    /// # Errors
    /// The system's.
    pub fn proc(&self, name: &str) -> io::Result<String> {
        read(&self.proc.join(name))
    }

    /// Reads a file of `/sys`.
    ///
    /// # Errors
    /// The system's.
    pub fn sys(&self, name: &str) -> io::Result<String> {
        read(&self.sys.join(name))
    }
}

/// Adds sizes up, no further than the largest number. A process may give a file of its own any size without having that
/// memory, and a few such files must not make a sum that begins anew at zero.
pub fn total(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, u64::saturating_add)
}

/// Reads a file as text, up to 64 MiB of it. Bytes that are no text are replaced.
///
/// # Errors
/// The system's.
pub fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(AT_MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
