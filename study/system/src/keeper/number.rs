//! A number in a file that studies raise and lower together: one at a time, so that each knows what it added.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a study waits for another one. The system may take seconds to gather large pages.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a study that waits looks again.
const PAUSE: Duration = Duration::from_millis(2);

/// The number in a file, locked against other studies until it is dropped. Programs that know nothing of the lock, such
/// as an administrator's shell, may still change the number.
#[derive(Debug)]
pub(super) struct Number<'a> {
    path: &'a Path,
    _lock: File,
}

impl<'a> Number<'a> {
    /// Locks the number.
    ///
    /// # Errors
    /// The system's, or that others hold the lock for longer than ten seconds.
    pub(super) fn lock(path: &'a Path) -> io::Result<Self> {
        Self::lock_within(path, PATIENCE)
    }

    pub(super) fn lock_within(path: &'a Path, patience: Duration) -> io::Result<Self> {
        let file = File::open(path)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: file }),
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let words = format!("{}: another program keeps it locked", path.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, words));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Returns the number.
    ///
    /// # Errors
    /// The system's, or a file without a number.
    pub(super) fn get(&self) -> io::Result<u64> {
        number(self.path)
    }

    /// Writes the number.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn set(&self, number: u64) -> io::Result<()> {
        fs::write(self.path, number.to_string())
    }
}

/// Lowers the number in a file by `by`, but not below `floor`. A lock that others keep does not stop it: pages that
/// stay reserved are worse than a race with a program that keeps a lock for so long.
///
/// # Errors
/// The system's, or a file without a number.
pub(super) fn lower(path: &Path, floor: u64, by: u64) -> io::Result<()> {
    let lock = match Number::lock(path) {
        Err(error) if error.kind() != io::ErrorKind::TimedOut => return Err(error),
        lock => lock.ok(),
    };
    let now = number(path)?;
    let lowered = now.saturating_sub(by).max(floor);
    let result = if lowered < now { fs::write(path, lowered.to_string()) } else { Ok(()) };
    drop(lock);
    result
}

/// Returns the number in a file.
pub(super) fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{}: no number", path.display())))
}
