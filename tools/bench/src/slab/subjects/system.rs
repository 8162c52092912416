//! The process's own `malloc`.

use std::alloc::System;

use crate::driver::Unfit;
use crate::slab::subject::{GlobalSubject, Place};

/// The name of this host's `malloc`.
pub(super) type SystemHeap = System;

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// Gives back what is free at the end of the heap, and whole free pages within (glibc's own).
    fn malloc_trim(keep_bytes: usize) -> i32;
}

impl GlobalSubject for SystemHeap {
    const NAME: &'static str = "system";

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        Ok(System)
    }

    fn reclaim(&self) {
        // SAFETY: it may be called at any time.
        #[cfg(target_env = "gnu")]
        unsafe {
            malloc_trim(0)
        };
    }
}
