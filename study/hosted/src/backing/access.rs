//! Words and bytes of RAM, by physical address: each access goes to the direct map's base plus the address, as in the
//! kernel. A leaf where `unsafe` lives.

use rhumb_hosted::Machine;

use super::Backing;
use super::map::Ram;

/// The RAM of a machine, to be read through a shared reference and written through an exclusive one.
///
/// It is a value of its own, beside the machine, because allocators hold references to the machine while its RAM is
/// written.
#[derive(Debug)]
pub(crate) struct Access {
    base: *mut u8,
    bytes: u64,
}

// SAFETY: the pointer leads to RAM, which belongs to no thread.
unsafe impl Send for Access {}
// SAFETY: a shared reference reads; writers have an exclusive one.
unsafe impl Sync for Access {}

impl Access {
    /// # Safety
    /// The value is used no more when the machine is gone, and no other one is used in between, but for reading.
    unsafe fn over(ram: &Ram) -> Self {
        // RAM begins at physical address 0.
        Self { base: ram.machine().direct_map_base().as_mut_ptr(), bytes: ram.range().bytes() }
    }

    /// Returns the address of `bytes` bytes from physical address `at` on.
    ///
    /// # Panics
    /// If they are not all RAM: the caller follows a pointer that it did not write.
    #[inline(always)]
    fn at(&self, at: u64, bytes: u64) -> *mut u8 {
        if at > self.bytes || bytes > self.bytes - at {
            not_ram(at, bytes);
        }
        self.base.wrapping_add(at as usize)
    }

    /// Returns the physical address of a byte in the direct map.
    pub(crate) fn physical(&self, byte: *const u8) -> u64 {
        byte as u64 - self.base as u64
    }

    /// Returns the place of physical address `at` in the direct map.
    pub(crate) fn direct(&self, at: u64) -> *mut u8 {
        self.base.wrapping_add(at as usize)
    }

    /// Returns the word at `at`, which need not be aligned.
    #[inline(always)]
    pub(crate) fn word(&self, at: u64) -> u64 {
        let word = self.at(at, 8).cast::<u64>();
        // SAFETY: RAM that is there as long as the value is used. Any bytes are a word. No other thread writes, because
        // writers borrow the value exclusively.
        unsafe { word.read_unaligned() }
    }

    /// Writes the word at `at`, which need not be aligned.
    #[inline(always)]
    pub(crate) fn set_word(&mut self, at: u64, value: u64) {
        let word = self.at(at, 8).cast::<u64>();
        // SAFETY: RAM that is there as long as the value is used, which is borrowed exclusively.
        unsafe { word.write_unaligned(value) }
    }

    /// Copies bytes from `at` on to `to`, as a read of a file does.
    #[inline(always)]
    pub(crate) fn copy_out(&self, at: u64, to: &mut [u8]) {
        let from = self.at(at, to.len() as u64);
        // SAFETY: both are there for so many bytes; `to` is the process's own memory, and no RAM of the machine.
        unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) }
    }

    /// Copies `from` to `at` and on, as a write to a file does.
    #[inline(always)]
    pub(crate) fn copy_in(&mut self, at: u64, from: &[u8]) {
        let to = self.at(at, from.len() as u64);
        // SAFETY: both are there for so many bytes; `from` is the process's own memory, and no RAM of the machine.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) }
    }

    /// Copies `bytes` bytes within the RAM.
    #[inline(always)]
    pub(crate) fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        let (from, to) = (self.at(from, bytes), self.at(to, bytes));
        // SAFETY: both are RAM for so many bytes, and may overlap; the value is borrowed exclusively.
        unsafe { from.copy_to(to, bytes as usize) }
    }

    /// Fills `bytes` bytes from `at` on with zeroes.
    #[inline(always)]
    pub(crate) fn zero(&mut self, at: u64, bytes: u64) {
        let to = self.at(at, bytes);
        // SAFETY: RAM for so many bytes; the value is borrowed exclusively.
        unsafe { to.write_bytes(0, bytes as usize) }
    }
}

impl Backing {
    /// Returns the word at `at`.
    #[inline(always)]
    pub(crate) fn word(&self, at: u64) -> u64 {
        // SAFETY: it reads, and is gone before this returns.
        unsafe { Access::over(&self.ram) }.word(at)
    }

    /// Writes the word at `at`.
    #[inline(always)]
    pub(crate) fn set_word(&mut self, at: u64, value: u64) {
        // SAFETY: it is gone before this returns, and the backing is borrowed exclusively.
        unsafe { Access::over(&self.ram) }.set_word(at, value);
    }

    /// Returns access that is not bound to a borrow of the backing.
    ///
    /// # Safety
    /// The value is used no more when the backing is gone. Until then, no word is written through the backing itself.
    pub(crate) unsafe fn access(&self) -> Access {
        // SAFETY: as the caller promises.
        unsafe { Access::over(&self.ram) }
    }
}

#[cold]
#[inline(never)]
fn not_ram(at: u64, bytes: u64) -> ! {
    panic!("{bytes} bytes at {at:#x} are no RAM of this backing");
}
