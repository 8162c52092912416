//! Zeroing a frame for a request that asks for it; a leaf where `unsafe` lives, and the only place of this crate that
//! touches the contents of a frame.

use rhumb_machine::Machine;

use crate::handle::raw::Raw;

/// Fills a block of the direct map with zeroes. Its caller is its only user.
pub(crate) fn zero<M: Machine>(machine: &M, raw: Raw) {
    let start = machine.direct(raw.pfn().addr()).as_mut_ptr::<u8>();
    // SAFETY: no other code uses the block: it was just allocated and its handle is not given out yet, or its holder
    // lends the handle alone. It is in the direct map: zeroed requests never go past the direct limit, and the memory
    // below the limit is in the map (promised to `Frames::new`; invariant I5: only mapped frames are freed).
    unsafe { start.write_bytes(0, raw.order().bytes() as usize) }
}
