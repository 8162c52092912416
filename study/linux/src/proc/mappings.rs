//! Files of secret memory: `/proc/PID/maps`, `smaps`, `fdinfo`, and `mountinfo`, which tells other files from them.

#[cfg(test)]
mod tests;

use std::ops::Range;

/// The name under which the kernel lists files of secret memory. They are on no path, so " (deleted)" may follow.
const NAME: &str = "/secretmem";

/// A file, by its device and its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId {
    /// The device, as `stat` has it.
    pub device: u64,
    /// The file's number on the device.
    pub inode: u64,
}

/// A mapping of a file into an address space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Its addresses.
    pub addresses: Range<u64>,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// The file.
    pub file: FileId,
    /// The path that the kernel shows.
    pub path: String,
}

impl Mapping {
    /// Parses a line of `/proc/PID/maps`; `None` for a line that has another form, such as a field of `smaps`.
    pub fn parse(line: &str) -> Option<Self> {
        let mut rest = line;
        let mut word = || {
            rest = rest.trim_start_matches(' ');
            let end = rest.find(' ').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            word
        };
        let (start, end) = word().split_once('-')?;
        let addresses = hex(start)?..hex(end)?;
        let _permissions = word();
        let offset = hex(word())?;
        let (major, minor) = word().split_once(':')?;
        let device = rustix::fs::makedev(hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?);
        let inode = word().parse().ok()?;
        let path = rest.trim_start_matches(' ').to_owned();
        Some(Self { addresses, offset, file: FileId { device, inode }, path })
    }

    /// Returns the size of the mapping in bytes.
    pub fn bytes(&self) -> u64 {
        self.addresses.end.saturating_sub(self.addresses.start)
    }
}

/// Tells whether a link of `/proc/PID/fd`, or a path of `maps`, has the name that files of secret memory have. Another
/// file may have that name, too.
pub fn has_secret_name(path: &str) -> bool {
    path.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest == " (deleted)")
}

/// Returns the mappings of secret memory in a text of `/proc/PID/maps` or `smaps`, each with its touched bytes where the
/// text is of `smaps`. If the `device` of such files is known, files of that name elsewhere are left out. If not, they are
/// on a device without a number of hardware, and kept out of core dumps, as `smaps` tells.
pub fn secret_mappings(text: &str, device: Option<u64>) -> Vec<(Mapping, Option<u64>)> {
    let mut found: Vec<(Mapping, Option<u64>)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        // The lines of fields begin with a capital letter, those of mappings with a digit or a small one.
        if line.starts_with(|sign: char| sign.is_ascii_uppercase()) {
            if let (true, Some((_, touched)), Some(rss)) =
                (is_inside, found.last_mut(), line.strip_prefix("Rss:"))
            {
                *touched = rss
                    .split_whitespace()
                    .next()
                    .and_then(|word| word.parse().ok())
                    .map(|kb: u64| kb.saturating_mul(1024));
            }
            if let (true, None, Some(flags)) = (is_inside, device, line.strip_prefix("VmFlags:"))
                && !flags.split(' ').any(|flag| flag == "dd")
            {
                found.pop();
                is_inside = false;
            }
            continue;
        }
        is_inside = false;
        if !line.contains(NAME) {
            continue;
        }
        let Some(mapping) = Mapping::parse(line) else { continue };
        let is_there = match device {
            Some(device) => device == mapping.file.device,
            None => rustix::fs::major(mapping.file.device) == 0,
        };
        if has_secret_name(&mapping.path) && is_there {
            is_inside = true;
            found.push((mapping, None));
        }
    }
    found
}

/// Returns the mount of a file: `mnt_id` of `/proc/PID/fdinfo/FD`.
pub fn mount(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// The mounts of `/proc/PID/mountinfo`: number and device of each. The kernel's own mounts, such as that of secret memory,
/// are not among them.
pub fn mounts(mountinfo: &str) -> impl Iterator<Item = (u64, u64)> {
    mountinfo.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let number = words.next()?.parse().ok()?;
        let (major, minor) = words.nth(1)?.split_once(':')?;
        Some((number, rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?)))
    })
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}
