//! The plan of a map: how much memory its tables take, and its addresses.

use rhumb_machine::{PageSize, VirtRange, impossible};
use rhumb_pagetable::descend;
use rhumb_sync::Keepers;
use rhumb_sync::atomic::AtomicU64;

use super::error::MapLayoutError;
use super::home::Home;
use super::limits::{Account, OWNERS};
use super::ring::CpuRing;
use crate::arena::ArenaLayout;
use crate::storage::{LINE_BYTES, bytes_for};

/// The sizes of the regions' units, smallest first.
pub(super) const UNITS: [PageSize; 3] = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];

/// The bytes that one entry of a level-3 table spans.
const PIECE_BYTES: u64 = 1 << 30;

/// How much memory a map's tables take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapLayout {
    small: ArenaLayout,
    /// Ranges of large units are not kept by CPUs: any CPU finds the cache of a first one, or none.
    large: ArenaLayout,
    pub(super) cpus: usize,
}

impl MapLayout {
    /// Plans the tables for a machine of `cpus` CPUs.
    ///
    /// # Errors
    /// [`MapLayoutError::BadMachine`].
    pub const fn new(cpus: usize) -> Result<Self, MapLayoutError> {
        match (ArenaLayout::new(cpus), ArenaLayout::new(1)) {
            (Ok(small), Ok(large)) => Ok(Self { small, large, cpus }),
            _ => Err(MapLayoutError::BadMachine),
        }
    }

    /// Returns how many bytes the tables take: 42 KiB, and 10 KiB for each CPU.
    pub const fn storage_bytes(self) -> usize {
        let arenas = self.small.storage_bytes() + (UNITS.len() - 1) * self.large.storage_bytes();
        arenas.next_multiple_of(8) + UNITS.len() * 8 + self.own_bytes()
    }

    pub(super) const fn arena(self, unit: PageSize) -> ArenaLayout {
        match unit {
            PageSize::Size4K => self.small,
            PageSize::Size2M | PageSize::Size1G => self.large,
        }
    }

    const fn own_bytes(self) -> usize {
        bytes_for::<CpuRing>(self.cpus)
            + bytes_for::<Account>(OWNERS)
            + 2 * bytes_for::<AtomicU64>(Keepers::words(self.cpus))
            + LINE_BYTES
    }
}

/// Addresses of a kernel map, whole GiB: a range for areas of each size of unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapAddresses {
    /// For areas of fewer than 512 pages.
    pub small: VirtRange,
    /// For areas of fewer than 2^18 pages.
    pub large: VirtRange,
    /// For larger areas; empty where the map has none.
    pub huge: VirtRange,
}

impl MapAddresses {
    pub(super) const fn of(self, unit: PageSize) -> VirtRange {
        match unit {
            PageSize::Size4K => self.small,
            PageSize::Size2M => self.large,
            PageSize::Size1G => self.huge,
        }
    }
}

/// Checks that the tree has the level-3 tables of these addresses.
pub(super) fn check_addresses<H: Home>(home: &H, addresses: VirtRange) -> Result<(), MapLayoutError> {
    let whole = |address: u64| address.is_multiple_of(PIECE_BYTES);
    let levels = home.root().levels;
    if levels.positions(addresses).is_none()
        || addresses.start() < levels.kernel_half()
        || !whole(addresses.start().get())
        || !whole(addresses.bytes())
    {
        return Err(MapLayoutError::BadAddresses(addresses));
    }
    let tables = home.tables();
    let mut at = addresses.start();
    while at < addresses.end() {
        match descend(&tables, home.root(), at, 3) {
            Some(step) if step.level <= 3 => {}
            _ => return Err(MapLayoutError::NoTable(addresses)),
        }
        match at.checked_add(PIECE_BYTES) {
            Some(next) => at = next,
            None => {
                return impossible!("the addresses do not wrap" => Err(MapLayoutError::BadAddresses(addresses)));
            }
        }
    }
    Ok(())
}
