//! All processes, searched for holders of secret memory, of BPF programs, and of memory of guests.
//!
//! The search has two passes, each of which ends when the time is up. The first reads the links of all descriptors, and the
//! mappings of processes that have locked memory, because mapped secret memory counts as locked. So what it has seen when
//! the time is up is nearly whole, however many processes there are. The second reads the mappings of all other processes: a
//! child that was forked maps the secret memory of its parent, which does not count as the child's locked memory.
//!
//! A process that ends meanwhile is left out without a word. One that may not be read is counted.

mod found;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{stat, statfs};

use crate::proc::kernel::program;
use crate::proc::mappings::{FileId, has_secret_name, mount, mounts, secret_mappings};
use crate::proc::process::{Status, boot_unix_s, container, start_ticks};
use crate::proc::{Root, read, total};
use crate::secret::Availability;

pub(super) use self::found::{GuestMemory, HeldProgram, Hold, Holder, Process, Scan, SecretFile};

/// The number by which `statfs` names the file system of secret memory.
const SECRETMEM_MAGIC: u64 = 0x5345_434d;

/// The links of guest memory. No file of a path has such a link, so that none is asked that could lie or not answer.
const GUEST_MEMORY: [&str; 2] = ["anon_inode:[kvm-gmem]", "anon_inode:[guest_memfd]"];

/// The link of a BPF program.
const BPF_PROGRAM: &str = "anon_inode:bpf-prog";

/// A search that goes on.
struct Search<'a> {
    root: &'a Root,
    device: Option<u64>,
    mount: Option<u64>,
    is_late: &'a dyn Fn() -> bool,
    boot_unix_s: Option<u64>,
    ticks_a_second: u64,
    unreadable: BTreeSet<u32>,
    scan: Scan,
}

/// Searches all processes, for no longer than `limit`. `secret` tells where files of secret memory are, if that is known.
///
/// # Errors
/// The system's, where `/proc` itself cannot be read.
pub(super) fn scan(root: &Root, secret: &Availability, limit: Duration) -> io::Result<Scan> {
    let began = Instant::now();
    let found = scan_until(root, secret, &|| began.elapsed() >= limit)?;
    Ok(Scan { took: began.elapsed(), ..found })
}

/// Searches all processes, until it is late.
fn scan_until(root: &Root, secret: &Availability, is_late: &dyn Fn() -> bool) -> io::Result<Scan> {
    let mut pids: Vec<u32> = fs::read_dir(&root.proc)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let mut search = Search {
        root,
        device: secret.device(),
        mount: secret.mount(),
        is_late,
        boot_unix_s: root.proc("stat").ok().and_then(|stat| boot_unix_s(&stat)),
        ticks_a_second: rustix::param::clock_ticks_per_second().max(1),
        unreadable: BTreeSet::new(),
        scan: Scan { processes: pids.len() as u32, ..Scan::default() },
    };
    let mut unlocked = Vec::new();
    let mut left = 0;
    for pid in pids {
        if search.is_late() {
            left += 1;
            continue;
        }
        search.descriptors(pid);
        let Some(status) = search.status(pid) else { continue };
        if status.locked_bytes.is_some_and(|bytes| bytes > 0) || search.scan.holders.contains_key(&pid) {
            search.mappings(pid);
        } else {
            unlocked.push(pid);
        }
    }
    for pid in unlocked {
        if search.is_late() {
            left += 1;
            continue;
        }
        search.mappings(pid);
    }
    let mut scan = search.scan;
    scan.left = left;
    scan.unreadable = search.unreadable.len() as u32;
    scan.count_holders();
    Ok(scan)
}

impl Search<'_> {
    fn is_late(&self) -> bool {
        (self.is_late)()
    }

    /// Reads a file of a process. The process may have ended, or may be another user's.
    fn of_process(&mut self, pid: u32, name: &str) -> Option<String> {
        let path = self.root.proc.join(pid.to_string()).join(name);
        read(&path).map_err(|error| self.refused(pid, &error)).ok()
    }

    fn refused(&mut self, pid: u32, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied {
            self.unreadable.insert(pid);
        }
    }

    fn status(&mut self, pid: u32) -> Option<Status> {
        Some(Status::parse(&self.of_process(pid, "status")?))
    }

    /// Describes a process that holds something.
    fn process(&mut self, pid: u32) -> Option<Process> {
        let status = self.status(pid)?;
        let ticks = self.of_process(pid, "stat").and_then(|stat| start_ticks(&stat));
        let since_boot = ticks.map(|ticks| ticks as f64 / self.ticks_a_second as f64);
        Some(Process {
            pid,
            inner_pid: status.inner_pid(),
            uid: status.uid,
            command: status.name,
            container: self.of_process(pid, "cgroup").and_then(|cgroup| container(&cgroup)),
            began_unix_s: since_boot.and_then(|since| Some(self.boot_unix_s? as f64 + since)),
        })
    }

    /// Reads the links of a process's descriptors. A leader that has ended while its threads go on shows none, so a
    /// thread of it is asked.
    fn descriptors(&mut self, pid: u32) {
        let folder = self.root.proc.join(pid.to_string());
        match fs::read_dir(folder.join("fd")) {
            Ok(links) => {
                let found = self.links(pid, &folder, links);
                if !found {
                    self.of_threads(pid, &folder);
                }
            }
            Err(error) => self.refused(pid, &error),
        }
    }

    /// Reads the links of the first thread that has any.
    fn of_threads(&mut self, pid: u32, folder: &Path) {
        let Ok(threads) = fs::read_dir(folder.join("task")) else { return };
        for thread in threads.filter_map(Result::ok) {
            if self.is_late() {
                return;
            }
            let Ok(links) = fs::read_dir(thread.path().join("fd")) else { continue };
            if self.links(pid, &thread.path(), links) {
                return;
            }
        }
    }

    /// Reads links, and tells whether there was one.
    fn links(&mut self, pid: u32, folder: &Path, links: fs::ReadDir) -> bool {
        let mut found = false;
        for (index, link) in links.enumerate() {
            if index % 256 == 255 && self.is_late() {
                break;
            }
            let Ok(link) = link else { break };
            found = true;
            let path = link.path();
            let Ok(target) = fs::read_link(&path) else { continue };
            let Some(target) = target.to_str() else { continue };
            if has_secret_name(target) {
                let info = folder.join("fdinfo").join(link.file_name());
                if self.is_secret(pid, &info, &path) {
                    self.secret_descriptor(pid, &path);
                }
            } else if GUEST_MEMORY.contains(&target) {
                self.guest_descriptor(pid, &path);
            } else if target == BPF_PROGRAM {
                let info = folder.join("fdinfo").join(link.file_name());
                let Some(program) = read(&info).ok().and_then(|text| program(&text)) else { continue };
                let Some(process) = self.process(pid) else { continue };
                let held = self.scan.programs.entry(program.id);
                held.or_insert_with(|| HeldProgram { program, holders: BTreeMap::new() })
                    .holders
                    .insert(pid, process.command);
            }
        }
        found
    }

    /// Tells whether a descriptor whose link has the name of secret memory is of such memory. A file of that name may lie
    /// on any file system, and one that a process serves itself may never answer. So the kernel is asked for the mount
    /// first, which asks no file system.
    fn is_secret(&mut self, pid: u32, info: &Path, path: &Path) -> bool {
        let Some(of_file) = read(info).ok().and_then(|info| mount(&info)) else { return false };
        if let Some(mount) = self.mount {
            return of_file == mount;
        }
        let mounted = self.of_process(pid, "mountinfo").unwrap_or_default();
        !mounts(&mounted).any(|(number, _)| number == of_file)
            && statfs(path).is_ok_and(|system| system.f_type as u64 == SECRETMEM_MAGIC)
    }

    /// Takes a descriptor of secret memory.
    fn secret_descriptor(&mut self, pid: u32, path: &Path) {
        let (id, file) = match stat(path) {
            Ok(stat) => {
                let made = [stat.st_atime, stat.st_mtime, stat.st_ctime].into_iter().min();
                let id = FileId { device: stat.st_dev, inode: stat.st_ino };
                let bytes = stat.st_size.max(0) as u64;
                (id, SecretFile { bytes, made_unix_s: made, ..SecretFile::default() })
            }
            Err(_) => return,
        };
        self.device.get_or_insert(id.device);
        self.scan.files.entry(id).or_insert(file);
        if let Some(hold) = self.hold(pid, id) {
            hold.descriptors += 1;
        }
    }

    fn guest_descriptor(&mut self, pid: u32, path: &Path) {
        let Ok(stat) = stat(path) else { return };
        let id = FileId { device: stat.st_dev, inode: stat.st_ino };
        let bytes = stat.st_size.max(0) as u64;
        match self.scan.guests.last_mut().filter(|guest| guest.process.pid == pid) {
            Some(guest) => drop(guest.files.insert(id, bytes)),
            None => {
                let Some(process) = self.process(pid) else { return };
                self.scan.guests.push(GuestMemory { process, files: BTreeMap::from([(id, bytes)]) });
            }
        }
    }

    /// Returns the record of how a process holds a file; `None` where the process has ended.
    fn hold(&mut self, pid: u32, id: FileId) -> Option<&mut Hold> {
        if !self.scan.holders.contains_key(&pid) {
            let process = self.process(pid)?;
            self.scan.holders.insert(pid, Holder { process, files: BTreeMap::new() });
        }
        Some(self.scan.holders.get_mut(&pid)?.files.entry(id).or_default())
    }

    /// Reads a process's mappings, and the touched bytes of those that are of secret memory.
    fn mappings(&mut self, pid: u32) {
        let Some(maps) = self.of_process(pid, "maps") else { return };
        if secret_mappings(&maps, self.device).is_empty() {
            return;
        }
        // The kernel walks the page tables for `smaps`, so only holders are asked for it.
        let text = self.of_process(pid, "smaps").unwrap_or(maps);
        let mut found = secret_mappings(&text, self.device);
        if self.device.is_none() && !found.is_empty() {
            // An ordinary file may have that name, too, but the mount of its device is listed.
            let mounted = self.of_process(pid, "mountinfo").unwrap_or_default();
            let devices: BTreeSet<u64> = mounts(&mounted).map(|(_, device)| device).collect();
            found.retain(|(mapping, _)| !devices.contains(&mapping.file.device));
        }
        let mut touched: BTreeMap<FileId, Vec<(Range<u64>, u64)>> = BTreeMap::new();
        for (mapping, bytes) in found {
            let Some(hold) = self.hold(pid, mapping.file) else { return };
            hold.mappings += 1;
            hold.mapped_bytes = hold.mapped_bytes.saturating_add(mapping.bytes());
            let end = mapping.offset.saturating_add(mapping.bytes());
            if let Some(bytes) = bytes {
                touched.entry(mapping.file).or_default().push((mapping.offset..end, bytes));
            }
            let link = format!("{pid}/map_files/{:x}-{:x}", mapping.addresses.start, mapping.addresses.end);
            let asked = stat(self.root.proc.join(link)).ok();
            let file = self.scan.files.entry(mapping.file).or_default();
            file.bytes = file.bytes.max(asked.as_ref().map_or(end, |stat| stat.st_size.max(0) as u64));
            file.made_unix_s = file.made_unix_s.or(asked.map(|stat| stat.st_ctime));
        }
        for (id, parts) in touched {
            let bytes = Some(at_least(parts));
            if let Some(hold) = self.hold(pid, id) {
                hold.touched_bytes = bytes;
            }
            let file = self.scan.files.entry(id).or_default();
            file.touched_bytes = file.touched_bytes.max(bytes);
        }
    }
}

/// Returns the bytes of a file that a process has touched, at least, from the parts of the file that it maps, each with its
/// touched bytes. Parts that overlap may show the same pages, so that of those the largest number counts.
fn at_least(mut parts: Vec<(Range<u64>, u64)>) -> u64 {
    parts.sort_by_key(|(part, _)| part.start);
    let mut apart: Vec<(Range<u64>, u64)> = Vec::new();
    for (part, bytes) in parts {
        match apart.last_mut() {
            Some((before, most)) if part.start < before.end => {
                before.end = before.end.max(part.end);
                *most = bytes.max(*most);
            }
            _ => apart.push((part, bytes)),
        }
    }
    total(apart.into_iter().map(|(_, bytes)| bytes))
}
