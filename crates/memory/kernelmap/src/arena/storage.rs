//! The tables of an arena, in memory that the caller lends.

use rhumb_sync::Keepers;
use rhumb_sync::atomic::{AtomicU64, IS_MODELLED};

use super::bins::Bins;
use super::cpu::CpuCache;
use super::error::ArenaError;
use crate::storage::{LINE_BYTES, Storage, bytes_for};

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
