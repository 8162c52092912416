//! Zeroing a frame for a request that asks for it; a leaf where `unsafe` lives, and the only place of this crate that
//! touches the contents of a frame.

use rhumb_machine::Machine;

use crate::handle::raw::Raw;

/// Fills an allocated block of the direct map with zeroes.
pub(crate) fn zero<M: Machine>(machine: &M, raw: Raw) {
    let start = machine.direct(raw.pfn().addr()).as_mut_ptr::<u8>();
    // SAFETY: the block was just allocated and its handle is not given out yet, so no other code uses it; zeroed
    // requests never go past the direct limit, and the memory below it is in the direct map (promised to
    // `Frames::new`; invariant I5: only mapped frames are freed).
    unsafe { start.write_bytes(0, raw.order().bytes() as usize) }
}
