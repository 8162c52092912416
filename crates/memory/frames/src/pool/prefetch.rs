//! A hint to the CPU: a leaf where `unsafe` lives.

/// Asks for the cache line of `item`, to write it soon. Has no other effect.
#[inline(always)]
pub(crate) fn prefetch_write<T>(item: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address is allowed; every x86-64 CPU executes it or takes it for a no-operation.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) item, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = item;
}
