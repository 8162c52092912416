//! The supply of page tables for the direct map: its reserve, and the store behind the reserve.
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
//! | [`surplus`] | giving tables back: those past the level, or when the allocator is short |
//! | [`stock`] | tables on their way between source and reserve |
//! | [`store`] | blocks of protected tables |
//!
//! **No change waits for memory.** A change takes tables from the reserve, under the map's lock (I7), and uses the
//! tables that the map has kept since the last merges of the same blocks. Where the reserve is short, one flush brings
//! it all kept tables. Tables for the reserve are fetched with no lock held: after a change where interrupts are on,
//! and by the idle loop otherwise. A change for which there are too few tables is refused as a whole.
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
