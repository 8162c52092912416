//! The core that a study runs on, and the memory beside it.
//!
//! Memory comes from the node of the core that first touches it. So the thread that builds direct maps stays on the core
//! on which they are measured, and huge pages are reserved on its node: otherwise one arm's memory could lie farther away
//! than another's, and the distance would look like an effect of pages.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The calling thread's stay on one core. Threads that it starts meanwhile stay there, too.
#[derive(Debug)]
pub(crate) struct Core {
    before: Option<CpuSet>,
    node: Option<u32>,
}

impl Core {
    /// Binds the calling thread to the last core that it may use: the first ones see to most interrupts. Where the system
    /// refuses, the thread runs anywhere.
    pub(crate) fn stay() -> Self {
        let unbound = Self { before: None, node: None };
        let Ok(before) = sched_getaffinity(None) else { return unbound };
        let Some(core) = (0..CpuSet::MAX_CPU).rev().find(|core| before.is_set(*core)) else { return unbound };
        let mut only = CpuSet::new();
        only.set(core);
        if sched_setaffinity(None, &only).is_err() {
            return unbound;
        }
        Self { before: Some(before), node: node_of(Path::new("/sys/devices/system/cpu"), core) }
    }

    /// Returns the folder of the counts of huge pages on the core's node; of the whole machine where it has one node.
    pub(crate) fn huge_pages(&self) -> PathBuf {
        let node =
            self.node.map(|node| PathBuf::from(format!("/sys/devices/system/node/node{node}/hugepages")));
        node.filter(|folder| folder.is_dir()).unwrap_or_else(|| PathBuf::from("/sys/kernel/mm/hugepages"))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The set was the thread's own. If the system has taken cores away since, the thread stays where it is.
            let _ = sched_setaffinity(None, before);
        }
    }
}

/// Returns the node of a core, by the link to it in the core's folder; `None` where there is none.
fn node_of(cores: &Path, core: usize) -> Option<u32> {
    let entries = fs::read_dir(cores.join(format!("cpu{core}"))).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

#[cfg(test)]
mod tests;
