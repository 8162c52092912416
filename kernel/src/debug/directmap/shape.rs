//! Whether the map is, bit for bit, what boot planned.
//!
//! The plan is made once more, from the memory map, and its entries are summed up; so are those in the tables. Equal
//! sums mean equal pages, places, attributes: the sum takes each entry with its address, and depends on their order.
//!
//! Where page tables are protected, the plan is that of boot with the blocks of tables as they must be: by the largest
//! pages that this allows.

use arrayvec::ArrayVec;
use rhumb_bootinfo::memory_map::MAX_REGIONS;
use rhumb_directmap::{DirectMapError, Plan, PlanRequest, State};
use rhumb_machine::{Block, Counted, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::{Attributes, Entry, Leaves, bits};

use crate::boot::paging::MAX_READ_ONLY;
use crate::cpu::trampoline;
use crate::facts::Boot;
use crate::layout::{self, image};
use crate::mm::direct_map::{everywhere, first_left};
use crate::mm::{owners, protection, tables};

/// A sum over all entries of the direct map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksum {
    sum: u64,
    /// How many.
    pub pages: u64,
}

impl core::fmt::Display for Checksum {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x} over {}", self.sum, Counted(self.pages, "page"))
    }
}

impl Checksum {
    const fn new() -> Self {
        // FNV-1a's start and prime, by words.
        Self { sum: 0xcbf2_9ce4_8422_2325, pages: 0 }
    }

    const fn add(&mut self, virt: VirtAddr, entry: Entry) {
        // A bit that the CPU itself sets is no difference.
        let entry = entry.bits() & !(bits::ACCESSED | bits::DIRTY);
        self.sum = (self.sum ^ virt.get()).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        self.sum = (self.sum ^ entry).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        self.pages += 1;
    }
}

/// Returns the sum over the tables. No CPU may change the map meanwhile.
pub fn of_tables() -> Checksum {
    let mut sum = Checksum::new();
    Leaves::new(tables::reader(), tables::root(), layout::direct_map())
        .for_each(|leaf| sum.add(leaf.virt, leaf.entry));
    sum
}

/// Returns the checksum of the pages that boot planned.
///
/// # Errors
/// None where boot succeeded: it made the same plan.
pub fn of_plan(boot: &Boot) -> Result<Checksum, DirectMapError> {
    let ram: ArrayVec<PhysRange, MAX_REGIONS> = boot.memory.lock().ram().collect();
    let mut read_only = ArrayVec::<PhysRange, MAX_READ_ONLY>::new();
    read_only.extend([image::physical(image::text()), image::physical(image::rodata())]);
    read_only.extend(trampoline::page());
    read_only.sort_unstable_by_key(|range| range.start());
    let plan = Plan::new(&PlanRequest {
        base: boot.direct_map.base,
        levels: tables::root().levels,
        ram: ram.iter().copied(),
        read_only: &read_only,
        largest: boot.largest_page,
        limit: boot.options.direct_map_limit_bytes.map(PhysAddr::new),
    })?;
    let mut sum = Planned { sum: Checksum::new(), protected: Protected::new() };
    for mapping in plan.mappings() {
        for run in mapping.runs() {
            for page in 0..run.pages {
                let distance = page * run.size.bytes();
                sum.add(run.virt.plus(distance), run.phys.plus(distance), run.size, mapping.attributes);
            }
        }
    }
    Ok(sum.sum)
}

/// The plan's pages, in ascending order, and what tables make of them.
struct Planned {
    sum: Checksum,
    protected: Protected,
}

impl Planned {
    fn add(&mut self, virt: VirtAddr, phys: PhysAddr, size: PageSize, attributes: Attributes) {
        let page = Block::around(phys.pfn(), size).frames();
        match (self.protected.first_in(page), size.smaller()) {
            (None, _) => self.sum.add(virt, Entry::leaf(phys, size, attributes)),
            (Some((block, state)), _) if block.covers(page) => self.sum.add(virt, state.entry(phys, size)),
            (Some(_), Some(smaller)) => {
                for index in 0..size.frames() / smaller.frames() {
                    let distance = index * smaller.bytes();
                    self.add(virt.plus(distance), phys.plus(distance), smaller, attributes);
                }
            }
            (Some(_), None) => {}
        }
    }
}

/// Blocks of protected tables, in ascending order. Looks into the journal once for each.
struct Protected(Option<(PfnRange, State)>);

impl Protected {
    fn new() -> Self {
        Self(Self::from(everywhere().start()))
    }

    /// Returns the first block that has a frame in `frames`. Asked for in ascending order.
    fn first_in(&mut self, frames: PfnRange) -> Option<(PfnRange, State)> {
        while let Some((block, _)) = self.0.filter(|(block, _)| block.end() <= frames.start()) {
            self.0 = Self::from(block.end());
        }
        self.0.filter(|(block, _)| block.overlaps(frames))
    }

    fn from(start: Pfn) -> Option<(PfnRange, State)> {
        let state = protection::state()?;
        let above = PfnRange::new(start, everywhere().end())?;
        first_left(owners::PAGE_TABLES, above).map(|block| (block, state))
    }
}
