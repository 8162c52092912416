//! How a change is undone, and the line that says so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How a change is undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Undo {
    /// Lower the number in a file by at most `by`, and not below `to`.
    Lower { path: PathBuf, to: u64, by: u64 },
    /// Write a value to a file.
    Write { path: PathBuf, value: String },
    /// Remove a file or folder.
    Remove { path: PathBuf },
    /// End a process group whose leader began at this time, in the system's ticks.
    Kill { group: u32, began: u64 },
    /// Nothing.
    Nothing,
}

impl Undo {
    /// Returns how a process group is ended that is there now.
    pub(super) fn kill(group: u32) -> io::Result<Self> {
        Ok(Self::Kill { group, began: began(group)? })
    }

    /// Returns the line of this order.
    pub(super) fn line(&self, id: u64) -> io::Result<String> {
        let line = match self {
            Self::Lower { path, to, by } => format!("lower {id} {to} {by} {}", text(path)?),
            Self::Write { path, value } => format!("write {id} {value}\t{}", text(path)?),
            Self::Remove { path } => format!("remove {id} {}", text(path)?),
            Self::Kill { group, began } => format!("kill {id} {group} {began}"),
            Self::Nothing => format!("done {id}"),
        };
        if line.contains('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a line break in a path or a value"));
        }
        Ok(line + "\n")
    }

    /// Reads a line; `None` of one that is not whole.
    pub(super) fn parse(line: &str) -> Option<(u64, Self)> {
        let (word, rest) = line.split_once(' ')?;
        let (id, rest) = rest.split_once(' ')?;
        let undo = match word {
            "lower" => {
                let mut parts = rest.splitn(3, ' ');
                let (to, by) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
                Self::Lower { path: parts.next()?.into(), to, by }
            }
            "write" => {
                let (value, path) = rest.split_once('\t')?;
                Self::Write { path: path.into(), value: value.into() }
            }
            "remove" => Self::Remove { path: rest.into() },
            "kill" => {
                let (group, began) = rest.split_once(' ')?;
                Self::Kill { group: group.parse().ok()?, began: began.parse().ok()? }
            }
            _ => return None,
        };
        Some((id.parse().ok()?, undo))
    }

    /// Undoes the change. A second time, it finds nothing to do.
    pub(super) fn run(&self) -> io::Result<()> {
        match self {
            Self::Lower { path, to, by } => {
                let now = number(path)?;
                // Others may have raised or lowered the number meanwhile: theirs stays.
                let lowered = now.saturating_sub(*by).max(*to);
                if lowered < now { fs::write(path, lowered.to_string()) } else { Ok(()) }
            }
            Self::Write { path, value } => fs::write(path, value),
            Self::Remove { path } => {
                let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                removed.or_else(
                    |error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) },
                )
            }
            Self::Kill { group, began: then } => {
                // The number may be another process's by now; its time of birth tells.
                if began(*group).is_ok_and(|now| now == *then) { end_group(*group) } else { Ok(()) }
            }
            Self::Nothing => Ok(()),
        }
    }
}

/// Sends SIGKILL to a process group.
fn end_group(group: u32) -> io::Result<()> {
    let leader = i32::try_from(group).ok().and_then(rustix::process::Pid::from_raw);
    let leader = leader.ok_or(io::ErrorKind::InvalidInput)?;
    match rustix::process::kill_process_group(leader, rustix::process::Signal::KILL) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the number in a file.
pub(super) fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{}: no number", path.display())))
}

/// Returns the value that brings a setting back: the word in brackets, where the file lists all that there are.
pub(super) fn setting(content: &str) -> &str {
    content.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(content, |(word, _)| word)
}

/// Returns when a process began, in ticks since boot: field 22 of its `stat`, counted behind the name in brackets.
fn began(process: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let field = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    field.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path that is no UTF-8"))
}
