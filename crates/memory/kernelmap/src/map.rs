//! [`KernelMap`]: memory whose frames need not be contiguous, at contiguous addresses, and the memory of devices.
//!
//! ```text
//!   alloc ──> Region: addresses ──> tables above (stay) ──> entries: frames, or tables of frames
//!   free  ──> entries hidden ──> Ring: waits with its CPU ──flush──> frames, tables, addresses
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `map` | [`KernelMap`]: making it; its settings |
//! | `layout` | [`MapLayout`], [`MapAddresses`]: memory for tables, and addresses |
//! | `alloc`, `adopt` | making areas; taking over areas that were mapped before |
//! | `reserve` | areas whose pages come and go |
//! | `waiting` | giving back; [`FlushPolicy`]; memory that waits |
//! | `protect` | changing the rights of pages that are mapped |
//! | `moving`, `batch` | exchanging frames for those of another node; the steps of it, which any CPU can make |
//! | `claim` | which CPU changes the entries of a movable area |
//! | `by_address` | areas whose handle was given up for their address, or that are found by it |
//! | `region`, `release` | the entries of areas, and the tables above them; giving back frames and tables |
//! | `hidden` | entries that wait |
//! | `flushes`, `ring` | numbers of flushes; the areas that wait with a CPU |
//! | `area`, `error`, `limits` | [`Area`], [`AreaRequest`]; [`AreaError`]; what owners may have |
//! | `report`, `validate` | lists and figures; the check of all structures |
//! | `home` | [`Home`]: frames, tables and flushes |
//!
//! # Theory
//! 1. **An entry has one owner.** The holder of an area writes the entries of its own units, with no lock and no
//!    counter; see [`region`]. Several areas share the tables above, which are never taken away.
//! 2. **The table is the list.** Frames that wait for a flush are remembered by their own entries ([`hidden`]), so that
//!    giving an area back needs no memory and cannot fail.
//! 3. **One flush serves many.** A full flush has a number, and so has an area that waits ([`flushes`]): whichever CPU
//!    flushes, each CPU sees which of its own areas wait no longer.
//! 4. **Frames may be exchanged under a movable area.** Any CPU can finish what another one has begun ([`batch`]), so that
//!    a writer that comes to a page on the move waits for no CPU but those that it flushes.
//! 5. **No recursion** (I10). Records of ranges are objects of the slab allocator, frames and tables come from the
//!    allocator of frames; neither needs this map.

mod adopt;
mod alloc;
mod area;
mod batch;
mod by_address;
mod claim;
mod error;
mod flushes;
mod hidden;
mod home;
mod layout;
mod limits;
mod moving;
mod protect;
mod region;
mod release;
mod report;
mod reserve;
mod ring;
mod validate;
mod waiting;

use arrayvec::ArrayVec;
use rhumb_frames::Owner;
use rhumb_machine::{PageSize, Pinned};
use rhumb_slab::Cache;
use rhumb_sync::Keepers;
use rhumb_sync::atomic::{AtomicU8, AtomicU64, Relaxed};

pub use area::{Area, AreaKind, AreaRequest, ForeignArea};
pub use error::{AreaError, MapLayoutError};
pub use home::{FlushKey, FlushNumber, Home, NotCopied, copy_direct};
pub use layout::{MapAddresses, MapLayout};
pub use moving::Moved;
pub use report::{AreaReport, KernelMapReport};
pub use validate::MapInconsistency;
pub use waiting::FlushPolicy;

use crate::arena::{Arena, Tag};
use crate::storage::Storage;
use area::MOST_PAGES;
use batch::Moves;
use flushes::Flushes;
use layout::{UNITS, check_addresses};
use limits::{Account, Accounts, OWNERS, UNLIMITED};
use region::Region;
use ring::CpuRing;

/// All CPUs together have at most one in this many pages of memory waiting.
const WAITING_SHARE: u64 = 64;
/// Pages that wait with a CPU before it flushes, at most and at least.
const MOST_WAITING_PAGES: u64 = 2048;
const LEAST_WAITING_PAGES: u64 = 64;

/// The kernel's map of what is truly virtual. See the [module](self).
pub struct KernelMap<H: Home> {
    home: H,
    regions: ArrayVec<Region<H::Machine>, 3>,
    rings: &'static [CpuRing],
    keepers: Keepers,
    flushes: Flushes,
    accounts: Accounts,
    policy: AtomicU8,
    /// Pages that may wait with a CPU before it flushes.
    most_waiting: AtomicU64,
    /// Tables above areas, which stay.
    upper_tables: AtomicU64,
    moves: Moves,
}

impl<H: Home> KernelMap<H> {
    /// Makes a map of these addresses, with the lazy policy. The records of its ranges come from `tags`. `memory` is
    /// lent for the tables, and may hold anything.
    ///
    /// # Errors
    /// [`MapLayoutError`]: the tree must have the level-3 tables of all addresses, so that entries of its root, of
    /// which other address spaces have copies, never change.
    ///
    /// # Safety
    /// Nothing else maps anything at these addresses, or uses them.
    #[expect(unsafe_code, reason = "hands out addresses")]
    pub unsafe fn new(
        home: H,
        layout: MapLayout,
        addresses: MapAddresses,
        tags: &'static Cache<Tag, H::Machine>,
        pinned: Pinned<'_>,
        memory: &'static mut [u64],
    ) -> Result<Self, MapLayoutError> {
        let (given, needed) = (size_of_val(memory), layout.storage_bytes());
        let too_small = MapLayoutError::StorageTooSmall(given, needed);
        if given < needed {
            return Err(too_small);
        }
        let mut rest = memory;
        let mut regions = ArrayVec::new();
        for unit in UNITS {
            let addresses = addresses.of(unit);
            let arena = layout.arena(unit);
            let words = arena.storage_bytes().div_ceil(size_of::<u64>());
            let (tables, others) = rest.split_at_mut_checked(words).ok_or(too_small)?;
            rest = others;
            if addresses.is_empty() && unit == PageSize::Size1G {
                continue;
            }
            check_addresses(&home, addresses)?;
            if regions.iter().any(|other: &Region<H::Machine>| other.addresses.overlaps(addresses)) {
                return Err(MapLayoutError::BadAddresses(addresses));
            }
            let arena = Arena::new(arena, tags, tables).map_err(MapLayoutError::Arena)?;
            let region = Region { arena, unit, addresses };
            region.arena.add_span(pinned, region.units_of(addresses)).map_err(MapLayoutError::Arena)?;
            regions.push(region);
        }
        let mut rest = Storage::new(rest);
        let words = Keepers::words(layout.cpus);
        let rings = rest.each(layout.cpus, CpuRing::new).ok_or(too_small)?;
        let accounts = rest.each(OWNERS, Account::new).ok_or(too_small)?;
        let keeping = rest.each(words, || AtomicU64::new(0)).ok_or(too_small)?;
        let unasked = rest.each(words, || AtomicU64::new(0)).ok_or(too_small)?;
        let share = home.frames().totals().present / (WAITING_SHARE * layout.cpus as u64);
        Ok(Self {
            home,
            regions,
            rings,
            keepers: Keepers::new(keeping, unasked),
            flushes: Flushes::new(),
            accounts: Accounts(accounts),
            policy: AtomicU8::new(FlushPolicy::Lazy as u8),
            most_waiting: AtomicU64::new(share.clamp(LEAST_WAITING_PAGES, MOST_WAITING_PAGES)),
            upper_tables: AtomicU64::new(0),
            moves: Moves::new(),
        })
    }

    /// Returns the region for areas of so many pages.
    fn region_for(&self, pages: u64) -> Result<&Region<H::Machine>, AreaError> {
        if pages > MOST_PAGES {
            return Err(AreaError::TooLarge(pages));
        }
        let fits = |region: &&Region<H::Machine>| region.unit.frames() <= pages.max(1);
        // A map without huge units has large ones for all that is larger.
        self.regions.iter().rev().find(fits).ok_or(AreaError::TooLarge(pages))
    }

    fn region(&self, level: u8) -> Option<&Region<H::Machine>> {
        self.regions.get(usize::from(level) - 1)
    }

    fn is_mine(&self, area: &Area) -> bool {
        self.region(area.level).is_some_and(|region| region.arena.is_of(&area.held))
    }

    /// Returns the policy by which CPUs flush.
    pub fn policy(&self) -> FlushPolicy {
        FlushPolicy::from_number(self.policy.load(Relaxed))
    }

    /// Sets the policy by which CPUs flush, and gives back what waits. Returns the policy before.
    pub fn set_policy(&self, pinned: Pinned<'_>, policy: FlushPolicy) -> FlushPolicy {
        let before = self.policy.swap(policy as u8, Relaxed);
        self.reclaim(pinned);
        FlushPolicy::from_number(before)
    }

    /// Gives back the addresses that other CPUs asked this one for, because they found none; one load for each size of unit
    /// where they did not. For the idle loop and the timer.
    pub fn tick(&self, pinned: Pinned<'_>) {
        self.regions.iter().for_each(|region| region.arena.tick(pinned));
    }

    /// Gives back the addresses that this CPU keeps and the spare records of ranges, and asks other CPUs for theirs. For an
    /// exact report.
    pub fn drain(&self, pinned: Pinned<'_>) {
        self.regions.iter().for_each(|region| region.arena.reclaim(pinned));
    }

    /// Has the CPUs that have needed no address but their own since the last call give back the addresses that they keep,
    /// at their next [`KernelMap::tick`]. For a thread that runs every few seconds.
    pub fn trim(&self, pinned: Pinned<'_>) {
        self.regions.iter().for_each(|region| region.arena.trim(pinned));
    }

    /// Sets how many pages may wait with each CPU before it flushes, and returns how many they were. At first: a 64th
    /// of all memory, divided by the CPUs, but 2,048 at most and 64 at least.
    pub fn set_most_waiting(&self, pages: u64) -> u64 {
        self.most_waiting.swap(pages, Relaxed)
    }

    /// Sets how many pages the areas of an owner may have together; `None` ends the limit. Areas that are there count
    /// if the owner had a limit when they were made.
    ///
    /// # Errors
    /// [`AreaError::NoLimitFor`] past 256 owners.
    pub fn set_limit(&self, owner: Owner, pages: Option<u64>) -> Result<(), AreaError> {
        self.accounts.set(owner, pages.unwrap_or(UNLIMITED))
    }

    /// Returns how many pages of an owner count, and how many it may have; `None` where it has no limit.
    pub fn limit(&self, owner: Owner) -> Option<(u64, u64)> {
        self.accounts.get(owner)
    }
}
