//! The machine by the words of Linux: files of `/proc` and `/sys`, each of which may be missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Words of the kernel's command line that change the direct map or what it costs.
const WORDS: [&str; 14] = [
    "nopti",
    "pti",
    "mitigations",
    "nogbpages",
    "gbpages",
    "debug_pagealloc",
    "rodata",
    "secretmem.enable",
    "kfence",
    "page_table_check",
    "hugetlb_free_vmemmap",
    "transparent_hugepage",
    "nokaslr",
    "lockdown",
];

/// The settings of a machine by the name that the report shows, and their files.
const SETTINGS: [(&str, &str); 7] = [
    ("transparent huge pages", "sys/kernel/mm/transparent_hugepage/enabled"),
    ("defragmentation for huge pages", "sys/kernel/mm/transparent_hugepage/defrag"),
    ("huge pages of 2 MiB", "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
    ("huge pages of 1 GiB", "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"),
    ("CPU frequency governor", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    ("simultaneous multithreading", "sys/devices/system/cpu/smt/control"),
    ("CPU clock", "sys/devices/system/clocksource/clocksource0/current_clocksource"),
];

/// The root of a system's files: `/`, or a recorded sample.
#[derive(Debug)]
pub(super) struct Root(PathBuf);

/// Returns the kernel's name and release.
pub(super) fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

impl Root {
    /// Returns the root of this system.
    pub(super) fn system() -> Self {
        Self("/".into())
    }

    #[cfg(test)]
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// Returns how many CPUs are online, from a list such as `0-3,8`.
    pub(super) fn online_cpus(&self) -> Option<u32> {
        let list = self.read("sys/devices/system/cpu/online")?;
        list.split(',')
            .map(|part| {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                Some(last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)? + 1)
            })
            .sum()
    }

    /// Returns how many memory nodes there are; 1 where the kernel knows of none.
    pub(super) fn nodes(&self) -> u32 {
        let Ok(entries) = fs::read_dir(self.0.join("sys/devices/system/node")) else { return 1 };
        let is_node = |name: &str| name.strip_prefix("node").is_some_and(|rest| rest.parse::<u32>().is_ok());
        let nodes = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_node));
        (nodes.count() as u32).max(1)
    }

    /// Returns all memory that the kernel has.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        let text = self.read("proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    }

    /// Returns the mitigations by vulnerability.
    pub(super) fn mitigations(&self) -> BTreeMap<String, String> {
        let folder = "sys/devices/system/cpu/vulnerabilities";
        let Ok(entries) = fs::read_dir(self.0.join(folder)) else { return BTreeMap::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Some((name.clone(), self.read(Path::new(folder).join(name))?))).collect()
    }

    /// Returns the settings that matter.
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let mut settings: BTreeMap<String, String> =
            SETTINGS.iter().filter_map(|(name, path)| Some(((*name).to_owned(), self.read(path)?))).collect();
        let words = self.read("proc/cmdline").unwrap_or_default();
        let ours = |word: &&str| WORDS.contains(&word.split('=').next().unwrap_or(word));
        let words: Vec<&str> = words.split_whitespace().filter(ours).collect();
        if !words.is_empty() {
            settings.insert("kernel command line".to_owned(), words.join(" "));
        }
        settings
    }

    /// Returns the load averages.
    pub(super) fn load(&self) -> Option<[f64; 3]> {
        let text = self.read("proc/loadavg")?;
        let mut words = text.split_whitespace().map(|word| word.parse().ok());
        Some([words.next()??, words.next()??, words.next()??])
    }
}

#[cfg(test)]
mod tests;
