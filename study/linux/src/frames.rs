//! Where pages of this process lie in physical memory: `/proc/self/pagemap`, which tells only root.
#![expect(unsafe_code, reason = "a mapping of a file is only as safe as the file")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memmap2::Mmap;

use crate::proc::counters::{KIB_4, MIB_2};

/// The bits of an entry that hold the frame's number.
const FRAME: u64 = (1 << 55) - 1;

/// The bit of an entry that says that the page is there.
const PRESENT: u64 = 1 << 63;

/// The list of this process's pages.
#[derive(Debug)]
pub(crate) struct Frames(File);

impl Frames {
    /// Opens the list.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open() -> io::Result<Self> {
        File::open("/proc/self/pagemap").map(Self)
    }

    /// Returns the number of the 2-MiB block of physical memory that holds the page at `address`; `None` where the page is
    /// not there, or the kernel does not tell.
    pub(crate) fn block(&self, address: usize) -> Option<u64> {
        let mut entry = [0; 8];
        self.0.read_exact_at(&mut entry, address as u64 / KIB_4 * 8).ok()?;
        let entry = u64::from_le_bytes(entry);
        let frame = entry & FRAME;
        // Without the capability, the kernel shows frame 0.
        (entry & PRESENT != 0 && frame != 0).then_some(frame * KIB_4 / MIB_2)
    }
}

/// Returns the 2-MiB block of each page of a file in memory that this process alone has; `None` for pages whose place the
/// kernel does not tell.
///
/// # Errors
/// The system's.
pub(crate) fn blocks_of(file: &File) -> io::Result<Vec<Option<u64>>> {
    let frames = Frames::open()?;
    // SAFETY: the callers pass files in memory that this process alone has, no code shrinks or writes it while it is mapped here, and only
    // one byte of each page is read.
    let map = unsafe { Mmap::map(file) }?;
    let places = (0..map.len()).step_by(KIB_4 as usize).map(|offset| {
        // The kernel tells the place of pages that this mapping has touched.
        std::hint::black_box(map[offset]);
        frames.block(map.as_ptr() as usize + offset)
    });
    Ok(places.collect())
}
