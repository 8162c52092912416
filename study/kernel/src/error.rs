//! The errors of a study of the kernel. Parts that are merely missing are omissions, and no errors.

use std::path::PathBuf;

use rhumb_study_report::Omission;
use rhumb_tlb_model::WrongGeometry;

/// Why a study of the kernel could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No kernel was named.
    #[error(
        "no kernel is named; `cargo xtask study kernel` in Rhumb's tree builds it and names it, or give --kernel FILE \
         with the file that `cargo xtask build --lab` prints"
    )]
    NoKernel,
    /// A file that was named is not there.
    #[error("{0} is not there; `cargo xtask study kernel` in Rhumb's tree builds all that is needed")]
    NoFile(PathBuf),
    /// There is no QEMU.
    #[error(
        "qemu-system-x86_64 is not found; Debian has it in the package qemu-system-x86, or give --qemu PATH"
    )]
    NoQemu,
    /// No geometry has this name.
    #[error("there is no geometry called '{name}'; there are {known}")]
    NoGeometry {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// This machine's geometry was named, and is not known.
    #[error("this-machine cannot be modelled: {0}; choose a published CPU")]
    NotHere(Unknown),
    /// A geometry is none.
    #[error(transparent)]
    Geometry(#[from] WrongGeometry),
    /// The folder for files that go away again cannot be made or written.
    #[error("the folder for results cannot be written: {0}")]
    Folder(#[from] std::io::Error),
    /// Not one machine ran to its end.
    #[error("no machine ran to its end: {0}")]
    Nothing(String),
}

/// Why the translation caches of a machine's own CPU are not modelled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unknown {
    /// Nothing is described.
    #[error("the CPU, or the hypervisor under it, does not describe its translation caches")]
    Silent,
    /// Each size of page is described by itself, as AMD does. Modelled so, a cache that all sizes share would be there
    /// three times.
    #[error(
        "the CPU tells how many entries each size of page has, but not which sizes share their entries, as all of AMD's do"
    )]
    BySize,
    /// The description makes no caches.
    #[error("the CPU, or the hypervisor under it, describes translation caches that cannot be: {0}")]
    Wrong(#[from] WrongGeometry),
}

impl Unknown {
    /// Returns what a study says of it.
    pub(crate) fn omission(&self) -> Omission {
        let why = self.to_string();
        let remedy = match self {
            Self::Silent | Self::Wrong(_) => {
                "Run the study on the machine itself, or choose a published CPU with --geometry."
            }
            Self::BySize => "Read the figures of the published CPU that is nearest, such as zen3 or zen4.",
        };
        Omission {
            part: "a model of this machine's own CPU".to_owned(),
            why: format!("{}{}.", why[..1].to_uppercase(), &why[1..]),
            remedy: remedy.to_owned(),
        }
    }
}
