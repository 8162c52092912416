//! Where the page tables of the direct map come from: its reserve, and the store behind it.
//!
//! ```text
//!   change ── takes ──> reserve ── filled from ──> the frame allocator             where tables are not protected
//!     ^                    │  ^
//!     │                    │  └──── one flush for many ──── tables of merges, which the map keeps
//!     │                    └────── filled from ──> store ── grows by a block ──┐   where they are
//!     └───────────────────────────── which is a change ────────────────────────┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`reserve`] | its level, and whether a change has found too little |
//! | [`filling`] | filling it up |
//! | [`surplus`] | giving back what is too much, or what the allocator wants |
//! | [`stock`] | tables on their way |
//! | [`store`] | blocks of protected tables |
//!
//! **No change waits for memory.** A change takes from the reserve and from the tables that the map keeps since the last
//! merges of the same blocks, under the map's lock (I7). Where the reserve is short, one flush brings it all that are
//! kept. The reserve is filled with no lock held, after a change where interrupts are on, and by the idle loop
//! otherwise. A change that finds too little is refused, whole.
//!
//! **The loop ends** (I10). Growing the store is itself a change, of one aligned block of 2 MiB:
//! 1. *It takes one table at most*: the only larger page around such a block is one of 1 GiB, and splitting that takes
//!    one. Its records come from ordinary frames, so they are in no loop.
//! 2. *That table is there.* The store hands its last two tables (`KEPT_FOR_GROWING`) to growing alone; where the
//!    reserve is empty, growing moves one of them there first. The second is for another try: a change by another CPU
//!    may take the first out of the reserve in between. Growing is refused then, and the block goes back. If both are
//!    lost so, changes that need a table are refused until a restore gives one back: no CPU waits, and nothing is half
//!    done.
//! 3. *It does not grow again.* Like each change, that of growing ends by filling the reserve, which may find the store
//!    short. One CPU grows or shrinks the store at a time, so this inner filling is turned away and takes what the
//!    store has above the last two.

mod filling;
pub mod reserve;
pub mod stock;
pub mod store;
mod surplus;

#[cfg(feature = "lab")]
pub use filling::come_to_rest;
pub use filling::{fill, fill_for, fill_if_allowed, fill_if_wanted, free_kept_if_quiet, renew};
pub use reserve::{is_off_level, want};
#[cfg(feature = "lab")]
pub use surplus::give_back;
pub use surplus::start;
