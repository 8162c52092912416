//! The unmapped pool: frames out of the direct map, taken from it by whole large pages and handed out in pieces.
//!
//! ```text
//!   Frames ──order 9──> one change, one flush ──> block: 512 bits ──buddy──> Frame<Unmapped>, orders 0..=9, all zero
//!     ^                                             │    ^                          │
//!     └ one restore, at most 1 flush <─ last frame ─┘    └── zeroed by a window <───┘ give
//! ```
//!
//! # The states of a block
//!
//! A block is 2 MiB (or, by `grow`, one of the 512 *members* of 1 GiB). Each arrow is a function; those of `block_lists`
//! run under the lock of the block lists, so a block is in one state at a time for all CPUs.
//!
//! ```text
//!   the allocator's
//!         │  BlockLists::take finds nothing: the block is charged to its owner, one CPU grows
//!         v
//!   charged ─────────── no block to be had: BlockLists::end_growing ──────────> the charge is gone
//!         │  presence::out: cleared, out of the map, flushed
//!         v
//!      out, in no list
//!         │  insert_and_take (alone)            │  insert_member (of 1 GiB), 512 times, then end_group
//!         v                                     v
//!    listed, partial <───── take_run ───── listed, whole member          in its owner's bin, by fullness
//!     │   ^       │                             ^    │
//!     │   │       └──── give: the last frame ───┘    │  all 512 members whole: the list of whole groups
//!     │   │                                          v
//!     │   │ adopt_spare: charged to the next owner   shrink::pop_group ──┐
//!     v   │                                                              v
//!    whole spare, no owner's ──── shrink::pop_spare ────────────> off the lists
//!     (alone: give, the last frame)                                      │  presence::back: restored, flushed, freed
//!          ^                                                             v
//!          └──── put_back: the map's lock is held, so it stays ─── the allocator's
//! ```
//!
//! A block past the end of the direct map (high memory) takes the same way, but is out of the map as it is: `presence`
//! clears it through windows, and asks the map nothing. Such blocks are taken first.
//!
//! A block with nothing free is in no list; its next `give` lists it again. A frame is *out* from `take_run` to `give`,
//! and is zero whenever its bit says that it is free.
//!
//! | module | owns |
//! |---|---|
//! | [`home`] | [`Home`]: the allocator, the map, and the locks that the caller provides for them |
//! | [`account`] | [`Account`]s: the frames and blocks of each owner, and its limits |
//! | `record` | a block's state, kept in the descriptors of its own frames |
//! | `block_lists` | [`BlockLists`]: the blocks by fullness, under one lock |
//! | `presence` | the two places where frames change their type: out of the map and back |
//! | `grow`, `shrink` | taking blocks and giving them back |
//! | [`planted`] | faults that the tests inject |
//! | [`error`], [`counters`], [`report`] | typed errors; [`PoolCounters`]; [`UnmappedPool::validate`] |
//!
//! # What holds
//! 1. **I3, I6** A block leaves the map by one change of a whole large page, and one flush follows for its 512 frames.
//!    It returns by one restore, which cannot fail and merges the pages that were split for the block. If the restore
//!    changed a present entry or removed a table, one flush follows, before the block goes back to the allocator.
//! 2. **I5** Free frames of the pool are zero. `grow` zeroes a block before it leaves the map. `give` zeroes each frame
//!    through a window before the frame is listed as free. So no secret is ever reachable through the map, and each
//!    frame is handed out clean. A `Frame<Unmapped>` can be neither freed nor made a mapped one without unsafe code,
//!    and losing one is counted:
//!
//! ```compile_fail,E0277
//! use rhumb_frames::{Frame, Frames, Unmapped};
//! fn free<M: rhumb_machine::Machine>(frames: &Frames<M>, pinned: rhumb_machine::Pinned<'_>, frame: Frame<Unmapped>) {
//!     frames.free(pinned, frame);
//! }
//! ```
//! ```compile_fail,E0133
//! use rhumb_frames::{Frame, Unmapped};
//! fn back(frame: Frame<Unmapped>) -> Frame {
//!     frame.assume_mapped()
//! }
//! ```
//! ```compile_fail
//! #![deny(unused_must_use)]
//! use rhumb_unmapped::{Home, UnmappedPool};
//! use rhumb_frames::Owner;
//! fn lose<H: Home>(pool: &UnmappedPool<H>, pinned: rhumb_machine::Pinned<'_>) {
//!     pool.take(pinned, Owner(1), rhumb_machine::Order::BASE);
//! }
//! ```
//! 3. **I10** A block's state is kept in the descriptors of its first frames, in the words that belong to the holder of
//!    the frame: the pool. So it allocates nothing for itself, however large it grows. A holder of a `Frame<Unmapped>`
//!    cannot write its descriptor.
//! 4. **I11** A block that has frames out is one account's, and no other owner gets a frame of it. An account has three
//!    limits: on its blocks, on its frames, and on how often a block leaves the map for it. So the frames out of the
//!    map never exceed the sum of all limits plus the spares, `max(4, blocks / 8)`, and the flushes never exceed the
//!    sum of the rates. The map's own limit, on large pages split, holds for the pool as a whole.
//! 5. **Fullest first.** A request is served from the fullest of the owner's blocks that can serve it, so that the
//!    others empty.
//!
//! Locking: the lock of the block lists and the map's, never both at once, and neither while the allocator is called,
//! memory is cleared or CPUs are flushed. The lock of the block lists is held for a constant number of steps: work on a
//! whole gigabyte, or on all blocks, takes the lock for one 2-MiB block after another.
#![no_std]
#![deny(unsafe_code)]

pub mod account;
mod block_lists;
pub mod counters;
pub mod error;
mod grow;
pub mod home;
pub mod planted;
mod presence;
mod record;
pub mod report;
mod shrink;

use rhumb_frames::{Frame, Owner, Unmapped};
use rhumb_machine::{Machine, Order, Pinned};

pub use account::{Account, Holdings, Limits};
pub use block_lists::BlockLists;
pub use counters::PoolCounters;
pub use error::{GiveError, PoolError, Refused};
pub use home::Home;
pub use report::PoolInconsistency;

use block_lists::{Request, Served};

use planted::Fault;

/// Frames out of the direct map. See the module.
#[derive(Debug)]
pub struct UnmappedPool<H: Home> {
    home: H,
}

impl<H: Home> UnmappedPool<H> {
    /// Makes the pool over what `home` leads to.
    pub const fn new(home: H) -> Self {
        Self { home }
    }

    /// Opens an account: the limits of `owner` from now on. An open account gets the new limits and keeps its frames.
    ///
    /// # Errors
    /// [`PoolError::NoAccount`] where the lists have no place for this owner's number.
    pub fn open_account(&self, owner: Owner, limits: Limits) -> Result<(), PoolError> {
        self.home.with_lists(|lists| lists.open_account(owner, limits))
    }

    /// Returns what `owner` has; `None` where it has no account.
    pub fn account(&self, owner: Owner) -> Option<Holdings> {
        self.home.with_lists(|lists| lists.holdings(owner))
    }

    /// Closes an account.
    ///
    /// # Errors
    /// [`PoolError::AccountInUse`] while frames or blocks are charged to it; [`PoolError::TooFast`] while the owner has
    /// spent more of its rate than the time since has given it: an account that is opened anew begins without that
    /// debt.
    pub fn close_account(&self, owner: Owner) -> Result<(), PoolError> {
        let now_ns = self.home.frames().machine().now_ns();
        self.home.with_lists(|lists| lists.close_account(owner, now_ns))
    }

    /// Sets how many wholly free blocks stay in the pool at least, and returns how many did before; four if not set.
    /// One in eight of the blocks that are out stays in any case.
    pub fn keep_blocks(&self, blocks: u64) -> u64 {
        self.home.with_lists(|lists| {
            let before = lists.kept_blocks();
            lists.keep_blocks(blocks);
            before
        })
    }

    /// Takes a block of `order` (0 to 9), zeroed, out of the direct map, charged to `owner`.
    ///
    /// Where none of the owner's blocks has room, it takes one of 2 MiB, after a compaction if need be. One CPU at a
    /// time does that for an owner; others that want one for this owner wait for it.
    ///
    /// # Errors
    /// [`PoolError`]; nothing has changed then.
    ///
    /// Cost: a short hold of the lock of the block lists. Once in 512 frames 2 MiB are cleared, the map is changed (one
    /// write, 513 where a 1-GiB page is split), and all CPUs are flushed once.
    pub fn take(&self, pinned: Pinned<'_>, owner: Owner, order: Order) -> Result<Frame<Unmapped>, PoolError> {
        let frames = self.home.frames();
        let request = Request { owner, order, cpu: frames.machine().cpu_of(pinned) };
        let pfn = loop {
            match self.home.with_lists(|lists| lists.take(frames, request))? {
                Served::Frame(pfn) => break pfn,
                Served::NeedsBlock => break self.grow_and_take(pinned, request)?,
                Served::Wait => self.home.relax(),
            }
        };
        presence::part(frames, pfn, order).ok_or(PoolError::NotABlock { pfn })
    }

    /// Gives a frame back. It is zeroed through a window while it is still out of the map, and before another taker can
    /// have it.
    ///
    /// The block whose last frame it was goes back to the allocator, unless few such are kept.
    ///
    /// # Errors
    /// The frame, unchanged, where it is not of this pool, or the pool has it already.
    pub fn give(&self, pinned: Pinned<'_>, mut frame: Frame<Unmapped>) -> Result<(), Refused> {
        let (frames, pfn, order) = (self.home.frames(), frame.pfn(), frame.order());
        if frame.brand() != frames.brand() {
            return Err(Refused { frame, error: GiveError::Foreign { pfn } });
        }
        if let Err(error) = self.home.with_lists(|lists| lists.check_out(frames, pfn, order)) {
            return Err(Refused { frame, error });
        }
        if planted::is(Fault::ListedBeforeZeroed) {
            let _ = self.home.with_lists(|lists| lists.give(frames, pfn, order));
            let _ = self.home.zero(&mut frame);
            let _ = frame.into_pfn();
            return Ok(());
        }
        if let Err(error) = self.home.zero(&mut frame) {
            return Err(Refused { frame, error: GiveError::NotZeroed(error) });
        }
        match self.home.with_lists(|lists| lists.give(frames, pfn, order)) {
            Ok(()) => {
                let _ = frame.into_pfn();
                self.shed(pinned);
                Ok(())
            }
            Err(error) => Err(Refused { frame, error }),
        }
    }
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
