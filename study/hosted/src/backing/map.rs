//! The system calls that bring the RAM of a hosted machine into pages of a size: a leaf where `unsafe` lives.
//!
//! All of them leave RAM readable and writable. The contents are read and written as plain words alone ([`super::access`]),
//! so a call that loses them breaks no promise.

use std::ffi::c_void;
use std::io;
use std::ops::Range;

use rhumb_hosted::{CorePinning, HostedMachine, LargePages, Machine};
use rhumb_machine::{PageSize, PhysAddr, PhysRange};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect};

const READ_WRITE: MprotectFlags = MprotectFlags::READ.union(MprotectFlags::WRITE);

/// A machine of one CPU, and its RAM from physical address 0 on.
#[derive(Debug)]
pub(super) struct Ram {
    machine: HostedMachine,
    range: PhysRange,
}

impl Ram {
    /// Reserves addresses for `bytes` of RAM.
    pub(super) fn new(bytes: u64, large_pages: LargePages) -> Result<Self, rhumb_hosted::ConfigError> {
        let builder = HostedMachine::builder().cpus(1).ram_bytes(bytes);
        let machine = builder.pinning(CorePinning::OneEach).large_pages(large_pages).build()?;
        Ok(Self { machine, range: PhysRange::of_length(PhysAddr::ZERO, bytes).unwrap_or_default() })
    }

    pub(super) const fn machine(&self) -> &HostedMachine {
        &self.machine
    }

    /// Returns all of it.
    pub(super) const fn range(&self) -> PhysRange {
        self.range
    }

    /// Returns the addresses at which the process sees it.
    pub(super) fn span(&self) -> Range<u64> {
        let start = self.machine.direct_map_base().get();
        start..start + self.range.bytes()
    }

    /// Returns the place of `range` for a system call.
    fn place(&self, range: PhysRange) -> io::Result<(*mut c_void, usize)> {
        if range.is_empty() || !self.range.covers(range) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.machine.direct(range.start()).as_mut_ptr(), range.bytes() as usize))
    }

    /// Puts pages behind `range`, as a write to each of them would.
    pub(super) fn populate(&mut self, range: PhysRange) -> io::Result<()> {
        let (start, bytes) = self.place(range)?;
        match self.machine.populate(range) {
            // Linux before 5.14 has no such call.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                for offset in (0..bytes).step_by(PageSize::Size4K.bytes() as usize) {
                    let byte = start.cast::<u8>().wrapping_add(offset);
                    // SAFETY: RAM of the machine, which is borrowed exclusively. The byte stays what it is.
                    unsafe { byte.write_volatile(byte.read_volatile()) };
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Has the system make large pages now, where it can.
    pub(super) fn collapse(&mut self) {
        if let Ok((start, bytes)) = self.place(self.range) {
            // SAFETY: RAM of the machine, whose contents the call leaves. It is a wish: Linux before 6.1 answers with an
            // error that changes nothing.
            let _ = unsafe { libc::madvise(start, bytes, libc::MADV_COLLAPSE) };
        }
    }

    /// Has the system make no further large pages of `range`. Those that are there stay.
    pub(super) fn forbid_large(&mut self, range: PhysRange) {
        if let Ok((start, bytes)) = self.place(range) {
            // SAFETY: RAM of the machine, whose contents the call leaves. A system that has no large pages refuses it,
            // and makes none.
            let _ = unsafe { madvise(start, bytes, Advice::LinuxNoHugepage) };
        }
    }

    /// Breaks the large page that maps `block` into small ones. The memory behind it stays.
    pub(super) fn break_large(&mut self, block: PhysRange) -> io::Result<()> {
        let middle = PhysAddr::new(block.start().get() + block.bytes() / 2);
        let middle =
            PhysRange::of_length(middle, PageSize::Size4K.bytes()).ok_or(io::ErrorKind::InvalidInput)?;
        let (start, bytes) = self.place(middle)?;
        // SAFETY: RAM of the machine, which is borrowed exclusively. A page in the middle of the block gets fewer rights,
        // and has them back before the call returns.
        unsafe {
            mprotect(start, bytes, MprotectFlags::READ)?;
            mprotect(start, bytes, READ_WRITE)?;
        }
        Ok(())
    }

    /// Puts pages of hugetlb in the place of all RAM, which reads as zero afterwards.
    ///
    /// # Errors
    /// The system has too few free pages of this size.
    pub(super) fn replace_by_hugetlb(&mut self, size: PageSize) -> io::Result<()> {
        let sized = match size {
            PageSize::Size1G => MapFlags::HUGETLB | MapFlags::HUGE_1GB,
            _ => MapFlags::HUGETLB | MapFlags::HUGE_2MB,
        };
        self.replace(self.range, sized)
    }

    /// Puts fresh memory in the place of `range`, to be had in pages of 4 KiB. It reads as zero afterwards.
    pub(super) fn replace_by_small(&mut self, range: PhysRange) -> io::Result<()> {
        self.replace(range, MapFlags::empty())?;
        self.forbid_large(range);
        Ok(())
    }

    fn replace(&mut self, range: PhysRange, flags: MapFlags) -> io::Result<()> {
        let (start, bytes) = self.place(range)?;
        let flags = flags | MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: it replaces RAM of the machine, which lies in a mapping of the machine's own, by memory with the same
        // rights; the machine unmaps all of it in the end. The RAM is borrowed exclusively.
        unsafe { mmap_anonymous(start, bytes, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        Ok(())
    }
}
