//! How a change is undone, and the line that says so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::number;

/// The longest line, with its end: the most bytes that a pipe takes whole (`PIPE_BUF`), also if the writer ends the
/// moment after.
pub(super) const LONGEST: usize = 4096;

/// How a change is undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Undo {
    /// Lower the number in a file by at most `by`, and not below `floor`.
    Lower { path: PathBuf, floor: u64, by: u64 },
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
            Self::Lower { path, floor, by } => format!("lower {id} {floor} {by} {}", text(path)?),
            Self::Remove { path } => format!("remove {id} {}", text(path)?),
            Self::Kill { group, began } => format!("kill {id} {group} {began}"),
            Self::Nothing => format!("done {id}"),
        };
        if line.contains('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path with a line break"));
        }
        if line.len() >= LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path that is too long"));
        }
        Ok(line + "\n")
    }

    /// Reads a line without its end; `None` of one that is no order.
    pub(super) fn parse(line: &str) -> Option<(u64, Self)> {
        if let Some(id) = line.strip_prefix("done ") {
            return Some((id.parse().ok()?, Self::Nothing));
        }
        let (word, rest) = line.split_once(' ')?;
        let (id, rest) = rest.split_once(' ')?;
        let undo = match word {
            "lower" => {
                let mut parts = rest.splitn(3, ' ');
                let (floor, by) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
                Self::Lower { path: parts.next()?.into(), floor, by }
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
            Self::Lower { path, floor, by } => number::lower(path, *floor, *by),
            Self::Remove { path } => {
                let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                removed.or_else(
                    |error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) },
                )
            }
            Self::Kill { group, began: then } => {
                let is_meant = match began(*group) {
                    // The number may be another process's by now; its time of birth tells.
                    Ok(now) => now == *then,
                    // A leader may end before its children, as one does that dies with the study. While the group has
                    // members, no other process and no other group takes its number.
                    Err(_) => is_of_this_session(*group),
                };
                if is_meant { end_group(*group) } else { Ok(()) }
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

/// Returns when a process began, in ticks since boot: field 22 of its `stat`.
fn began(process: u32) -> io::Result<u64> {
    fields(process)?.get(19).copied().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Tells whether a group has members, and all of them belong to this process's session, as all processes of a study do. A
/// group of another session has taken the number after the study's was empty.
fn is_of_this_session(group: u32) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let members = numbers.filter_map(|process| {
        let fields = fields(process).ok()?;
        (*fields.get(2)? == u64::from(group)).then(|| fields.get(3).copied())
    });
    let sessions: Vec<Option<u64>> = members.collect();
    let own = fields(std::process::id()).ok().and_then(|fields| fields.get(3).copied());
    own.is_some() && !sessions.is_empty() && sessions.iter().all(|session| *session == own)
}

/// Returns the fields of a process's `stat` behind the name in brackets, which are those from the third on: the number of
/// its group is at place 2, that of its session at 3. The third, a letter, and numbers below 0 are 0.
fn fields(process: u32) -> io::Result<Vec<u64>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    Ok(rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path that is no UTF-8"))
}
