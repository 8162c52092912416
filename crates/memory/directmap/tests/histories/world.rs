//! A hosted machine with a direct map that a software MMU walks.

use rhumb_directmap::{
    BootMap, DirectMap, Limits, OffLimits, OwnerId, OwnerName, Plan, PlanRequest, RecordPage, address_range,
};
use rhumb_hosted::mmu::{HostedTables, MmuConfig, SoftMmu, TableEntries};
use rhumb_hosted::{HostedMachine, LargePages, TableFrames};
use rhumb_machine::{CpuId, Machine, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, VirtAddr, VirtRange};
use rhumb_pagetable::{Key, Levels, PageCounts, Rights, Root, TableSource};

pub(crate) type Map = DirectMap<HostedTables, OffLimits<'static>>;

pub(crate) const CPUS: usize = 4;
const MIB: u64 = 1 << 20;
/// Frames for tables come first, then frames that the side mappings show.
const TABLES: u64 = 16 * MIB;
const SIDE: u64 = 16 * MIB;
const RAM_AT: u64 = 4 << 30;

/// Tables that the reserve is filled up to: in most histories as many as changes take between two flushes, in others
/// so few that changes wait for the tables of the quarantine.
const RESERVES: [u64; 5] = [48, 48, 48, 48, 6];

/// The kind of a history's map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// 3 GiB, built of the largest pages.
    Large,
    /// 24 MiB and a page, built of 4-KiB pages: most changes take several steps, and a collapse finds work.
    Small,
}

pub(crate) struct World<'machine> {
    pub(crate) machine: &'machine HostedMachine,
    pub(crate) mmu: &'machine SoftMmu,
    pub(crate) tables: HostedTables,
    pub(crate) source: TableFrames<'machine>,
    pub(crate) map: Map,
    pub(crate) owners: [OwnerId; 2],
    pub(crate) at_boot: PageCounts,
    pub(crate) ram: PfnRange,
    pub(crate) kind: Kind,
    /// Tables that the reserve is filled up to.
    reserve: u64,
    /// Tables that the map was given.
    pub(crate) given: u64,
}

pub(crate) const NAMES: [&str; 2] = ["alice", "bob"];

fn phys(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

/// Builds a machine for a map of `kind`.
pub(crate) fn machine(kind: Kind) -> HostedMachine {
    let builder = HostedMachine::builder().cpus(CPUS).large_pages(LargePages::Never);
    builder.ram(phys(0, TABLES + SIDE)).ram(ram(kind)).build().unwrap()
}

fn ram(kind: Kind) -> PhysRange {
    phys(RAM_AT, if kind == Kind::Large { 3 << 30 } else { 24 * MIB + 4096 })
}

/// Returns how the CPUs of a history with `seed` behave.
fn config(seed: u64) -> MmuConfig {
    let invlpg = if seed.is_multiple_of(2) { TableEntries::All } else { TableEntries::OfAddress };
    let evictions = if seed.is_multiple_of(3) { 64 } else { 0 };
    MmuConfig { invlpg, evictions, ..MmuConfig::new(seed) }
}

impl<'machine> World<'machine> {
    /// Builds the map. Runs on CPU 0.
    pub(crate) fn new(machine: &'machine HostedMachine, kind: Kind, seed: u64) -> Self {
        // SAFETY: the first 16 MiB are for tables alone.
        let (mut tables, mut source) = unsafe {
            let frames = phys(0, TABLES).whole_frames();
            (HostedTables::new(machine), TableFrames::new(machine, frames))
        };
        let root = Root::new(source.take_zeroed_table().unwrap(), Levels::Four);
        let base = address_range(Levels::Four).start();
        let (built, largest) = match kind {
            Kind::Large => (PageSize::Size1G, PageSize::Size1G),
            Kind::Small => (PageSize::Size4K, PageSize::Size2M),
        };
        let request = PlanRequest {
            base,
            levels: Levels::Four,
            ram: [ram(kind)],
            read_only: &[],
            largest: built,
            limit: None,
        };
        let pages = Plan::new(&request).unwrap().build(root, &mut tables, &mut source).unwrap().pages;
        // SAFETY: the tree is in RAM of the machine, and reached by `HostedTables` alone.
        let mmu = unsafe { machine.attach_mmu(root, config(seed)) }.unwrap();
        let read_only = Key::new(1).unwrap().with_rights(0, Rights::ReadOnly);
        mmu.set_keys(CpuId::new(1).unwrap(), read_only);
        let boot_map = BootMap { root, base, largest, pages, seed, machine: machine.identity() };
        let mut map = DirectMap::new(boot_map, tables.clone(), OffLimits(&[]));
        (0..20).for_each(|_| map.add_record_page(Box::leak(Box::new(RecordPage::new()))));
        let owners = NAMES.map(|name| map.add_owner(OwnerName::of(name), Limits::NONE).unwrap());
        let ram = ram(kind).whole_frames();
        let (at_boot, reserve) = (pages, RESERVES[(seed % RESERVES.len() as u64) as usize]);
        let mut world =
            Self { machine, mmu, tables, source, map, owners, at_boot, ram, kind, reserve, given: 0 };
        world.refill();
        world
    }

    /// Fills the map's reserve up.
    pub(crate) fn refill(&mut self) {
        let before = self.source.free_tables();
        // SAFETY: the source is of the machine that the map is of.
        unsafe { self.map.refill(self.reserve, &mut self.source) }.unwrap();
        self.given += (before - self.source.free_tables()) as u64;
    }

    /// Returns the frames that tables are made of.
    pub(crate) fn table_frames(&self) -> PfnRange {
        phys(0, TABLES).whole_frames()
    }

    /// Returns the frames that the side mappings show.
    pub(crate) fn side_frames() -> PfnRange {
        phys(TABLES, SIDE).whole_frames()
    }

    /// Returns where the map shows `frames`.
    pub(crate) fn range(frames: PfnRange) -> VirtRange {
        VirtRange::of_length(virt(frames.start()), frames.addrs().bytes()).unwrap()
    }
}

/// Returns where the map shows `pfn` (I1).
pub(crate) fn virt(pfn: Pfn) -> VirtAddr {
    address_range(Levels::Four).start().plus(pfn.addr().get())
}

/// A generator that repeats (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number of 0..end, 0 where that is empty.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len() as u64) as usize]
    }
}
