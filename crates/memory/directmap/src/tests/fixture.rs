//! A made-up machine with a map that is in use.

use super::*;
use crate::address_range;
use rhumb_machine::{CpuId, PfnRange};

pub(super) type Map = DirectMap<SimTables, OffLimits<'static>>;

/// 640 KiB; a hole; RAM up to 2 GiB and 6 MiB; a hole; another GiB from 4 GiB on.
pub(super) const RAM: [(u64, u64); 3] = [(0, 640 * KIB), (MIB, 2 * GIB + 6 * MIB), (4 * GIB, 5 * GIB)];
/// The kernel's text: 2 MiB and a bit.
pub(super) const TEXT: (u64, u64) = (16 * MIB, 18 * MIB + 12 * KIB);
/// A frame that is a table.
pub(super) const TABLE: (u64, u64) = (MIB, MIB + 4 * KIB);

pub(super) const LIMIT: u64 = 1 << 40;

pub(super) struct Sim {
    pub(super) map: Map,
    pub(super) source: SimSource,
    pub(super) owner: OwnerId,
    boot: SimTables,
    boot_tables: Vec<Pfn>,
    time_ns: u64,
}

pub(super) fn frames(start: u64, end: u64) -> PfnRange {
    range(start, end).whole_frames()
}

pub(super) fn pfn(addr: u64) -> Pfn {
    PhysAddr::new(addr).pfn()
}

/// Returns a page of records from the test's own memory.
pub(super) fn record_page() -> &'static mut RecordPage {
    std::boxed::Box::leak(std::boxed::Box::new(RecordPage::new()))
}

impl Sim {
    /// Takes tables until the reserve has `tables`.
    #[expect(unsafe_code, reason = "has the map's own source")]
    pub(super) fn refill(&mut self, tables: u64) -> Result<(), rhumb_pagetable::OutOfTables> {
        // SAFETY: the source was made over the map's memory.
        unsafe { self.map.refill(tables, &mut self.source) }
    }

    /// With a full reserve.
    pub(super) fn new(levels: Levels, largest: PageSize) -> Self {
        let mut sim = Self::bare(levels, largest, largest);
        sim.refill(64).unwrap();
        sim
    }

    pub(super) fn usual() -> Self {
        Self::new(Levels::Four, PageSize::Size1G)
    }

    /// With no table in the reserve; built of pages of `built` at most.
    pub(super) fn bare(levels: Levels, built: PageSize, largest: PageSize) -> Self {
        Self::bare_of(&RAM, levels, built, largest)
    }

    /// Returns the same for other RAM.
    pub(super) fn bare_of(ram: &[(u64, u64)], levels: Levels, built: PageSize, largest: PageSize) -> Self {
        let ram: Vec<PhysRange> = ram.iter().map(|&(start, end)| range(start, end)).collect();
        let read_only = [range(TEXT.0, TEXT.1)];
        let base = address_range(levels).start();
        let request = PlanRequest { levels, base, largest: built, ..request(&ram, &read_only) };
        let (plan, machine) = super::build(&request);
        let boot_tables: Vec<Pfn> = machine.source.taken_tables().chain([SimTree::ROOT]).collect();
        let (root, boot, mut memory) = (machine.root, machine.memory.clone(), machine.memory);
        let source = SimSource::new(&mut memory, SimTree::ROOT.plus(0x10_0000), 256);
        let rules: &'static [(PhysRange, Rule)] = &*std::boxed::Box::leak(std::boxed::Box::new([
            (range(TEXT.0, TEXT.1), Rule::KernelImage),
            (range(TABLE.0, TABLE.1), Rule::PageTables),
        ]));
        let boot_map = BootMap { root, base, largest, pages: plan.pages(), seed: 0x5eed, machine: 0 };
        let mut map = DirectMap::new(boot_map, memory, OffLimits(rules));
        map.add_record_page(record_page());
        let owner = map.add_owner(OwnerName::of("test"), Limits::of_breaks(LIMIT)).unwrap();
        map.tree.memory.writes = 0;
        Self { map, source, owner, boot, boot_tables, time_ns: 0 }
    }

    #[track_caller]
    pub(super) fn cause(&self) -> Cause {
        Cause::new(self.owner, "a test")
    }

    pub(super) fn now(&mut self) -> At {
        self.time_ns += 1_000_000;
        At { cpu: CpuId::new(3).unwrap(), time_ns: self.time_ns }
    }

    #[track_caller]
    pub(super) fn change(&mut self, start: u64, end: u64, change: Change) -> Result<Hold, ChangeError> {
        let (cause, now) = (self.cause(), self.now());
        // SAFETY: the frames are made up.
        self.with_batch(|map, batch| unsafe { map.change(frames(start, end), change, cause, now, batch) })
    }

    #[track_caller]
    pub(super) fn pin(&mut self, start: u64, end: u64, size: PageSize) -> Result<Hold, ChangeError> {
        let (cause, now) = (self.cause(), self.now());
        self.with_batch(|map, _| map.pin_small(frames(start, end), size, cause, now))
    }

    pub(super) fn restore(&mut self, held: Hold) {
        self.with_batch(|map, batch| map.restore(held, batch));
    }

    pub(super) fn alter(&mut self, held: &mut Hold, change: Change) -> Result<(), ChangeError> {
        let now = self.now();
        self.with_batch(|map, batch| map.alter(held, change, now, batch))
    }

    /// Does something, flushes, reclaims the tables and validates.
    pub(super) fn with_batch<A>(&mut self, act: impl FnOnce(&mut Map, &mut Batch) -> A) -> A {
        let mut batch = Batch::new();
        let answer = act(&mut self.map, &mut batch);
        self.map.validate().unwrap();
        self.finish(batch);
        self.map.validate().unwrap();
        answer
    }

    /// Settles what no flush needs to come before.
    pub(super) fn finish(&mut self, batch: Batch) {
        // SAFETY: no CPU walks tables in a hash map.
        self.map.reclaim_tables(unsafe { batch.never_walked() });
    }

    /// Returns the size of the page at `addr`, and its state; `None` for a hole or what is out of the map.
    pub(super) fn page(&self, addr: u64) -> Option<(PageSize, Entry)> {
        let virt = address_range(self.map.levels()).start().plus(addr);
        let root = Root::new(SimTree::ROOT, self.map.levels());
        walk(self.map.memory(), root, virt).leaf().map(|leaf| (leaf.size, leaf.entry))
    }

    pub(super) fn leaves(&self) -> Vec<Leaf> {
        Leaves::all(self.map.memory(), Root::new(SimTree::ROOT, self.map.levels())).collect()
    }

    /// Every entry of every table of boot is what it was, bit for bit, and every other table is in the reserve again, or
    /// kept.
    pub(super) fn assert_as_at_boot(&self) {
        for &table in &self.boot_tables {
            for index in 0..512 {
                let (was, is) = (self.boot.read(table, index), self.map.memory().read(table, index));
                assert_eq!(was, is, "entry {index} of {table:?}");
            }
        }
        assert_eq!(self.map.reserve().tables + self.map.kept_tables(), self.source.taken());
        assert_eq!((self.map.holds().count(), self.map.splits().count()), (0, 0));
        assert_eq!((self.map.hold_count(), self.map.split_count()), (0, 0));
    }
}
