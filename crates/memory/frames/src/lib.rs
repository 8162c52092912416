//! The page-frame allocator: nodes, zones, orders 0 to 18 (4 KiB to 1 GiB). It keeps its state outside the frames.
//!
//! The modules; each names only those below it:
//!
//! | module | owns |
//! |---|---|
//! | `report`, `validate` | counters and descriptions; the exact check |
//! | `moving/` | `relocate`: the interface of owners of movable frames; `compact`: compaction; `range`: allocation of a given range |
//! | `frames/` | [`Frames`]: the common path; `slow`: the tries after it failed; `reclaim`: reclaimers at work; `describe`: the way to a descriptor; `checked`, `faults`: refused frees and other misuse; `isolation`: the turn to move frames; `traced`: telling of each allocation and free; `zero` and `access`: a frame's content |
//! | `pressure` | the interface of reclaimers, and their list |
//! | `descriptor` | [`Descriptor`]: twelve bytes about a frame |
//! | `zones/` | the pools of a machine, in the order in which a request visits them; `refill`, `drain`, `exchange`: move batches between a CPU and the pools, or bypass the magazine; `caches`: the CPUs' caches, and whether the common path may use them; `layout`, `build`, `storage`: from ranges and memory to pools, hand-over from boot, hot-add |
//! | `cache` | a CPU's magazines and open blocks |
//! | `pool/` | one zone of one node: `bins` of partial blocks, and `tree`: a set of whole ones; `take`, `give`; `block`, [`words`]: 16 bytes and 512 bits for each block, runs by folding; watermarks |
//! | `handle/` | `frame`: [`Frame`] (eight bytes, typed by its presence in the direct map), [`FrameRange`]; `raw`: the number in them; `leak`: lost ones |
//! | `request`, `error` | the caller's request: [`Request`], [`Zone`], [`Mobility`], [`AllocClass`]; and the errors |
//!
//! # Theory
//!
//! 1. **Everything is bits outside the frames.** A frame is one bit; a 2-MiB *block* is 512 of them, one cache line,
//!    and 16 bytes that say how many are free, the largest free run, and the kind. Free frames are never written, so
//!    the allocator treats unmapped frames, secret frames and frames past the map's end like all others.
//! 2. **Nothing is merged.** A run of 2^k frames is free when its bits are set: found by folding a word onto itself k
//!    times. A block whose last frame comes back becomes a bit in the tree of whole blocks, where orders 9 to 18 are
//!    found in the same way. There are no lists through frames and no buddies to look up.
//! 3. **Partial blocks are used up first, by requests of their kind.** Partial blocks are in bins by kind, by the
//!    orders that they were opened for (0 to 2, 3 to 5, 6 to 8), largest run and fullness. A single frame comes from
//!    the fullest block of its kind, a run from the block with the smallest sufficient run. Emptier blocks therefore
//!    drain, and single frames do not split up blocks kept for long runs. The price is some half-filled blocks.
//! 4. **The common path belongs to the CPU.** Blocks of order 0 to 9 come from and go to magazines that only their CPU
//!    touches: plain loads and stores, no lock, no locked operation, no shared line, no table, because the handle
//!    carries everything that a free needs. `Pinned` proves the CPU; a busy flag keeps interrupt handlers out.
//! 5. **The shared path is paid for once in many frames**: once in hundreds, as a rule. A refill takes all free frames
//!    of one block into a private bitmap at once, or of several blocks where each has only a few; a drain takes back a
//!    batch, neighbours as one word, its lines prefetched before the lock. One lock for each pool (node x zone x piece
//!    of memory), held for some 300 ns, 18 us at most for a block of 1 GiB, never two at once. Nothing is global.
//! 6. **A bit means free.** The caller lends memory, whatever it holds; building the allocator sets one bit for each
//!    whole free block and writes more only where memory is used, absent or ragged.
//! 7. **Failure is an answer.** A request that fails returns an error and leaves the counters of use as they were
//!    (I12); no frame is lost and none given out twice, whatever fails. No path allocates what it manages (I10), writes
//!    a page table, or interrupts a CPU (I2), with one exception: [`Recall`] interrupts the other CPUs before a request
//!    that may wait fails.
//!
//! Locking: a pool's lock is taken with interrupts off and is a leaf. Caches need none. One compaction runs at a time;
//! a second caller returns at once. The table of pools only grows.
//!
//! Sources: the magazines are Bonwick and Adams's (USENIX 2001), without their depot: here the bitmaps are the depot.
//! That one bit for each frame and one word for each operation suffice is LLFree's insight (USENIX ATC 2023). LLFree's
//! counters and trees are lock-free and cost three compare-and-swaps for each operation; the per-CPU magazines here
//! cost none. Zones, watermarks and kinds are Linux's.
//!
//! Why not lock-free: a locked operation costs as much as a whole allocation here, and a batch needs one either way.
//! Why not lists of runs by order: their links would lie in the frames, or cost 16 bytes for each frame, and merging is
//! a walk over cold lines.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(any(test, loom, shuttle))]
extern crate std;

mod cache;
mod descriptor;
mod error;
mod frames;
mod handle;
mod moving;
mod pool;
mod pressure;
mod report;
mod request;
mod validate;
mod zones;

pub use descriptor::{Descriptor, DescriptorView, History};
pub use error::{AllocError, FrameFault, LayoutError};
pub use frames::{Drained, Frames};
pub use handle::frame::{Anywhere, Frame, FrameRange, Freeable, Mapped, Presence, Unmapped};
pub use handle::leak::{Leaks, leaks};
pub use handle::raw::Brand;
pub use moving::compact::{Compaction, Goal};
pub use moving::relocate::{Extent, NothingMoves, Relocate};
pub use pool::words;
pub use pressure::{Levels, Recall, Reclaimer, Shortage, TooManyReclaimers};
pub use report::{Description, Place, Totals, ZoneReport};
pub use request::{AllocClass, Contents, Mobility, Owner, Preference, Request, Zone};
pub use validate::Inconsistency;
pub use zones::layout::{Layout, MemoryRange};

#[cfg(all(test, any(loom, shuttle)))]
#[path = "tests/models.rs"]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
