//! Frames out of the direct map: the kernel's one [`UnmappedPool`], its locks, its accounts.
//!
//! ```text
//!   take ─> Frame<Unmapped>, zero, in no map ─> windows: copy_to, copy_from ─> give: zeroed by a window, then the pool's again
//! ```
//!
//! Blocks come from the frame allocator and go back to it when it is short: the pool is one of its reclaimers. In the
//! direct map's journal all blocks are held by one owner, `unmapped pool`; the pool's accounts tell how much of
//! them each owner has. A block is one account's.
//!
//! Locking: the lock of the block lists is a leaf. Windows take none.

use core::fmt;

use rhumb_directmap::{OwnerId, Reserve};
use rhumb_frames::{Frame, Frames, Reclaimer, Shortage, Unmapped};
use rhumb_machine::{Machine, Order, Pinned};
use rhumb_pagetable::flush::Rounds;
use rhumb_pagetable::{FlushCause, FlushStats};
use rhumb_unmapped::{Account, BlockLists, Home, Limits, PoolError, Refused, UnmappedPool};
use rhumb_windows::error::CopyError;
use spin::Once;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use x86_64::instructions::interrupts;

use super::direct_map::table_supply;
use super::movable;
use super::rules::KernelRules;
use super::tables::{self, DirectTables, KernelDirectMap};
use super::window_tables::KernelWindows;
use super::windows::{self, NoTable};
use crate::cpu::lock::IrqMutex;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{call, tlb};
use crate::facts::Boot;
use crate::mm::owners::{self, MAX_OWNERS, Owner};

static POOL: Once<UnmappedPool<KernelHome>> = Once::new();
/// The accounts, which the pool keeps permanently.
static ACCOUNTS: SpinMutex<[Account; MAX_OWNERS]> = SpinMutex::new([const { Account::CLOSED }; MAX_OWNERS]);

/// Why there is no pool.
#[derive(Debug)]
pub enum StartError {
    /// There are no windows.
    Windows(NoTable),
    /// The direct map does not know the pool.
    NoOwner,
    /// An account cannot be opened.
    Account(PoolError),
    /// The allocator has no place for another reclaimer.
    TooManyReclaimers,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windows(error) => error.fmt(f),
            Self::NoOwner => f.write_str("the direct map does not know the pool"),
            Self::Account(error) => error.fmt(f),
            Self::TooManyReclaimers => f.write_str("the allocator has too many reclaimers"),
        }
    }
}

/// Makes windows and pool. Once, at boot, when the direct map can be changed.
///
/// # Errors
/// [`StartError`]: there is no pool then.
pub fn start(boot: &Boot, frames: &'static Frames<KernelMachine>) -> Result<(), StartError> {
    let windows = windows::start(boot, frames).map_err(StartError::Windows)?;
    let in_map = owners::UNMAPPED_POOL.in_map().ok_or(StartError::NoOwner)?;
    let pool = POOL.call_once(|| {
        let accounts = SpinMutexGuard::leak(ACCOUNTS.lock());
        UnmappedPool::new(KernelHome {
            frames,
            windows,
            owner: in_map,
            lists: IrqMutex::new(BlockLists::new(accounts)),
        })
    });
    for owner in owners::all().filter(|owner| owner.has_account()) {
        set_limits(pool, owner, Limits::NONE).map_err(StartError::Account)?;
    }
    frames.register_reclaimer(&SpareBlocks).map_err(|_| StartError::TooManyReclaimers)
}

/// Returns the pool, for reports and checks; `None` before [`start`].
pub fn pool() -> Option<&'static UnmappedPool<KernelHome>> {
    POOL.get()
}

/// Sets what an owner may have from now on.
///
/// # Errors
/// [`PoolError::NoAccount`] where there is none, nor place for one.
pub fn set_limits(pool: &UnmappedPool<KernelHome>, owner: Owner, limits: Limits) -> Result<(), PoolError> {
    pool.open_account(owner.in_frames(), limits)
}

/// Takes a zeroed block of `order` out of the direct map.
///
/// # Errors
/// See [`UnmappedPool::take`].
///
/// Cost: see there; once in 512 frames the map is changed and all CPUs are flushed.
pub fn take(owner: Owner, order: Order) -> Result<Frame<Unmapped>, PoolError> {
    let owner = owner.in_frames();
    let pool = pool().ok_or(PoolError::NoAccount { owner })?;
    let taken = {
        let guard = MACHINE.pin();
        pool.take(guard.pinned(), owner, order)
    };
    fill_reserve();
    taken
}

/// Takes 1 GiB out of the direct map in advance, zeroed: by one change and one flush.
///
/// # Errors
/// See [`UnmappedPool::grow`].
///
/// Cost: all of it is cleared; a part of a 1-GiB page is split, too.
pub fn grow(owner: Owner) -> Result<(), PoolError> {
    let owner = owner.in_frames();
    let pool = pool().ok_or(PoolError::NoAccount { owner })?;
    let grown = {
        let guard = MACHINE.pin();
        pool.grow(guard.pinned(), owner)
    };
    fill_reserve();
    grown
}

/// Gives it back, zeroed.
///
/// # Errors
/// The frame, where it is not the pool's.
pub fn give(frame: Frame<Unmapped>) -> Result<(), Refused> {
    let Some(pool) = pool() else {
        let error = rhumb_unmapped::GiveError::Foreign { pfn: frame.pfn() };
        return Err(Refused { frame, error });
    };
    let given = {
        let guard = MACHINE.pin();
        pool.give(guard.pinned(), frame)
    };
    fill_reserve();
    given
}

/// Gives all wholly free blocks back to the allocator, and says how many frames.
pub fn shrink() -> u64 {
    let Some(pool) = pool() else { return 0 };
    let freed = core::iter::from_fn(|| pool.shrink_by_one(MACHINE.pin().pinned(), 0)).sum();
    fill_reserve();
    freed
}

/// Fills up the reserve after a change of the map, where interrupts are on; the idle loop does it otherwise.
fn fill_reserve() {
    if interrupts::are_enabled() {
        table_supply::fill_if_wanted();
    }
}

/// Asks for the reserve to be filled up if a change has left it off its level.
fn note<A>((answer, left): (A, Reserve)) -> A {
    if table_supply::is_off_level(left) {
        table_supply::want(left);
    }
    answer
}

/// The allocator, the map and the locks under the pool.
pub struct KernelHome {
    frames: &'static Frames<KernelMachine>,
    windows: &'static KernelWindows,
    owner: OwnerId,
    lists: IrqMutex<BlockLists>,
}

// SAFETY: there is one allocator, one map and one set of windows; `start` makes the only value, so the lists in it are
// the pool's alone; no other part of the kernel changes the map as `owners::UNMAPPED_POOL`; `zero` clears each page
// through a window; `cpu::tlb::flush_targets` waits for a CPU that begins to use the map until it is counted in
// `online`.
unsafe impl Home for KernelHome {
    type Machine = KernelMachine;
    type Tables = DirectTables;
    type Rules = KernelRules;

    fn frames(&self) -> &Frames<KernelMachine> {
        self.frames
    }

    fn with_map<A>(&self, act: impl FnOnce(&mut KernelDirectMap) -> A) -> A {
        note(tables::with_handed_over(|map| (act(map), map.reserve())))
    }

    fn try_with_map<A>(&self, act: impl FnOnce(&mut KernelDirectMap) -> A) -> Option<A> {
        tables::try_with_direct_map(|map| (act(map), map.reserve())).map(note)
    }

    fn rounds(&self) -> Option<&Rounds> {
        Some(&tlb::ROUNDS)
    }

    fn wait_for_round(&self) -> impl FnMut() {
        tlb::waiting_for_round()
    }

    fn with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> A {
        act(&mut self.lists.lock())
    }

    fn try_with_lists<A>(&self, act: impl FnOnce(&mut BlockLists) -> A) -> Option<A> {
        self.lists.try_lock().map(|mut lists| act(&mut lists))
    }

    fn zero(&self, frame: &mut Frame<Unmapped>) -> Result<(), CopyError> {
        self.windows.zero(frame)
    }

    fn map_owner(&self) -> OwnerId {
        self.owner
    }

    fn relax(&self) {
        call::serve_if_here();
        core::hint::spin_loop();
    }

    fn compact(&self, pinned: Pinned<'_>) -> u64 {
        movable::make_block(pinned)
    }

    fn note_flush(&self, flushed: FlushStats) {
        tlb::count(FlushCause::Pool, flushed);
    }
}

/// The reclaimer that the allocator is told of at boot.
struct SpareBlocks;

impl Reclaimer for SpareBlocks {
    fn name(&self) -> &str {
        "unmapped pool"
    }

    /// Does nothing with interrupts off, because giving a block back flushes other CPUs, and the caller may hold a lock
    /// for which one of them waits that cannot be interrupted.
    fn reclaim(&self, pinned: Pinned<'_>, shortage: &Shortage) -> u64 {
        pool().filter(|_| interrupts::are_enabled()).map_or(0, |pool| pool.reclaim(pinned, shortage))
    }
}
