//! Size classes: 8 bytes to 32 KiB, eight to a doubling, so that at most a ninth of an object is lost to rounding
//! (below 64 bytes: at most seven bytes). The class comes from a table, without a branch.
//!
//! A size that is rounded up to a multiple of its alignment first lands in a class whose size is a multiple of that
//! alignment: between 2^k and 2^(k+1) classes are the multiples of 2^(k-3), and of a greater power of two only multiples
//! can come in. So alignment needs no classes of its own.

use core::alloc::Layout;

/// The largest size that a class serves; beyond, whole frames waste no more than the classes do.
pub(crate) const LARGEST: usize = 32 << 10;
/// How many classes there are.
pub(crate) const CLASSES: usize = 80;

/// Bytes of an object of the class.
pub(crate) const fn bytes(class: usize) -> usize {
    if class < 16 { (class + 1) * 8 } else { (8 + class % 8 + 1) << (class / 8 + 2) }
}

const GRAIN: usize = 8;
const ENTRIES: usize = LARGEST / GRAIN;

/// For each multiple of eight, less one: the least class that holds it.
const fn table() -> [u8; ENTRIES] {
    let mut table = [0; ENTRIES];
    let (mut at, mut class) = (0, 0);
    while at < ENTRIES {
        if (at + 1) * GRAIN > bytes(class) {
            class += 1;
        }
        table[at] = class as u8;
        at += 1;
    }
    table
}

static TABLE: [u8; ENTRIES] = table();

/// The least class that holds `layout`, or `None` past the largest and for no bytes.
///
/// `(size - 1) | (align - 1)` is one less than the size rounded up to its alignment.
#[inline(always)]
pub(crate) fn holding(layout: Layout) -> Option<usize> {
    let last = layout.size().wrapping_sub(1) | (layout.align() - 1);
    TABLE.get(last / GRAIN).map(|&class| class as usize)
}

const _: () = assert!(bytes(CLASSES - 1) == LARGEST && bytes(0) == 8 && bytes(15) == 128 && bytes(16) == 144);
