//! Kernel stacks: areas of the kernel map. The page below a stack is never mapped, so that an overflow faults.
//!
//! ```text
//!   | guard | page | page | page | page | guard | ...      an area, and the next one
//!            start ──>              <── top: grows down
//! ```
//!
//! A stack's pages are mapped at once, because a CPU that runs on a stack has no place for the frame of a fault there.
//! A double fault, a non-maskable interrupt and a machine check have stacks of their own, which are kernel stacks like
//! others. The boot CPU's four are mapped by boot, at addresses that the map takes over; the other CPUs get theirs
//! before they start, from memory near them.

use core::ops::ControlFlow;

use rhumb_frames::Preference;
use rhumb_kernelmap::{Area, AreaError, AreaKind, AreaRequest};
use rhumb_machine::{MemoryUse, NodeId, PageSize, VirtRange};

use super::{kernel_map, owners};
use crate::cpu::area::{self, PerCpu};
use crate::cpu::kasan;
use crate::layout::Stack;

/// A kernel stack, mapped on every CPU. Its holder alone runs code on it, until the holder frees it.
#[derive(Debug)]
#[must_use = "a stack that is lost stays mapped permanently"]
pub struct KernelStack(Area);

impl KernelStack {
    /// Makes a stack of `pages` pages of 4 KiB, with whatever contents, of the node's memory where it has any.
    ///
    /// # Errors
    /// [`AreaError`]; nothing has changed then.
    ///
    /// Cost: an allocation of a frame and a write of an entry for each page.
    pub fn new(pages: u64, node: NodeId) -> Result<Self, AreaError> {
        let request = AreaRequest::new(pages).near(Preference::Prefer(node));
        let area = kernel_map::alloc(owners::STACKS, request)?;
        // The marks of an earlier stack's variables may be left there.
        kasan::set_memory_use(area.range(), MemoryUse::Allowed);
        Ok(Self(area))
    }

    /// Returns its addresses, without its guard.
    pub fn range(&self) -> VirtRange {
        self.0.range()
    }

    /// Frees it. No code runs on it, or holds a reference to a variable there.
    pub fn free(self) {
        kernel_map::free(self.0);
    }
}

/// Gives a CPU its stacks, near its node, but for those that it has.
///
/// # Errors
/// [`AreaError`]. Those that were made are the CPU's.
pub fn give_to(cpu: &PerCpu) -> Result<(), AreaError> {
    for stack in Stack::ALL {
        if cpu.stacks.range(stack).is_none() {
            let made = KernelStack::new(stack.bytes() / PageSize::Size4K.bytes(), cpu.node())?;
            let start = made.range().start();
            // The CPU's permanently: the handle goes, and the area stays.
            let KernelStack(_area) = made;
            // SAFETY: the CPU has no such stack yet; the area is as large as one, has a guard, and has no other holder.
            unsafe { cpu.stacks.set(stack, start) };
        }
    }
    Ok(())
}

/// Returns the bytes of all kernel stacks, without their guards.
///
/// Cost: a walk of all areas of the kernel map.
pub fn bytes() -> u64 {
    let Some(map) = kernel_map::map() else {
        let mapped =
            |cpu: &'static PerCpu| Stack::ALL.into_iter().filter_map(|stack| cpu.stacks.range(stack));
        return area::all().flat_map(mapped).map(VirtRange::bytes).sum();
    };
    let mut bytes = 0;
    let walked = map.for_each_area(|area| {
        if area.owner == owners::STACKS.in_frames() && area.kind == AreaKind::Memory {
            bytes += area.range.bytes();
        }
        ControlFlow::Continue(())
    });
    if walked.is_ok() { bytes } else { 0 }
}
