//! The place of the direct map.
//!
//! It has the first half of the kernel's half: 64 TiB from `ffff_8000_0000_0000` with 4 levels, 32 PiB from
//! `ff00_0000_0000_0000` with 5. The rest is the kernel map's, the frame descriptors', the windows' and the image's.

use rhumb_machine::{PhysAddr, VirtRange};
use rhumb_pagetable::Levels;

/// Returns how many bytes of address space the direct map has.
pub const fn address_range_bytes(levels: Levels) -> u64 {
    1 << (levels.virt_bits() - 2)
}

/// Returns the address space for the direct map.
pub const fn address_range(levels: Levels) -> VirtRange {
    // Constants, so that the compiler finds out whether they wrap.
    const FOUR: VirtRange = first_half(Levels::Four);
    const FIVE: VirtRange = first_half(Levels::Five);
    match levels {
        Levels::Four => FOUR,
        Levels::Five => FIVE,
    }
}

const fn first_half(levels: Levels) -> VirtRange {
    match VirtRange::of_length(levels.kernel_half(), address_range_bytes(levels)) {
        Some(range) => range,
        None => panic!("the address range wraps"),
    }
}

/// Tells whether RAM that ends at `ram_end` is past the 64 TiB that 4-level paging has room for.
pub const fn needs_five_levels(ram_end: PhysAddr) -> bool {
    ram_end.get() > address_range_bytes(Levels::Four)
}
