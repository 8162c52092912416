//! The address range that stands for physical memory.
//!
//! ```text
//!   mapping   |<- slack ->|<- base: aligned to 1 GiB                     span           ->|<- slack ->|
//!             | no access | RAM: read-write, nothing reserved | hole: no access | RAM ... | no access |
//! ```
//!
//! The base is aligned to the largest page so that a frame's alignment is the same in both spaces, as in the kernel.
//! RAM is private anonymous memory without a reservation: the host gives a zeroed page on first touch.

use core::ffi::c_void;
use core::ptr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rhumb_machine::{PageSize, PfnRange, PhysRange, VirtAddr};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

use crate::config::{ConfigError, LargePages, Ram};

/// The bit of a `/proc/self/pagemap` entry that says that the page is in memory.
const PAGEMAP_PRESENT: u64 = 1 << 63;

/// A span of physical addresses from 0, reserved in this process.
#[derive(Debug)]
pub(crate) struct Reservation {
    mapping: *mut c_void,
    mapping_bytes: usize,
    base: VirtAddr,
}

// SAFETY: the pointer is the address of a mapping that lives as long as the value; it is only used to unmap it.
unsafe impl Send for Reservation {}
// SAFETY: no method changes the value through a shared reference, and none follows the pointer.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves the span up to the end of the last range and makes `ram` accessible. `ram` is sorted and disjoint.
    pub(crate) fn new(ram: &[Ram], large_pages: LargePages) -> Result<Self, ConfigError> {
        let span_bytes = ram.last().map_or(0, |last| last.range.end().get());
        let mapping_bytes = span_bytes + PageSize::Size1G.bytes();
        let refused = |errno: rustix::io::Errno| ConfigError::Reserve {
            bytes: mapping_bytes,
            errno: errno.raw_os_error(),
        };
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address that the host chooses touches nothing of ours.
        let mapping =
            unsafe { mmap_anonymous(ptr::null_mut(), mapping_bytes as usize, ProtFlags::empty(), flags) }
                .map_err(refused)?;
        let start = VirtAddr::from(mapping.cast_const());
        // User addresses end below 2^47: rounding up cannot wrap.
        let base = start.checked_align_up(PageSize::Size1G).unwrap_or(start);
        // From here on, dropping the value unmaps.
        let reservation = Self { mapping, mapping_bytes: mapping_bytes as usize, base };
        for ram in ram {
            reservation.open(ram.range, large_pages).map_err(refused)?;
        }
        Ok(reservation)
    }

    fn open(&self, range: PhysRange, large_pages: LargePages) -> rustix::io::Result<()> {
        let (start, bytes) = self.place(range);
        // SAFETY: the range lies inside our own mapping, which no code uses yet.
        unsafe { mprotect(start, bytes, MprotectFlags::READ | MprotectFlags::WRITE) }?;
        let advice = match large_pages {
            LargePages::AsHost => return Ok(()),
            LargePages::Never => Advice::LinuxNoHugepage,
            LargePages::Wanted => Advice::LinuxHugepage,
        };
        // SAFETY: the range lies inside our own mapping. The advice is a wish: a host without large pages answers with
        // an error that changes nothing, and the memory works all the same.
        let _ = unsafe { madvise(start, bytes, advice) };
        Ok(())
    }

    fn place(&self, range: PhysRange) -> (*mut c_void, usize) {
        (self.base.plus(range.start().get()).as_mut_ptr(), range.bytes() as usize)
    }

    /// Returns the address of physical address 0.
    pub(crate) const fn base(&self) -> VirtAddr {
        self.base
    }

    /// Puts host pages behind `range`, as a write to each of them would, without changing what they say.
    pub(crate) fn populate(&self, range: PhysRange) -> io::Result<()> {
        let (start, bytes) = self.place(range);
        // SAFETY: the caller names RAM, which lies inside our own mapping; its contents stay.
        Ok(unsafe { madvise(start, bytes, Advice::LinuxPopulateWrite) }?)
    }

    /// Gives the host pages of `range` back; they read as zero afterwards.
    ///
    /// # Safety
    /// `range` lies in the span, and no code relies on its contents.
    pub(crate) unsafe fn discard(&self, range: PhysRange) -> io::Result<()> {
        let (start, bytes) = self.place(range);
        // SAFETY: inside our mapping; the caller gave its content up.
        Ok(unsafe { madvise(start, bytes, Advice::LinuxDontNeed) }?)
    }

    /// Returns how many frames of `frames` have memory of the host, because they were touched.
    pub(crate) fn resident_frames(&self, frames: PfnRange) -> io::Result<u64> {
        let past_the_end = || io::Error::from(io::ErrorKind::InvalidInput);
        let span = self.mapping_bytes as u64 - PageSize::Size1G.bytes();
        let last = frames.end().get().checked_mul(PageSize::Size4K.bytes()).ok_or_else(past_the_end)?;
        if last > span {
            return Err(past_the_end());
        }
        let pagemap = File::open("/proc/self/pagemap")?;
        let first = self.base.plus(frames.start().addr().get()).get() >> PageSize::Size4K.shift();
        let (mut resident, mut done) = (0, 0);
        let mut entries = vec![0u8; 8 << 12];
        while done < frames.frames() {
            let count = (frames.frames() - done).min(entries.len() as u64 / 8);
            let bytes = &mut entries[..count as usize * 8];
            pagemap.read_exact_at(bytes, (first + done) * 8)?;
            let (words, _) = bytes.as_chunks::<8>();
            resident +=
                words.iter().filter(|word| u64::from_ne_bytes(**word) & PAGEMAP_PRESENT != 0).count() as u64;
            done += count;
        }
        Ok(resident)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the machine that lent its addresses out is going away. Were unmapping refused,
        // the address range would leak, which does no harm.
        let _ = unsafe { munmap(self.mapping, self.mapping_bytes) };
    }
}
