//! Moving what can be moved, so that whole blocks come together: compaction, and allocation of any contiguous range.
//!
//! A 2-MiB block is emptied like this: it is *isolated* first, so that none of its frames that are free, or become
//! free, is given out; that holds for parts of larger allocated blocks, too. Then each block of frames in it is moved
//! to one that is allocated elsewhere; at the end the whole block is either allocated ([`crate::Frames::alloc_range`])
//! or given back as one. If a frame cannot be moved, the frames that were moved before stay moved, and no frame is
//! lost. No lock is held while an owner works, and an owner that panics leaves no block isolated.
//!
//! One compaction or allocation of a range runs at a time: isolation belongs to it. Each hold of a pool's lock concerns
//! one block of 2 MiB: it is chosen and isolated, claimed, given back or released. The choice looks at 64 blocks at
//! most. So the whole takes as long as the budget or the range says, and interrupts are off for some microseconds at a
//! time.

pub(crate) mod compact;
pub(crate) mod range;
pub(crate) mod relocate;
