//! Compaction: movable frames are moved together, so that 2-MiB blocks become whole.
//!
//! ```text
//!   a request of order 1 or more finds nothing ─> slabs, spare blocks of the pool ─> compaction ─> once more
//!   the unmapped pool still has no block        ─────────────────────────────────────> compaction ─> once more
//!   `frames compact`                            ─────────────────────────────────────> compaction of all there is
//! ```
//!
//! The frame allocator knows how to empty a block ([`Frames::compact`]); a frame's contents are its owner's. An owner
//! that has movable frames registers a [`Relocate`] here ([`register`]), and is asked about each frame in use.
//!
//! # Rules for owners
//! 1. They are called with interrupts on, no lock of the allocator held, on any CPU, perhaps in the middle of a request
//!    of their own that was made under their own lock. So they *try* their locks, and let a frame stay where it is if
//!    they cannot have one.
//! 2. They do not ask the unmapped pool for frames meanwhile: it waits for its turn to compact. The allocator may be
//!    asked; such a request starts no compaction.
//!
//! # Bounds
//! One compaction at a time. One for a request ends with the first block that is whole, or after [`MOST_MOVED`] frames.
//! After one that was for nothing the next requests are turned away at once, twice as many each time up to
//! [`MOST_PUT_OFF`]; so memory that cannot be compacted is seldom searched for nothing (as on Linux). With interrupts
//! off there is none: caches of other CPUs are called back first, and the caller may hold a lock for which one of them
//! waits.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rhumb_frames::{
    Anywhere, Compaction, Extent, Frame, Frames, Goal, Recall, Reclaimer, Relocate, Shortage, Zone,
};
use rhumb_machine::{MAX_NODES, Machine, NodeId, Order, Pfn, Pinned};
use spin::Once;
use spin::mutex::SpinMutex;
use x86_64::instructions::interrupts;

use super::frames::frames;
use super::recall;
use crate::cpu::machine::{KernelMachine, MACHINE};

/// Owners of movable frames that there can be.
const MAX_OWNERS: usize = 4;

/// Frames that are moved for one request at most: 8 MiB, some milliseconds of copying.
const MOST_MOVED: u64 = 2048;

/// Blocks of a node that could not be emptied, after which the next node is tried: a quarter of the frames for one
/// request goes on their looks.
const MOST_STUCK: u64 = 32;

/// The most requests that are turned away after fruitless compactions, before the next attempt.
pub const MOST_PUT_OFF: u32 = 64;

static OWNERS: [Once<&'static (dyn Relocate + Sync)>; MAX_OWNERS] = [const { Once::new() }; MAX_OWNERS];
/// Taken by the CPU that compacts.
static TURN: SpinMutex<()> = SpinMutex::new(());

/// There is no room for another owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyOwners;

impl fmt::Display for TooManyOwners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {MAX_OWNERS} owners of movable frames")
    }
}

/// Adds an owner of movable frames, permanently.
///
/// # Errors
/// There are four already.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "the kernel owns no movable frames so far"))]
pub fn register(owner: &'static (dyn Relocate + Sync)) -> Result<(), TooManyOwners> {
    for place in &OWNERS {
        let mut is_ours = false;
        place.call_once(|| {
            is_ours = true;
            owner
        });
        if is_ours {
            return Ok(());
        }
    }
    Err(TooManyOwners)
}

/// Lets requests that find no block lead to a compaction. Once, at boot, behind all other reclaimers: they are cheaper.
///
/// # Errors
/// The allocator has no place for it.
pub fn start(frames: &Frames<KernelMachine>) -> Result<(), rhumb_frames::TooManyReclaimers> {
    frames.register_reclaimer(&Compactor)
}

/// Makes a 2-MiB block whole for a caller that can wait. Returns how many it made. Waits for its turn; nothing with
/// interrupts off.
///
/// Called with no lock held for which the owner of movable frames would wait, and not by such an owner.
///
/// Cost: the other CPUs that keep frames are interrupted once; at most [`MOST_MOVED`] frames and those of a block more are copied.
pub fn make_block(pinned: Pinned<'_>) -> u64 {
    let Some(frames) = frames().filter(|_| interrupts::are_enabled()) else { return 0 };
    let _turn = TURN.lock();
    for_request(frames, pinned, Order::LARGE, Zone::High)
}

/// Compacts all memory, as `echo 1 > /proc/sys/vm/compact_memory` does on Linux.
///
/// Cost: bounded by the memory in use alone.
pub fn compact_all(pinned: Pinned<'_>) -> Compaction {
    let mut sum = Compaction::default();
    let Some(frames) = frames().filter(|_| interrupts::are_enabled()) else { return sum };
    let _turn = TURN.lock();
    call_back(frames, pinned);
    for node in (0..MAX_NODES).filter_map(NodeId::new) {
        let done = frames.compact(pinned, node, Goal::Anything, &Owners, u64::MAX);
        sum.blocks += done.blocks;
        sum.moved += done.moved;
        sum.stuck += done.stuck;
    }
    sum
}

/// Makes one compaction for a request, on this CPU's node first. Returns how many blocks became whole. It is the
/// caller's turn.
fn for_request(frames: &Frames<KernelMachine>, pinned: Pinned<'_>, order: Order, ceiling: Zone) -> u64 {
    COUNTERS.stalls.fetch_add(1, Relaxed);
    call_back(frames, pinned);
    let here = MACHINE.node_of(pinned.cpu());
    let others = (0..MAX_NODES).filter_map(NodeId::new).filter(|&node| node != here);
    let mut left = MOST_MOVED;
    let made = core::iter::once(here)
        .chain(others)
        .find_map(|node| on_node(frames, pinned, order, (node, ceiling), &mut left));
    let outcome = if made.is_some() { &COUNTERS.successes } else { &COUNTERS.failures };
    outcome.fetch_add(1, Relaxed);
    PUT_OFF.note(if made.is_some() { Made::Something } else { Made::Nothing });
    made.unwrap_or(0)
}

/// Calls back the frames that CPUs keep to themselves: they are free, but neither movable nor their blocks'.
fn call_back(frames: &Frames<KernelMachine>, pinned: Pinned<'_>) {
    frames.drain(pinned);
    if frames.kept_by_others(pinned) > 0 {
        recall::CrossCall.drain_others(pinned);
    }
}

fn on_node(
    frames: &Frames<KernelMachine>,
    pinned: Pinned<'_>,
    order: Order,
    (node, ceiling): (NodeId, Zone),
    left: &mut u64,
) -> Option<u64> {
    // More than a block takes luck; one is made as soon as anything has moved.
    let budget = if order > Order::LARGE { *left } else { 1 };
    let mut stuck = 0;
    while *left > 0 && stuck < MOST_STUCK {
        let done = frames.compact(pinned, node, Goal::Requests(ceiling), &Owners, budget);
        // A block that cannot be emptied costs its look, and the next call tries another.
        *left = left.saturating_sub(done.moved.max(Compaction::LEAST_COST));
        if done.blocks > 0 {
            return Some(done.blocks);
        }
        if done.moved == 0 && done.stuck == 0 {
            break;
        }
        stuck += done.stuck;
    }
    None
}

/// The reclaimer that the allocator is told of at boot.
struct Compactor;

impl Reclaimer for Compactor {
    fn name(&self) -> &str {
        "compaction"
    }

    /// Says how many frames are in blocks that became whole: no frame more is free than before.
    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64 {
        let wanted = shortage.order > Order::BASE && interrupts::are_enabled();
        let Some(frames) = frames().filter(|_| wanted && !PUT_OFF.takes()) else { return 0 };
        // Try, do not block: the caller may itself own movable frames and hold their lock, and would wait for itself.
        let Some(_turn) = TURN.try_lock() else { return 0 };
        for_request(frames, pinned, shortage.order, shortage.ceiling) * Order::LARGE.frames()
    }
}

/// The outcome of a compaction.
enum Made {
    Something,
    Nothing,
}

/// Requests that are turned away after a compaction for nothing.
struct PutOff {
    left: AtomicU32,
    next: AtomicU32,
}

static PUT_OFF: PutOff = PutOff { left: AtomicU32::new(0), next: AtomicU32::new(1) };

impl PutOff {
    /// Tells whether this request is one of them.
    fn takes(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Notes whether a compaction made a block whole. It is the caller's turn.
    fn note(&self, made: Made) {
        let next = self.next.load(Relaxed);
        let (left, next) = match made {
            Made::Something => (0, 1),
            Made::Nothing => (next, (next * 2).min(MOST_PUT_OFF)),
        };
        self.left.store(left, Relaxed);
        self.next.store(next, Relaxed);
    }
}

/// All owners as one.
struct Owners;

impl Owners {
    fn all() -> impl Iterator<Item = &'static (dyn Relocate + Sync)> {
        OWNERS.iter().map_while(|place| place.get().copied())
    }
}

// SAFETY: each owner keeps the contract for its own frames, and no other value answers for them.
unsafe impl Relocate for Owners {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        COUNTERS.scanned.fetch_add(1, Relaxed);
        Self::all().find_map(|owner| owner.extent(pfn))
    }

    fn relocate(
        &self,
        pinned: Pinned<'_>,
        from: Extent,
        mut to: Frame<Anywhere>,
    ) -> Result<(), Frame<Anywhere>> {
        for owner in Self::all().filter(|owner| owner.extent(from.start) == Some(from)) {
            match owner.relocate(pinned, from, to) {
                Ok(()) => {
                    COUNTERS.moved.fetch_add(from.order.frames(), Relaxed);
                    return Ok(());
                }
                Err(back) => to = back,
            }
        }
        COUNTERS.refused.fetch_add(from.order.frames(), Relaxed);
        Err(to)
    }
}

struct Cells {
    stalls: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    scanned: AtomicU64,
    moved: AtomicU64,
    refused: AtomicU64,
}

static COUNTERS: Cells = Cells {
    stalls: AtomicU64::new(0),
    successes: AtomicU64::new(0),
    failures: AtomicU64::new(0),
    scanned: AtomicU64::new(0),
    moved: AtomicU64::new(0),
    refused: AtomicU64::new(0),
};

/// The counts of compaction since boot, by the names that `/proc/vmstat` has for them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Requests that had to compact themselves.
    pub compact_stall: u64,
    /// Of these, those for which a block became whole.
    pub compact_success: u64,
    /// Those for which none did.
    pub compact_fail: u64,
    /// How often owners were asked whether a frame can be moved.
    pub compact_migrate_scanned: u64,
    /// Frames moved.
    pub pgmigrate_success: u64,
    /// Frames that their owner could not move after all.
    pub pgmigrate_fail: u64,
}

impl Counters {
    /// Returns each with its name.
    pub const fn lines(&self) -> [(&'static str, u64); 6] {
        [
            ("compact_stall", self.compact_stall),
            ("compact_success", self.compact_success),
            ("compact_fail", self.compact_fail),
            ("compact_migrate_scanned", self.compact_migrate_scanned),
            ("pgmigrate_success", self.pgmigrate_success),
            ("pgmigrate_fail", self.pgmigrate_fail),
        ]
    }
}

/// Returns the counts so far.
pub fn counters() -> Counters {
    Counters {
        compact_stall: COUNTERS.stalls.load(Relaxed),
        compact_success: COUNTERS.successes.load(Relaxed),
        compact_fail: COUNTERS.failures.load(Relaxed),
        compact_migrate_scanned: COUNTERS.scanned.load(Relaxed),
        pgmigrate_success: COUNTERS.moved.load(Relaxed),
        pgmigrate_fail: COUNTERS.refused.load(Relaxed),
    }
}
