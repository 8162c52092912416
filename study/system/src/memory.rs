//! The memory that a study may take: less than what the kernel calls available, and less than the rest of the limits of
//! the control groups that the study runs in.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use procfs::{Current, Meminfo};

#[cfg(test)]
mod tests;

/// Returns how many bytes could be had now without pushing others out; `None` where the system does not say.
///
/// A study takes a share of it: half at most, because others may need memory meanwhile.
pub fn available_bytes() -> Option<u64> {
    let free = Meminfo::current().ok()?.mem_available?;
    let groups = Process::myself().and_then(|process| process.cgroups());
    let limits = groups.iter().flat_map(|groups| &groups.0).filter_map(|group| {
        let controllers = &group.controllers;
        if group.hierarchy == 0 {
            Group::UNIFIED.left(Path::new("/sys/fs/cgroup"), &group.pathname)
        } else if controllers.iter().any(|controller| controller == "memory") {
            Group::LEGACY.left(Path::new("/sys/fs/cgroup/memory"), &group.pathname)
        } else {
            None
        }
    });
    limits.chain([free]).min()
}

/// The names of a control group's files.
struct Group {
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat` that counts pages of files that the kernel drops first.
    droppable: &'static str,
}

impl Group {
    /// Of version 2.
    const UNIFIED: Self = Self { limit: "memory.max", usage: "memory.current", droppable: "inactive_file" };

    /// Of version 1.
    const LEGACY: Self = Self {
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        droppable: "total_inactive_file",
    };

    /// Returns the bytes that are left in the group and in all groups above it; `None` where none has a limit. In a
    /// container, the path may begin above `root`: the folders that are missing are passed over.
    fn left(&self, root: &Path, path: &str) -> Option<u64> {
        let folder = root.join(path.trim_start_matches('/'));
        let above = folder.ancestors().take_while(|folder| folder.starts_with(root));
        above.filter_map(|folder| self.left_in(folder.to_path_buf())).min()
    }

    fn left_in(&self, folder: PathBuf) -> Option<u64> {
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        // "max" is no number, and means that there is no limit.
        let (limit, used) = (number(self.limit)?, number(self.usage)?);
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let droppable =
            stat.lines().find_map(|line| line.strip_prefix(self.droppable)?.trim().parse::<u64>().ok());
        Some(limit.saturating_sub(used.saturating_sub(droppable.unwrap_or(0))))
    }
}
