//! Everything that can go wrong with a study's files, each in one sentence.

use std::io;
use std::path::{Path, PathBuf};

use crate::schema::{Kind, SCHEMA, VERSION};

/// A file that could not be written or read, or studies that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has no room for the file.
    #[error(
        "the disk of {} is full: free some space, or name another folder with --out; no half file was left",
        .0.display()
    )]
    Full(PathBuf),
    /// The system refused to write the file.
    #[error("cannot write {}: {why}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: io::Error,
    },
    /// The system refused to read the file.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: io::Error,
    },
    /// The path is a pipe, a device or a socket.
    #[error("{} is no regular file: name a study.json, or the folder that holds one", .0.display())]
    Special(PathBuf),
    /// The folder has no study.
    #[error(
        "the folder {} holds no study.json: name a folder that rhumb-study wrote its results into",
        .0.display()
    )]
    Empty(PathBuf),
    /// The file is far too large for a study.
    #[error("{} is larger than {most}, as no study is: name a study.json", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is read.
        most: String,
    },
    /// The file holds something else.
    #[error(
        "{} is no study: it does not say \"schema\": \"{SCHEMA}\" as the study.json of rhumb-study does",
        .0.display()
    )]
    Foreign(PathBuf),
    /// A newer program wrote the file.
    #[error(
        "{} has version {version} of the schema, and this program reads up to {VERSION}: update rhumb-study",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version that it says.
        version: u64,
    },
    /// The file began as a study and does not go on as one.
    #[error("{} is a damaged study: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first fault, with its line.
        why: String,
    },
    /// A chart could not be drawn.
    #[error("cannot draw a chart: {0}")]
    Chart(String),
    /// Fewer than two studies are no comparison.
    #[error("a comparison needs two studies or more, and there is only {0}: name another study.json")]
    TooFew(usize),
    /// The studies have different subjects.
    #[error(
        "cannot compare a study of kind `{first}` ({first_label}) with one of kind `{other}` ({other_label}): \
         compare studies of one kind"
    )]
    Kinds {
        /// The first study's subject.
        first: Kind,
        /// The first study's name.
        first_label: String,
        /// The subject of the first study that differs.
        other: Kind,
        /// That study's name.
        other_label: String,
    },
}

impl Error {
    /// Makes an error of the system's refusal to write `path`.
    pub(crate) fn write(path: &Path, why: io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.to_owned()),
            _ => Self::Write { path: path.to_owned(), why },
        }
    }
}
