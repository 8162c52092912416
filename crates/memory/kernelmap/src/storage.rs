//! Cutting memory that the caller lends into tables; a leaf where `unsafe` lives.
//!
//! Under loom and shuttle the atomics are larger than their values, and the tables are built on the heap instead.
#![expect(unsafe_code, reason = "makes tables of lent memory")]

/// Every table starts on a cache line of its own.
pub(crate) const LINE_BYTES: usize = 64;

/// Returns how many bytes `count` values of `T` take.
pub(crate) const fn bytes_for<T>(count: usize) -> usize {
    (count * size_of::<T>()).next_multiple_of(LINE_BYTES)
}

/// The rest of the caller's memory.
pub(crate) struct Storage {
    at: *mut u8,
    left: usize,
}

impl Storage {
    /// Takes `memory` from its first cache line on.
    pub(crate) fn new(memory: &'static mut [u64]) -> Self {
        let start = memory.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(LINE_BYTES).min(size_of_val(memory));
        Self { at: start.wrapping_add(skip), left: size_of_val(memory) - skip }
    }

    /// Returns `count` values, each made where it lies; `None` where they do not fit.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn each<T>(&mut self, count: usize, make: impl Fn() -> T) -> Option<&'static mut [T]> {
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
    pub(crate) fn each<T: 'static>(
        &mut self,
        count: usize,
        make: impl Fn() -> T,
    ) -> Option<&'static mut [T]> {
        let _ = (self.at, self.left);
        Some(std::boxed::Box::leak((0..count).map(|_| make()).collect()))
    }
}
