//! Addresses in the kernel map for what boot maps before there is one: the boot CPU's stacks, and devices.
//!
//! They are the first addresses for areas of each size, one area behind the other with its guard below, as the map
//! would hand them out. The map takes these areas over as it starts (`mm::kernel_map::start`), and nothing moves.

use rhumb_machine::{PageSize, PhysRange, VirtAddr};

use crate::facts::MAX_DEVICES;
use crate::layout::{self, Stack};

/// The next free addresses for areas of fewer than 512 pages, and for larger ones.
pub struct Places {
    small: VirtAddr,
    large: VirtAddr,
}

// All areas fit: pages of registers and stacks in what one table of level 2 spans, and devices in the smallest range that
// the map has for large areas. None is large enough for the map's huge areas.
const _: () = assert!(layout::STACK_PAGES_PER_CPU + 2 * (MAX_DEVICES as u64) < 512 * 512);
const _: () = assert!(2 * rhumb_screen::mode::MOST_BYTES <= PageSize::Size1G.bytes());

impl Places {
    /// Returns all of the kernel map's places.
    pub const fn new() -> Self {
        let [small, large] = [layout::areas(PageSize::Size4K), layout::areas(PageSize::Size2M)];
        Self { small: small.start(), large: large.start() }
    }

    /// Returns the place of a stack.
    pub fn take_for_stack(&mut self, stack: Stack) -> VirtAddr {
        self.take(stack.bytes(), |_| 0)
    }

    /// Returns the place of a device. One that large pages can map lies in its addresses as it does in physical memory.
    pub fn take_for_device(&mut self, device: PhysRange) -> VirtAddr {
        self.take(device.bytes(), |unit| device.start().offset_in(unit))
    }

    /// Returns the next addresses of so many bytes, behind a guard, at an offset in their first unit.
    fn take(&mut self, bytes: u64, offset_in: impl FnOnce(PageSize) -> u64) -> VirtAddr {
        let (next, unit) = if bytes < PageSize::Size2M.bytes() {
            (&mut self.small, PageSize::Size4K)
        } else {
            (&mut self.large, PageSize::Size2M)
        };
        let start = next.plus(unit.bytes() + offset_in(unit));
        *next = start.plus(bytes + unit.bytes() - 1).align_down(unit);
        start
    }
}
