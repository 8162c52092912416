//! Cutting the memory that the caller lends into the arena's tables; a leaf where `unsafe` lives.
//!
//! Under loom and shuttle the atomics are larger than their values, and the tables are built on the heap instead.
#![expect(unsafe_code, reason = "makes tables of lent memory")]

use rhumb_sync::Keepers;
use rhumb_sync::atomic::{AtomicU64, IS_MODELLED};

use super::bins::Bins;
use super::cpu::CpuCache;
use super::error::ArenaError;

/// Every table starts on a cache line of its own.
const LINE_BYTES: usize = 64;

/// Returns how many bytes `count` values of `T` take.
const fn bytes_for<T>(count: usize) -> usize {
    (count * size_of::<T>()).next_multiple_of(LINE_BYTES)
}

/// Returns how many bytes the tables of an arena for so many CPUs take, wherever the memory begins.
pub(super) const fn bytes(cpus: usize) -> usize {
    bytes_for::<Bins>(1)
        + bytes_for::<CpuCache>(cpus)
        + 2 * bytes_for::<AtomicU64>(Keepers::words(cpus))
        + LINE_BYTES
}

/// The tables of an arena.
pub(super) struct Tables {
    pub(super) bins: &'static mut Bins,
    pub(super) caches: &'static [CpuCache],
    pub(super) keepers: Keepers,
}

impl Tables {
    /// Makes the tables for so many CPUs in `memory`, whose contents do not matter.
    pub(super) fn place(memory: &'static mut [u64], cpus: usize) -> Result<Self, ArenaError> {
        let given = size_of_val(memory);
        if given < bytes(cpus) && !IS_MODELLED {
            return Err(ArenaError::StorageTooSmall(given, bytes(cpus)));
        }
        let mut rest = Storage::new(memory);
        let bins = rest.each(1, Bins::new).and_then(<[Bins]>::first_mut);
        let caches = rest.each(cpus, CpuCache::new);
        let words = Keepers::words(cpus);
        let keeping = rest.each(words, || AtomicU64::new(0));
        let unasked = rest.each(words, || AtomicU64::new(0));
        match (bins, caches, keeping, unasked) {
            (Some(bins), Some(caches), Some(keeping), Some(unasked)) => {
                Ok(Self { bins, caches, keepers: Keepers::new(keeping, unasked) })
            }
            _ => Err(ArenaError::StorageTooSmall(given, bytes(cpus))),
        }
    }
}

/// The rest of the caller's memory.
struct Storage {
    at: *mut u8,
    left: usize,
}

impl Storage {
    /// Takes `memory` from its first cache line on.
    fn new(memory: &'static mut [u64]) -> Self {
        let start = memory.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(LINE_BYTES).min(size_of_val(memory));
        Self { at: start.wrapping_add(skip), left: size_of_val(memory) - skip }
    }

    /// Returns `count` values, each made where it lies; `None` where they do not fit.
    #[cfg(not(any(loom, shuttle)))]
    fn each<T>(&mut self, count: usize, make: impl Fn() -> T) -> Option<&'static mut [T]> {
        const { assert!(align_of::<T>() <= LINE_BYTES) };
        let bytes = bytes_for::<T>(count);
        self.left = self.left.checked_sub(bytes)?;
        let start = self.at.cast::<T>();
        self.at = self.at.wrapping_add(bytes);
        // SAFETY: each byte of memory that was lent permanently and exclusively is given out once; the start is aligned
        // to a cache line, since every table's size is a multiple of one, and all values are written before they are
        // lent.
        unsafe {
            (0..count).for_each(|index| start.add(index).write(make()));
            Some(core::slice::from_raw_parts_mut(start, count))
        }
    }

    #[cfg(any(loom, shuttle))]
    fn each<T: 'static>(&mut self, count: usize, make: impl Fn() -> T) -> Option<&'static mut [T]> {
        let _ = (self.at, self.left);
        Some(std::boxed::Box::leak((0..count).map(|_| make()).collect()))
    }
}
