//! The errors of a study of the kernel. Parts that are merely missing are omissions, and no errors.

use std::path::PathBuf;

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
