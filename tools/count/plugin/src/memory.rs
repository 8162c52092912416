//! The guest's memory, as the file that backs it.
//!
//! `-object memory-backend-memfd` has QEMU keep the guest's memory in a file without a name, open in this process. It is
//! opened once more by its number and read like any file, so that nothing here touches memory of QEMU's.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rhumb_trace::PhysicalMemory;

/// The names of QEMU's file, as links of `/proc/self/fd` show it.
const NAME: &str = "memfd:memory-backend-memfd";
/// Where RAM goes on past the PCI hole.
const HIGH: u64 = 4 << 30;

/// The memory of a guest with one node.
pub(crate) struct GuestMemory {
    file: Option<File>,
    /// The end of the RAM below the PCI hole.
    low_bytes: u64,
}

impl GuestMemory {
    /// Memory of which so many bytes lie below the PCI hole. Its file is opened when the machine has been made.
    pub(crate) fn new(low_bytes: u64) -> Self {
        Self { file: None, low_bytes }
    }

    /// Opens the file, unless it is open. Returns whether there is one.
    pub(crate) fn open(&mut self) -> bool {
        if self.file.is_none() {
            self.file = find();
        }
        self.file.is_some()
    }
}

fn find() -> Option<File> {
    fs::read_dir("/proc/self/fd").ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        let target = fs::read_link(&path).ok()?;
        if target.to_string_lossy().contains(NAME) { File::open(path).ok() } else { None }
    })
}

impl PhysicalMemory for GuestMemory {
    fn read(&self, physical: u64) -> Option<u64> {
        let offset = match physical.checked_sub(HIGH) {
            Some(above) => self.low_bytes + above,
            None if physical < self.low_bytes => physical,
            None => return None,
        };
        let mut bytes = [0; 8];
        self.file.as_ref()?.read_exact_at(&mut bytes, offset).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}
