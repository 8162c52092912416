//! Size classes: 8 bytes to 32 KiB, eight to a doubling, so that at most a ninth of an object is lost to rounding
//! (below 64 bytes: at most seven bytes). The class comes from a table, without a branch.
//!
//! A size that is rounded up to a multiple of its alignment first lands in a class whose size is a multiple of that
//! alignment: between 2^k and 2^(k+1) classes are the multiples of 2^(k-3), and of a greater power of two only multiples
//! can come in. So alignment needs no classes of its own.

/// The largest size that a class serves; beyond, whole frames waste no more than the classes do.
pub(crate) const LARGEST: usize = 32 << 10;
/// How many classes there are.
pub(crate) const CLASSES: usize = 80;

/// Bytes of an object of the class.
pub(crate) const fn bytes(class: usize) -> usize {
    if class < 16 { (class + 1) * 8 } else { (8 + class % 8 + 1) << (class / 8 + 2) }
}

const GRAIN: usize = 8;

const fn table() -> [u8; LARGEST / GRAIN + 1] {
    let mut table = [0; LARGEST / GRAIN + 1];
    let (mut at, mut class) = (0, 0);
    while at < table.len() {
        if at * GRAIN > bytes(class) {
            class += 1;
        }
        table[at] = class as u8;
        at += 1;
    }
    table
}

static TABLE: [u8; LARGEST / GRAIN + 1] = table();

/// The least class that holds `size` bytes, or `None` past the largest.
#[inline(always)]
pub(crate) fn holding(size: usize) -> Option<usize> {
    if size > LARGEST { None } else { TABLE.get(size.div_ceil(GRAIN)).map(|&class| class as usize) }
}

const _: () = assert!(bytes(CLASSES - 1) == LARGEST && bytes(0) == 8 && bytes(15) == 128 && bytes(16) == 144);
