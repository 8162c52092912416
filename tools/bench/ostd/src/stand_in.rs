//! Functions that only the benchmark calls, and how statics begin anew.

use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::mm::frame::meta::MetaSlot;

/// The most CPUs.
pub const MAX_CPUS: usize = 16;

static GENERATION: AtomicU64 = AtomicU64::new(0);
static CPUS: AtomicUsize = AtomicUsize::new(1);
static CPU_INDEX: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static SLOTS: AtomicPtr<MetaSlot> = AtomicPtr::new(core::ptr::null_mut());
pub(crate) static SLOT_COUNT: AtomicUsize = AtomicUsize::new(0);
pub(crate) static FIRST_PADDR: AtomicUsize = AtomicUsize::new(0);

/// Begins anew, on `cpus` CPUs, with `slots` for the frames from `first_paddr` on; `cpu_index` tells the calling
/// thread's CPU.
///
/// # Safety
/// No thread is in the allocator; `slots` live until the next call, and no other code uses them.
pub unsafe fn begin(slots: &mut [MetaSlot], first_paddr: usize, cpus: usize, cpu_index: fn() -> usize) {
    SLOTS.store(slots.as_mut_ptr(), Ordering::Relaxed);
    SLOT_COUNT.store(slots.len(), Ordering::Relaxed);
    FIRST_PADDR.store(first_paddr, Ordering::Relaxed);
    CPUS.store(cpus.min(MAX_CPUS), Ordering::Relaxed);
    CPU_INDEX.store(cpu_index as *mut (), Ordering::Relaxed);
    GENERATION.fetch_add(1, Ordering::Release);
}

pub(crate) fn cpus() -> usize {
    CPUS.load(Ordering::Relaxed)
}

#[inline]
pub(crate) fn cpu_index() -> usize {
    let function = CPU_INDEX.load(Ordering::Relaxed);
    if function.is_null() {
        return 0;
    }
    // SAFETY: the only value but null is the function that `begin` was given.
    unsafe { core::mem::transmute::<*mut (), fn() -> usize>(function)() }
}

/// A value that has its initial value again in each generation. The initial value is copied bit by bit, which suits
/// values without a heap.
pub(crate) struct Renewed<T> {
    generation: AtomicU64,
    value: UnsafeCell<ManuallyDrop<T>>,
    initial: ManuallyDrop<T>,
}

impl<T> Renewed<T> {
    pub(crate) const fn new(value: T) -> Self {
        let value = ManuallyDrop::new(value);
        // SAFETY: a copy that is never dropped, of a value without a heap.
        let initial = unsafe { core::ptr::read(&raw const value) };
        Self { generation: AtomicU64::new(0), value: UnsafeCell::new(value), initial }
    }

    /// Returns the value of this generation.
    ///
    /// The caller alone reaches the value now: it holds its lock, or it is its CPU.
    #[inline]
    pub(crate) fn get(&self) -> *mut T {
        let generation = GENERATION.load(Ordering::Relaxed);
        if self.generation.load(Ordering::Relaxed) != generation {
            // SAFETY: the caller is alone with the value.
            unsafe { self.value.get().write(core::ptr::read(&raw const self.initial)) };
            self.generation.store(generation, Ordering::Relaxed);
        }
        self.value.get().cast()
    }
}
