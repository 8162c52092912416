//! The known ways in which speculation leaks, by name.

use core::fmt;

/// A way in which a program may learn what it must not, by what a CPU does ahead of its turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Problem {
    /// A program reads memory of the kernel past the check of its privilege (CVE-2017-5754).
    Meltdown,
    /// The kernel runs past a check of a number that a program gave (CVE-2017-5753), or past its `swapgs`
    /// (CVE-2019-1125).
    SpectreV1,
    /// The kernel's indirect branches go where a program has trained them to (CVE-2017-5715).
    SpectreV2,
    /// They go where the history of a program's branches leads, though the targets are kept apart (CVE-2022-0001).
    Bhi,
    /// The kernel's returns go where a program has trained its branches (CVE-2022-29900, -29901).
    Retbleed,
    /// They go where a program has trained them by branches that are none (CVE-2023-20569).
    Srso,
    /// An absent entry of a page table is read as if it named memory (CVE-2018-3620).
    L1tf,
    /// Loads that fault see stale data of buffers inside of the CPU (CVE-2018-12126, -12127, -12130, 2019-11091).
    Mds,
    /// The same by a transaction that aborts (CVE-2019-11135).
    Taa,
    /// The same of data that went to or came from devices (CVE-2022-21123, -21125, -21166).
    MmioStaleData,
    /// The same of registers, on small cores (CVE-2023-28746).
    Rfds,
}

impl Problem {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Meltdown,
        Self::SpectreV1,
        Self::SpectreV2,
        Self::Bhi,
        Self::Retbleed,
        Self::Srso,
        Self::L1tf,
        Self::Mds,
        Self::Taa,
        Self::MmioStaleData,
        Self::Rfds,
    ];

    /// Returns its place in [`Problem::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns its name, as Linux has it in `/sys/devices/system/cpu/vulnerabilities` where it has one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meltdown => "meltdown",
            Self::SpectreV1 => "spectre_v1",
            Self::SpectreV2 => "spectre_v2",
            Self::Bhi => "bhi",
            Self::Retbleed => "retbleed",
            Self::Srso => "srso",
            Self::L1tf => "l1tf",
            Self::Mds => "mds",
            Self::Taa => "tsx_async_abort",
            Self::MmioStaleData => "mmio_stale_data",
            Self::Rfds => "reg_file_data_sampling",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
