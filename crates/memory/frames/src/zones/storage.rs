//! Cutting the caller's memory into the allocator's arrays; one of the leaves where `unsafe` lives. The memory may hold
//! anything: small arrays are cleared as they are cut, and the records of blocks, which are nearly all of it, when a
//! block is first taken ([`crate::pool::Pool::info`]).
//!
//! Under loom and shuttle the atomics are larger than their values and cannot be made of zeroed memory: there each
//! array is built on the heap instead.

use rhumb_machine::{MAX_NODES, NodeId};

use crate::error::LayoutError;
use rhumb_sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, IS_MODELLED, Ordering};

/// Every array starts on a cache line of its own.
pub(crate) const LINE_BYTES: usize = 64;

/// Types for which all-zero bytes are a value.
///
/// # Safety
/// They are.
pub(crate) unsafe trait Zeroable: Default + 'static {}

macro_rules! zeroable {
    ($($atomic:ty),*) => {$(
        // SAFETY: an integer has a value for every bit pattern, and its atomic has the same representation.
        unsafe impl Zeroable for $atomic {}
    )*};
}

zeroable!(AtomicU8, AtomicU32, AtomicU64);

/// Types for which any bytes are a value.
///
/// # Safety
/// They are.
pub(crate) unsafe trait AnyBytes: Zeroable {}

// SAFETY: an integer has a value for every bit pattern, and its atomic has the same representation.
unsafe impl AnyBytes for AtomicU64 {}

/// Returns how many bytes `count` values of `T` take.
pub(crate) const fn bytes_for<T>(count: usize) -> usize {
    (count * size_of::<T>()).next_multiple_of(LINE_BYTES)
}

/// The memory of each node.
pub(crate) struct Stores {
    of: [Storage; MAX_NODES],
}

impl Stores {
    /// Makes those of a machine that has lent none yet. Filled in where it is, because it is a part of what a boot's
    /// stack has.
    pub(crate) const NONE: Self = Self { of: [const { Storage::NONE }; MAX_NODES] };

    /// Takes the memory that `lend` returns for each node that needs any: the bytes that `needs` says.
    pub(crate) fn borrow(
        &mut self,
        needs: impl Fn(NodeId) -> usize,
        mut lend: impl FnMut(NodeId, usize) -> Option<&'static mut [u64]>,
    ) -> Result<(), LayoutError> {
        for (index, storage) in self.of.iter_mut().enumerate() {
            let Some(node) = NodeId::new(index) else { break };
            let needed = needs(node);
            if needed > 0 {
                let lent = lend(node, needed).unwrap_or(&mut []);
                let given = size_of_val(lent);
                if given < needed && !IS_MODELLED {
                    return Err(LayoutError::StorageTooSmall(given, needed));
                }
                *storage = Storage::new(lent);
            }
        }
        Ok(())
    }

    /// Returns `count` values of zeroes, each in the memory of the node that `node_of` says, and a table of them in that
    /// of the node `table`.
    pub(crate) fn zeroed_each<T: Zeroable>(
        &mut self,
        table: NodeId,
        count: usize,
        node_of: impl Fn(usize) -> NodeId,
    ) -> Result<&'static [&'static T], LayoutError> {
        #[cfg(any(loom, shuttle))]
        {
            let _ = table;
            let make = |index| Ok(&self.of(node_of(index)).zeroed(1)?[0]);
            let all = (0..count).map(make).collect::<Result<std::boxed::Box<_>, _>>()?;
            Ok(std::boxed::Box::leak(all))
        }
        #[cfg(not(any(loom, shuttle)))]
        {
            let start = self.of(table).cut(bytes_for::<&T>(count))?.cast::<&'static T>();
            for index in 0..count {
                let value = self.of(node_of(index)).zeroed(1)?;
                // SAFETY: `cut` gives each byte once, of memory that was lent permanently and exclusively, with room for
                // `count` references; it is aligned to a cache line.
                unsafe { start.add(index).write(&value[0]) };
            }
            // SAFETY: all of them were written just now, and nothing writes them again.
            Ok(unsafe { core::slice::from_raw_parts(start, count) })
        }
    }

    /// Returns the memory of a node.
    pub(crate) fn of(&mut self, node: NodeId) -> &mut Storage {
        &mut self.of[node.index()]
    }
}

/// The rest of the caller's memory.
pub(crate) struct Storage {
    at: *mut u8,
    left: usize,
    given: usize,
}

impl Storage {
    const NONE: Self = Self { at: core::ptr::null_mut(), left: 0, given: 0 };

    /// Takes `memory` from its first cache line on.
    pub(crate) fn new(memory: &'static mut [u64]) -> Self {
        let given = size_of_val(memory);
        let start = memory.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(LINE_BYTES).min(given);
        Self { at: start.wrapping_add(skip), left: given - skip, given }
    }

    fn cut(&mut self, bytes: usize) -> Result<*mut u8, LayoutError> {
        if bytes > self.left {
            let used = self.given - self.left;
            return Err(LayoutError::StorageTooSmall(self.given, used + bytes));
        }
        let start = self.at;
        self.at = start.wrapping_add(bytes);
        self.left -= bytes;
        Ok(start)
    }

    /// Returns an array of zeroes.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn zeroed<T: Zeroable>(&mut self, count: usize) -> Result<&'static [T], LayoutError> {
        const { assert!(align_of::<T>() <= LINE_BYTES) };
        let start = self.cut(bytes_for::<T>(count))?;
        // SAFETY: `cut` gives each byte once, of memory that was lent permanently and exclusively; it is aligned to a
        // cache line, and zero, which is a value of T, when it is lent on.
        Ok(unsafe {
            start.write_bytes(0, bytes_for::<T>(count));
            core::slice::from_raw_parts(start.cast::<T>(), count)
        })
    }

    /// Returns an array of whatever the memory holds, of which nothing is touched.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn untouched<T: AnyBytes>(&mut self, count: usize) -> Result<&'static [T], LayoutError> {
        const { assert!(align_of::<T>() <= LINE_BYTES) };
        let start = self.cut(bytes_for::<T>(count))?;
        // SAFETY: `cut` gives each byte once, of memory that was lent permanently and exclusively; it is aligned to a
        // cache line, and any bytes are a value of T.
        Ok(unsafe { core::slice::from_raw_parts(start.cast::<T>(), count) })
    }

    /// Places a value permanently.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn place<T: 'static>(&mut self, value: T) -> Result<&'static T, LayoutError> {
        const { assert!(align_of::<T>() <= LINE_BYTES) };
        let start = self.cut(bytes_for::<T>(1))?.cast::<T>();
        // SAFETY: `cut` gives each byte once, of memory that was lent permanently and exclusively; it is aligned to a
        // cache line, and the value is written before it is lent.
        unsafe {
            start.write(value);
            Ok(&*start)
        }
    }

    /// Returns an array of zeroes.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn zeroed<T: Zeroable>(&mut self, count: usize) -> Result<&'static [T], LayoutError> {
        self.cut(0)?;
        Ok(std::boxed::Box::leak((0..count).map(|_| T::default()).collect()))
    }

    /// Returns an array of zeroes.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn untouched<T: AnyBytes>(&mut self, count: usize) -> Result<&'static [T], LayoutError> {
        self.zeroed(count)
    }

    /// Places a value permanently.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn place<T: 'static>(&mut self, value: T) -> Result<&'static T, LayoutError> {
        self.cut(0)?;
        Ok(std::boxed::Box::leak(std::boxed::Box::new(value)))
    }
}

/// An append-only table of values that live permanently: filled by one writer at a time, read by anyone.
pub(crate) struct Table<T: 'static, const N: usize> {
    entries: [AtomicPtr<T>; N],
}

// SAFETY: made of null pointers, which are zero.
unsafe impl<T: Sync + 'static, const N: usize> Zeroable for Table<T, N> {}

impl<T: 'static, const N: usize> Default for Table<T, N> {
    fn default() -> Self {
        Self { entries: core::array::from_fn(|_| AtomicPtr::new(core::ptr::null_mut())) }
    }
}

impl<T: Sync, const N: usize> Table<T, N> {
    pub(crate) fn set(&self, index: usize, value: &'static T) {
        self.entries[index].store(core::ptr::from_ref(value).cast_mut(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&'static T> {
        let entry = self.entries.get(index)?.load(Ordering::Acquire);
        // SAFETY: null, or made by `set` of a `'static` reference; nothing writes through it.
        unsafe { entry.as_ref() }
    }

    /// Returns the values up to the first empty entry.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static T> + '_ {
        (0..N).map_while(|index| self.get(index))
    }
}
