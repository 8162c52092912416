//! The CPUs' caches, and the switch by which all requests leave the common path; a leaf where `unsafe` lives.
//!
//! The common path looks a CPU's cache up among the first `quick` ones, which is all of them, or none while the allocator
//! is traced. So tracing costs the common path no instruction: it is the bound of the look-up that says so.

use rhumb_machine::CpuId;
use rhumb_sync::atomic::{AtomicUsize, Relaxed};

use crate::cache::CpuCache;

/// The caches of all CPUs.
pub(crate) struct Caches {
    /// Each in memory of its CPU's node.
    all: &'static [&'static CpuCache],
    /// How many the common path may use: all, or none. [`Caches::set_traced`] alone changes it.
    quick: AtomicUsize,
}

impl Caches {
    pub(crate) fn new(all: &'static [&'static CpuCache]) -> Self {
        Self { all, quick: AtomicUsize::new(all.len()) }
    }

    /// Returns the caches, by CPU.
    pub(crate) const fn all(&self) -> &'static [&'static CpuCache] {
        self.all
    }

    /// Returns the cache of `cpu`.
    #[inline(always)]
    pub(crate) fn of(&self, cpu: CpuId) -> Option<&'static CpuCache> {
        self.all.get(cpu.index()).copied()
    }

    /// Returns the cache of `cpu` for the common path; `None` while the allocator is traced.
    #[inline(always)]
    pub(crate) fn quick(&self, cpu: CpuId) -> Option<&'static CpuCache> {
        let is_quick = cpu.index() < self.quick.load(Relaxed);
        // SAFETY: `quick` is at most the number of caches: `new` and `set_traced` store that number or 0.
        is_quick.then(|| unsafe { *self.all.get_unchecked(cpu.index()) })
    }

    pub(crate) fn set_traced(&self, is_traced: bool) {
        self.quick.store(if is_traced { 0 } else { self.all.len() }, Relaxed);
    }

    /// Tells whether the common path is closed. For the other paths.
    #[inline(always)]
    pub(crate) fn is_traced(&self) -> bool {
        self.quick.load(Relaxed) == 0
    }
}
