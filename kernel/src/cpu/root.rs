//! The tree of page tables that all CPUs load.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use rhumb_machine::Pfn;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

static TABLE: AtomicU64 = AtomicU64::new(0);

/// Names the top table. Once, by boot.
///
/// # Safety
/// The tree maps the kernel image, the stacks and the direct map where the kernel relies on them, permanently.
pub unsafe fn set(table: Pfn) {
    TABLE.store(table.get(), Release);
}

/// Returns the top table; frame 0 before boot has named it.
pub fn table() -> Pfn {
    Pfn::new(TABLE.load(Acquire))
}

/// Makes the tree this CPU's. After [`set`].
pub fn load() {
    let frame = PhysFrame::containing_address(x86_64::PhysAddr::new(table().addr().get()));
    // SAFETY: the tree maps all that the kernel relies on, by the promise to `set`.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}
