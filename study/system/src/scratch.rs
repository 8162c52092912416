//! A folder for files that go when the study ends, however it ends.
//!
//! Its name is drawn, and the folder is made by this process or not at all: a folder of a user's that was there before is
//! never taken for the study's own, and never removed.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::{Builder, TempDir};

use crate::keeper::Change;
use crate::session::Session;

#[cfg(test)]
mod tests;

/// A fresh folder in the folder for results. It goes with this value, or by the keeper.
#[derive(Debug)]
pub struct Scratch {
    // The promise ends only after the folder is gone: fields are dropped in this order, and a promise that is dropped
    // removes the folder first.
    _promise: Change,
    folder: TempDir,
}

impl Scratch {
    /// Makes the folder, whose name begins with `prefix`, and the folder for results where that is missing.
    ///
    /// A study that is killed between the making and the promise leaves an empty folder. The other order would promise to
    /// remove a folder that may be another's.
    ///
    /// # Errors
    /// The system's; a path with a line break, or one that is too long for the keeper.
    pub fn new(session: &Session, prefix: &str) -> io::Result<Self> {
        // The keeper has another working directory.
        let out = std::path::absolute(&session.out)?;
        fs::create_dir_all(&out)?;
        let folder = Builder::new().prefix(prefix).tempdir_in(out)?;
        let promise = Change::remove(session.keeper(), folder.path().to_owned())?;
        Ok(Self { _promise: promise, folder })
    }

    /// Returns the folder's absolute path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
