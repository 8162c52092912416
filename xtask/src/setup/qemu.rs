//! Which QEMU is there, what its version can test, and whether a newer one can be had.
//!
//! QEMU 9 and later emulate x2APIC, which machines of more than 255 CPUs need. Debian 12 has 7.2 itself and a newer
//! one in its backports, which is taken only where apt may be asked and the QEMU in use is the distribution's: another
//! one that comes first in `PATH` is a person's choice.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::paths;

/// The emulator's program.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
/// Where the distribution's package puts it.
const DISTRIBUTIONS: &str = "/usr/bin/qemu-system-x86_64";
/// The first major version that tests everything.
const COMPLETE_MAJOR: u32 = 9;
/// The release whose own QEMU is older and whose backports have a newer one.
const RELEASE: &str = "bookworm";

/// A version of QEMU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    /// Returns the version of the QEMU on `host`, or `None` where there is none.
    pub(crate) fn of(host: &dyn Host) -> Option<Self> {
        Self::parse(&host.output(&host.program(PROGRAM)?, &["--version"])?)
    }

    /// Parses `QEMU emulator version 7.2.22 (...)`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_once("version ")?.1.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }

    /// Tells whether every test can be run with it.
    pub(crate) fn is_complete(self) -> bool {
        self.major >= COMPLETE_MAJOR
    }

    /// Names the features that this version cannot test, for people; `None` where it tests everything.
    pub(crate) fn lacks(self) -> Option<&'static str> {
        (!self.is_complete()).then_some("cannot test x2APIC, nor more than 255 CPUs: that needs QEMU 9")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Tells whether a newer QEMU than the one on `host`, or than the distribution's where there is none, is to be asked of
/// the backports.
pub(super) fn wants_backport(host: &dyn Host) -> bool {
    let replaceable = match host.program(PROGRAM) {
        None => true,
        Some(path) => {
            path == Path::new(DISTRIBUTIONS)
                && Version::of(host).is_some_and(|version| !version.is_complete())
        }
    };
    replaceable
        && host.is_root()
        && host.program("apt-get").is_some()
        && host.codename().as_deref() == Some(RELEASE)
        && !host.exists(&refusal())
}

/// Returns the file that says that the backports were asked in vain: they are not asked again while it is there,
/// because each attempt takes as long as the network lets it.
pub(super) fn refusal() -> PathBuf {
    paths::target().join("no-newer-qemu")
}

#[cfg(test)]
mod tests;
