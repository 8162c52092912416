//! Reasons for which a study ends without a result.

use std::io;

/// A reason for which a study ends without a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the study cannot do without is not readable.
    #[error("{path} is not readable ({source}): mount /proc, or run outside of the container that hides it")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The study's output cannot be written.
    #[error("{path} cannot be written ({source}): free space there, or name another place")]
    Unwritable {
        /// The file, or "standard output".
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// An option has a value that means nothing.
    #[error("{0}")]
    Option(String),
    /// A measurement failed in a way that leaves nothing to report.
    #[error("{0}")]
    Measurement(String),
}
