//! Native mode: RAM behind a direct map that can really be taken apart, by the host's own page tables and flushes.
//!
//! ```text
//!   memory file   | frame 0 | frame 1 | frame 2 | ...        the content, always there
//!   direct map    | mapped  |  gone   | read-only | ...      what this process sees of it
//! ```
//!
//! RAM is a file in memory, mapped shared. Taking a range out of the map ([`NativeMap::remove`]) replaces it by a
//! mapping without access: the host drops its translations on every core that runs a thread of this process. The
//! content stays, and comes back with [`NativeMap::restore`]. So what removing costs, per page or per block, is
//! measured on real hardware, next to threads that run.
//!
//! Why not `mprotect` for removing: it leaves the host's page-table entries in place, which a real removal does not.

use core::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr;

use rhumb_machine::{PageSize, PhysAddr, PhysRange, VirtAddr, impossible};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap,
};

/// The rights of a range of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NativeAccess {
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// RAM from physical address 0 on, and its direct map.
#[derive(Debug)]
pub struct NativeMap {
    file: OwnedFd,
    mapping: *mut c_void,
    mapping_bytes: usize,
    base: VirtAddr,
    bytes: u64,
}

// SAFETY: the pointer is the address of a mapping that lives as long as the value; the host's calls on it may come from
// any thread.
unsafe impl Send for NativeMap {}
// SAFETY: no method changes the value through a shared reference, and the host's calls may come from any thread.
unsafe impl Sync for NativeMap {}

impl NativeMap {
    /// Returns `bytes` of RAM, all of it mapped read-write; the host gives memory on first touch. The base is aligned
    /// to 1 GiB.
    ///
    /// # Errors
    /// The host's error; `InvalidInput` where `bytes` is no whole number of frames, or none.
    pub fn new(bytes: u64) -> io::Result<Self> {
        if bytes == 0 || !bytes.is_multiple_of(PageSize::Size4K.bytes()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the name is a C string; the call touches nothing else of ours.
        let number = unsafe { libc::memfd_create(c"rhumb-native".as_ptr(), libc::MFD_CLOEXEC) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was opened just now, and that no other code knows.
        let file = unsafe { OwnedFd::from_raw_fd(number) };
        std::fs::File::from(file.try_clone()?).set_len(bytes)?;
        let mapping_bytes = bytes.checked_add(PageSize::Size1G.bytes()).ok_or(io::ErrorKind::InvalidInput)?;
        let mapping_bytes = usize::try_from(mapping_bytes).map_err(io::Error::other)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address that the host chooses touches nothing of ours.
        let mapping = unsafe { mmap_anonymous(ptr::null_mut(), mapping_bytes, ProtFlags::empty(), flags) }?;
        let start = VirtAddr::from(mapping.cast_const());
        let base = start.checked_align_up(PageSize::Size1G).unwrap_or(start);
        let map = Self { file, mapping, mapping_bytes, base, bytes };
        map.restore(map.whole())?;
        Ok(map)
    }

    /// Returns the address of physical address 0.
    pub const fn base(&self) -> VirtAddr {
        self.base
    }

    /// Returns all of it.
    pub fn whole(&self) -> PhysRange {
        PhysRange::of_length(PhysAddr::ZERO, self.bytes)
            .unwrap_or_else(|| impossible!("{} bytes from 0 wrap", self.bytes => PhysRange::default()))
    }

    /// Wants large pages of the host behind `range`, where it has them for files in memory.
    ///
    /// # Errors
    /// As for [`NativeMap::restore`]; a host without them refuses.
    pub fn want_large_pages(&self, range: PhysRange) -> io::Result<()> {
        let (start, bytes) = self.place(range)?;
        // SAFETY: the range is our own mapping; the advice changes no content.
        Ok(unsafe { madvise(start, bytes, Advice::LinuxHugepage) }?)
    }

    /// Takes `range` out of the map. The content stays. Cost: one system call, and a flush on each core that runs a
    /// thread of this process.
    ///
    /// # Safety
    /// No code touches the range through the map until it is restored: that would end the process.
    ///
    /// # Errors
    /// As for [`NativeMap::restore`].
    pub unsafe fn remove(&self, range: PhysRange) -> io::Result<()> {
        let (start, bytes) = self.place(range)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: it replaces part of our own mapping; the caller lets go of it.
        unsafe { mmap_anonymous(start, bytes, ProtFlags::empty(), flags) }?;
        Ok(())
    }

    /// Changes what `range`, which is mapped, allows. Cost: as for [`NativeMap::remove`].
    ///
    /// # Safety
    /// No code writes to frames that become read-only: that would end the process.
    ///
    /// # Errors
    /// As for [`NativeMap::restore`].
    pub unsafe fn protect(&self, range: PhysRange, access: NativeAccess) -> io::Result<()> {
        let (start, bytes) = self.place(range)?;
        let flags = match access {
            NativeAccess::ReadOnly => MprotectFlags::READ,
            NativeAccess::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
        };
        // SAFETY: our own mapping; the caller keeps to what it allows.
        Ok(unsafe { mprotect(start, bytes, flags) }?)
    }

    /// Puts `range` back, read-write, with the content that it had. The host's entries are made on the next touch.
    /// Cost: one system call.
    ///
    /// # Errors
    /// `InvalidInput` where `range` is empty, not whole frames, or not all RAM; the host's own error otherwise.
    pub fn restore(&self, range: PhysRange) -> io::Result<()> {
        let (start, bytes) = self.place(range)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: it replaces part of our own mapping by the same part of the file: its old contents are there
        // again.
        unsafe { mmap(start, bytes, access, flags, self.file.as_fd(), range.start().get()) }?;
        Ok(())
    }

    fn place(&self, range: PhysRange) -> io::Result<(*mut c_void, usize)> {
        if range.is_empty() || !range.is_aligned(PageSize::Size4K) || !self.whole().covers(range) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.base.plus(range.start().get()).as_mut_ptr(), range.bytes() as usize))
    }
}

impl Drop for NativeMap {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the value that lent its addresses out is going away. Were unmapping refused, the
        // address range would leak, which does no harm.
        let _ = unsafe { munmap(self.mapping, self.mapping_bytes) };
    }
}
