//! The plan of the map, checked and counted before anything is touched.
//!
//! A plan costs a few steps for each range of RAM and each read-only range, whatever their length: 1 TiB is planned as
//! quickly as 1 MiB. It holds no list; pieces are made again whenever they are gone through.

use core::fmt;

use rhumb_machine::{PageSize, Pfn, PhysAddr, PhysRange, VirtAddr, VirtRange};
use rhumb_pagetable::{Attributes, Levels, MapError, Mapping, PageCounts, Root, tables_needed};

use crate::address_range::{address_range, needs_five_levels};
use crate::pieces::{Piece, Pieces};

/// The request for a direct map.
///
/// `R` is anything that gives the ranges of RAM, again and again: a slice's iterator with `copied()`, for example.
#[derive(Clone, Debug)]
pub struct PlanRequest<'ranges, R> {
    /// The virtual address of physical address 0: in the [`address_range()`], a multiple of 1 GiB.
    pub base: VirtAddr,
    /// How deep the tables are.
    pub levels: Levels,
    /// RAM: ascending, not overlapping, of whole 4-KiB frames. Ranges may adjoin or be empty.
    pub ram: R,
    /// The memory that must not be written through the map, because it is executable or read-only elsewhere: ascending,
    /// not overlapping, of whole frames. Where it is not RAM it has no effect.
    pub read_only: &'ranges [PhysRange],
    /// The largest page to use.
    pub largest: PageSize,
    /// RAM from here on is left out, whole frames: high memory.
    pub limit: Option<PhysAddr>,
}

/// One of the lists in a [`PlanRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// [`PlanRequest::ram`].
    Ram,
    /// [`PlanRequest::read_only`].
    ReadOnly,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ram => "RAM",
            Self::ReadOnly => "read-only",
        })
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirectMapError {
    /// There is no RAM, or none below the limit.
    NoRam,
    /// A range lies below its predecessor's end.
    Unsorted {
        /// In which list.
        list: List,
        /// That range.
        range: PhysRange,
    },
    /// A range is not of whole frames.
    Unaligned {
        /// In which list.
        list: List,
        /// That range.
        range: PhysRange,
    },
    /// The base is not a multiple of 1 GiB: no 1-GiB page could ever be used.
    BaseUnaligned {
        /// The base.
        base: VirtAddr,
    },
    /// The base is not in the direct map's address range.
    BaseOutOfRange {
        /// The base.
        base: VirtAddr,
        /// The address range.
        range: VirtRange,
    },
    /// RAM reaches past the end of the address range.
    TooMuchRam {
        /// Where RAM (below the limit) ends.
        ram_end: PhysAddr,
        /// The address range.
        range: VirtRange,
        /// How deep the tables are.
        levels: Levels,
    },
    /// A piece cannot be mapped at all.
    Map(MapError),
}

impl fmt::Display for DirectMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoRam => f.write_str("there is no RAM to map"),
            Self::Unsorted { list, range } => {
                write!(f, "{list} range {range} overlaps or precedes the range before it")
            }
            Self::Unaligned { list, range } => write!(f, "{list} range {range} is not of whole 4-KiB frames"),
            Self::BaseUnaligned { base } => write!(f, "the base {base} is not a multiple of 1 GiB"),
            Self::BaseOutOfRange { base, range } => write!(f, "the base {base} is not in {range}"),
            Self::TooMuchRam { ram_end, range, levels } => {
                write!(f, "RAM ends at {ram_end}, too far for the direct map's {:#x} bytes", range.bytes())?;
                if levels == Levels::Four && needs_five_levels(ram_end) {
                    f.write_str(": 5-level paging (la57) is needed")?;
                }
                Ok(())
            }
            Self::Map(ref error) => write!(f, "the direct map: {error}"),
        }
    }
}

impl core::error::Error for DirectMapError {}

impl From<MapError> for DirectMapError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// A direct map that can be built.
#[derive(Clone, Debug)]
pub struct Plan<'ranges, R> {
    request: PlanRequest<'ranges, R>,
    limit: PhysAddr,
    tables: u64,
    pages: PageCounts,
    high_bytes: u64,
}

impl<'ranges, R> Plan<'ranges, R>
where
    R: Clone + IntoIterator<Item = PhysRange>,
{
    /// Checks a request and counts what it takes.
    pub fn new(request: &PlanRequest<'ranges, R>) -> Result<Self, DirectMapError> {
        check_base(request)?;
        check_ascending(List::ReadOnly, request.read_only.iter().copied())?;
        let ram_end = check_ascending(List::Ram, request.ram.clone())?;
        let limit = request.limit.unwrap_or(ram_end).min(ram_end).align_down(PageSize::Size4K);
        let mut plan =
            Self { request: request.clone(), limit, tables: 0, pages: PageCounts::NONE, high_bytes: 0 };
        let range = address_range(request.levels);
        let Some(mapped_end) = plan.pieces().last().map(|piece| piece.phys.end()) else {
            return Err(DirectMapError::NoRam);
        };
        if mapped_end.get() > range.end().since(request.base) {
            return Err(DirectMapError::TooMuchRam { ram_end: mapped_end, range, levels: request.levels });
        }
        let ram_bytes: u64 = request.ram.clone().into_iter().map(PhysRange::bytes).sum();
        plan.mappings().for_each(|mapping| plan.pages.add_all(mapping.pages()));
        plan.high_bytes = ram_bytes - plan.pages.bytes();
        // Which table is the root does not matter to the count.
        let root = Root::new(Pfn::new(0), request.levels);
        plan.tables = tables_needed(&root, plan.mappings())?;
        Ok(plan)
    }

    /// Returns how many tables the map takes below the root (which is the caller's), if nothing else is mapped in its
    /// range.
    pub const fn tables(&self) -> u64 {
        self.tables
    }

    /// Returns how many pages of each size the map consists of.
    pub const fn pages(&self) -> PageCounts {
        self.pages
    }

    /// Returns how many bytes of RAM are in the map.
    pub const fn mapped_bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// Returns how many bytes of RAM are at or past the limit, and so not in the map.
    pub const fn high_bytes(&self) -> u64 {
        self.high_bytes
    }

    /// Returns the virtual address of physical address 0.
    pub const fn base(&self) -> VirtAddr {
        self.request.base
    }

    /// Returns how deep the tables are.
    pub const fn levels(&self) -> Levels {
        self.request.levels
    }

    /// Returns the RAM in the map, divided where permissions change.
    pub fn pieces(&self) -> Pieces<'ranges, R::IntoIter> {
        Pieces::new(self.request.ram.clone().into_iter(), self.request.read_only, self.limit)
    }

    /// Returns the pieces as mappings: at `phys + base` (I1), write-back, supervisor, global, never executable.
    pub fn mappings(&self) -> impl Iterator<Item = Mapping> + use<'ranges, R> {
        let (base, largest) = (self.request.base, self.request.largest);
        self.pieces().map(move |Piece { phys, access }| Mapping {
            virt: base.plus(phys.start().get()),
            phys,
            attributes: Attributes::kernel(access),
            largest,
        })
    }
}

fn check_base<R>(request: &PlanRequest<'_, R>) -> Result<(), DirectMapError> {
    let (base, range) = (request.base, address_range(request.levels));
    if !base.is_aligned(PageSize::Size1G) {
        return Err(DirectMapError::BaseUnaligned { base });
    }
    if !range.contains(base) {
        return Err(DirectMapError::BaseOutOfRange { base, range });
    }
    Ok(())
}

/// Returns where `ranges` end, if they are ascending and of whole frames.
fn check_ascending<I>(list: List, ranges: I) -> Result<PhysAddr, DirectMapError>
where
    I: IntoIterator<Item = PhysRange>,
{
    let mut end = PhysAddr::ZERO;
    for range in ranges {
        if !range.is_aligned(PageSize::Size4K) {
            return Err(DirectMapError::Unaligned { list, range });
        }
        if range.start() < end {
            return Err(DirectMapError::Unsorted { list, range });
        }
        end = range.end();
    }
    Ok(end)
}
