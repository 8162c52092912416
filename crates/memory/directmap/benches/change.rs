//! The cost of a change and its undoing: `cargo bench -p rhumb-directmap --bench change`. Writes CSV.
//!
//! Each row is the best of seven rounds of many pairs. Tables are in one array, as they are in the direct map
//! itself. Flushes are left out: they are the machine's, and batched.

use std::hint::black_box;
use std::time::Instant;

use rhumb_directmap::{
    At, Batch, BootMap, Cause, Change, DirectMap, Hold, Limits, OffLimits, OwnerName, Plan, PlanRequest,
    RECORDS_PER_PAGE, RecordPage, address_range,
};
use rhumb_machine::{CpuId, PageSize, Pfn, PfnRange, PhysAddr, PhysRange};
use rhumb_pagetable::{ENTRIES, Entry, Levels, OutOfTables, Root, TableMemory, TableSource};

/// Table number n is the frame with that number.
struct Tables {
    tables: Vec<[Entry; ENTRIES]>,
    writes: u64,
}

impl TableMemory for Tables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.tables[table.get() as usize][index]
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.writes += 1;
        self.tables[table.get() as usize][index] = entry;
    }
}

struct Counter(u64);

// SAFETY: each number is handed out once, and names a table that the memory makes at its first write, all zero.
unsafe impl TableSource for Counter {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        self.0 += 1;
        Ok(Pfn::new(self.0))
    }

    unsafe fn give_back(&mut self, _: Pfn) {}
}

type Map = DirectMap<Tables, OffLimits<'static>>;

const TABLES: u64 = 4096;
const RAM_BYTES: u64 = 32 << 30;

fn map() -> Map {
    let ram = [PhysRange::new(PhysAddr::new(0), PhysAddr::new(RAM_BYTES)).unwrap()];
    let (levels, base) = (Levels::Four, address_range(Levels::Four).start());
    let request = PlanRequest {
        base,
        levels,
        ram: ram.iter().copied(),
        read_only: &[],
        largest: PageSize::Size1G,
        limit: None,
    };
    let plan = Plan::new(&request).unwrap();
    let root = Root::new(Pfn::new(0), levels);
    let mut memory = Tables { tables: vec![[Entry::EMPTY; ENTRIES]; TABLES as usize + 16], writes: 0 };
    let mut source = Counter(0);
    let built = plan.build(root, &mut memory, &mut source).unwrap();
    let boot_map = BootMap { root, base, largest: PageSize::Size1G, pages: built.pages, seed: 7, machine: 0 };
    let mut map = DirectMap::new(boot_map, memory, OffLimits(&[]));
    // SAFETY: the source counts this map's tables.
    unsafe { map.refill(TABLES - source.0, &mut source) }.unwrap();
    for _ in 0..120_000 / RECORDS_PER_PAGE {
        map.add_record_page(Box::leak(Box::new(RecordPage::new())));
    }
    map
}

fn frames(start: u64, count: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(start + count)).unwrap()
}

/// Makes one pair of change and restore after the other; returns the best round's nanoseconds and the writes of each.
fn pairs(map: &mut Map, cause: Cause, at: At, range: PfnRange) -> (f64, f64, u64, u64) {
    const PAIRS: u32 = 2000;
    let (mut best_change, mut best_restore) = (f64::MAX, f64::MAX);
    let (mut change_writes, mut restore_writes) = (0, 0);
    for _ in 0..7 {
        let (mut change_ns, mut restore_ns) = (0, 0);
        for _ in 0..PAIRS {
            let before = map.memory().writes;
            let start = Instant::now();
            let mut batch = Batch::new();
            // SAFETY: the frames are made up.
            let held = unsafe { map.change(range, Change::NotPresent, cause, at, &mut batch) }.unwrap();
            // SAFETY: no CPU walks these tables.
            black_box(map.reclaim_tables(unsafe { batch.never_walked() }));
            change_ns += start.elapsed().as_nanos();
            let between = map.memory().writes;
            let start = Instant::now();
            let mut batch = Batch::new();
            map.restore(held, &mut batch);
            // SAFETY: no CPU walks these tables.
            black_box(map.reclaim_tables(unsafe { batch.never_walked() }));
            restore_ns += start.elapsed().as_nanos();
            (change_writes, restore_writes) = (between - before, map.memory().writes - between);
        }
        best_change = best_change.min(change_ns as f64 / f64::from(PAIRS));
        best_restore = best_restore.min(restore_ns as f64 / f64::from(PAIRS));
    }
    (best_change, best_restore, change_writes, restore_writes)
}

fn main() {
    println!("workload,holds,change_ns,restore_ns,change_writes,restore_writes");
    let mut map = map();
    let owner = map.add_owner(OwnerName::of("bench"), Limits::NONE).unwrap();
    let (cause, at) = (Cause::new(owner, "a bench"), At { cpu: CpuId::BOOT, time_ns: 0 });
    let mut held: Vec<Hold> = Vec::new();
    let mut batch = Batch::new();
    for holds in [0, 1_000, 100_000] {
        // Every other page from 8 GiB on, so that none of the workloads' blocks is touched.
        while held.len() < holds {
            let page = frames((8 << 18) + 2 * held.len() as u64, 1);
            // SAFETY: the frames are made up, and nothing uses them.
            held.push(unsafe { map.change(page, Change::NotPresent, cause, at, &mut batch) }.unwrap());
        }
        let page = frames((2 << 18) + 1, 1);
        // SAFETY: the frames are made up, and nothing uses them.
        let kept = unsafe { map.change(page, Change::NotPresent, cause, at, &mut batch) }.unwrap();
        for (workload, range) in [
            ("page of a whole GiB", frames(4 << 18, 1)),
            ("page of a broken block", frames((2 << 18) + 5, 1)),
            ("2-MiB block of a broken GiB", frames((2 << 18) + 1024, 512)),
            ("whole GiB", frames(5 << 18, 1 << 18)),
        ] {
            let (change_ns, restore_ns, change_writes, restore_writes) = pairs(&mut map, cause, at, range);
            println!("{workload},{holds},{change_ns:.0},{restore_ns:.0},{change_writes},{restore_writes}");
        }
        map.restore(kept, &mut batch);
    }
    held.into_iter().for_each(|held| map.restore(held, &mut batch));
    // SAFETY: the tables are in a simulation, which no CPU walks.
    map.reclaim_tables(unsafe { batch.never_walked() });
    assert_eq!(map.pages().size_1g, RAM_BYTES >> 30);
}
