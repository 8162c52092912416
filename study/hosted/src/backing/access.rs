//! Words and bytes of a backing, by physical address: each access goes to the direct map's base plus the address, as in
//! the kernel. A leaf where `unsafe` lives.

use rhumb_hosted::Machine;

use super::Backing;

impl Backing {
    /// Returns the address of `bytes` bytes from physical address `at` on.
    ///
    /// # Panics
    /// If they are not all RAM: the caller follows a pointer that it did not write.
    #[inline(always)]
    fn at(&self, at: u64, bytes: u64) -> *mut u8 {
        // RAM begins at 0.
        let end = self.ram.range().end().get();
        if at > end || bytes > end - at {
            not_ram(at, bytes);
        }
        self.ram.machine().direct_map_base().plus(at).as_mut_ptr()
    }

    /// Returns the word at `at`, which need not be aligned.
    #[inline(always)]
    pub(crate) fn word(&self, at: u64) -> u64 {
        let word = self.at(at, 8).cast::<u64>();
        // SAFETY: RAM that is there as long as the backing. Any bytes are a word. No other thread writes: writers
        // borrow the backing exclusively.
        unsafe { word.read_unaligned() }
    }

    /// Writes the word at `at`, which need not be aligned.
    #[inline(always)]
    pub(crate) fn set_word(&mut self, at: u64, value: u64) {
        let word = self.at(at, 8).cast::<u64>();
        // SAFETY: RAM that is there as long as the backing, which is borrowed exclusively.
        unsafe { word.write_unaligned(value) }
    }

    /// Copies bytes from `at` on to `to`, as a read of a file does.
    #[inline(always)]
    pub(crate) fn copy_out(&self, at: u64, to: &mut [u8]) {
        let from = self.at(at, to.len() as u64);
        // SAFETY: both are there for so many bytes; `to` is the process's own memory, and no RAM of the backing.
        unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) }
    }

    /// Copies `from` to `at` and on, as a write to a file does.
    #[inline(always)]
    pub(crate) fn copy_in(&mut self, at: u64, from: &[u8]) {
        let to = self.at(at, from.len() as u64);
        // SAFETY: both are there for so many bytes; `from` is the process's own memory, and no RAM of the backing.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) }
    }

    /// Copies `bytes` bytes within the RAM.
    #[inline(always)]
    pub(crate) fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        let (from, to) = (self.at(from, bytes), self.at(to, bytes));
        // SAFETY: both are RAM for so many bytes, and may overlap; the backing is borrowed exclusively.
        unsafe { from.copy_to(to, bytes as usize) }
    }

    /// Fills `bytes` bytes from `at` on with zeroes.
    #[inline(always)]
    pub(crate) fn zero(&mut self, at: u64, bytes: u64) {
        let to = self.at(at, bytes);
        // SAFETY: RAM for so many bytes; the backing is borrowed exclusively.
        unsafe { to.write_bytes(0, bytes as usize) }
    }
}

#[cold]
#[inline(never)]
fn not_ram(at: u64, bytes: u64) -> ! {
    panic!("{bytes} bytes at {at:#x} are no RAM of this backing");
}
