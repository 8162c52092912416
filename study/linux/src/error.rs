//! Reasons for which a study ends without a result.

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;

/// A reason for which a study ends without a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the study cannot do without is not readable.
    #[error("{path} is not readable ({why}): mount /proc, or run outside of the container that hides it")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        why: io::Error,
    },
    /// The study's output cannot be written.
    #[error("{path} cannot be written: {why}{}", remedy(.why))]
    Unwritable {
        /// The file, or "standard output".
        path: String,
        /// The system's reason.
        why: io::Error,
    },
    /// A measurement failed in a way that leaves nothing to report.
    #[error("{0}")]
    Measurement(String),
}

impl Error {
    /// Makes an error of the system's refusal to write.
    pub(crate) fn unwritable(path: impl Display, why: io::Error) -> Self {
        Self::Unwritable { path: path.to_string(), why: without_path(why) }
    }
}

/// Returns an error without the name of a temporary file, which says nothing to the user. A reason that has words of its own
/// is of no kind of the system's, and stays.
fn without_path(why: io::Error) -> io::Error {
    match why.kind() {
        io::ErrorKind::Other => why,
        kind if why.get_ref().is_some() => kind.into(),
        _ => why,
    }
}

/// Returns what helps against a refusal to write, after its text.
fn remedy(why: &io::Error) -> &'static str {
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free space there, or name another place"
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ": make its folder first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ": name a place where this user may write"
        }
        _ => "",
    }
}
