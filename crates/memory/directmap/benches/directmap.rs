//! The cost of planning, building, listing and auditing a direct map: `cargo bench -p rhumb-directmap`. Writes CSV.
//!
//! Tables are in one array, as they are in the direct map itself: reaching one is an addition. Each figure is the
//! best of five runs.

use std::hint::black_box;
use std::time::Instant;

use rhumb_directmap::{Plan, PlanRequest, address_range};
use rhumb_machine::{PageSize, Pfn, PhysAddr, PhysRange};
use rhumb_pagetable::{
    Audit, DirectMapRule, ENTRIES, Entry, Join, Leaves, Levels, OutOfTables, Root, Spans, TableMemory,
    TableSource, walk,
};

/// Table number n is the frame with that number.
struct Tables(Vec<[Entry; ENTRIES]>);

impl TableMemory for Tables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.0[table.get() as usize][index]
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.0[table.get() as usize][index] = entry;
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

/// Returns the least time of five runs, in nanoseconds, and the last result.
fn best<T>(mut run: impl FnMut() -> T) -> (u128, T) {
    let mut time = || {
        let start = Instant::now();
        let result = black_box(run());
        (start.elapsed().as_nanos(), result)
    };
    let mut least = time();
    for _ in 0..4 {
        let next = time();
        if next.0 < least.0 {
            least = next;
        }
    }
    least
}

fn main() {
    println!("ram_gib,largest,entries,tables,plan_ns,build_ns,walk_ns,list_ns,audit_ns,build_ns_per_entry");
    for (ram_gib, largest) in
        [(32, PageSize::Size1G), (1024, PageSize::Size1G), (1024, PageSize::Size2M), (32, PageSize::Size4K)]
    {
        let end = PhysAddr::new((ram_gib + 1) << 30);
        let ram = [
            PhysRange::new(PhysAddr::new(0), PhysAddr::new(0x9f000)).unwrap(),
            PhysRange::new(PhysAddr::new(1 << 20), PhysAddr::new(3 << 30)).unwrap(),
            PhysRange::new(PhysAddr::new(4 << 30), end).unwrap(),
        ];
        let image = [PhysRange::new(PhysAddr::new(16 << 20), PhysAddr::new(20 << 20)).unwrap()];
        let range = address_range(Levels::Four);
        let base = range.start();
        let request = PlanRequest {
            base,
            levels: Levels::Four,
            ram: ram.iter().copied(),
            read_only: &image,
            largest,
            limit: None,
        };
        let (plan_ns, plan) = best(|| Plan::new(black_box(&request)).unwrap());
        let root = Root::new(Pfn::new(0), Levels::Four);
        let mut tables = Tables(vec![[Entry::EMPTY; ENTRIES]; plan.tables() as usize + 1]);
        let (build_ns, _) = best(|| {
            tables.0[0] = [Entry::EMPTY; ENTRIES];
            tables.0[1..].iter_mut().for_each(|table| *table = [Entry::EMPTY; ENTRIES]);
            plan.build(root, &mut tables, &mut Counter(0)).unwrap()
        });
        let (walk_ns, _) = best(|| walk(&tables, root, black_box(base.plus(0x1234_5678))));
        let (list_ns, _) = best(|| Spans::new(Leaves::all(&tables, root), Join::Virtual).count());
        let audit = Audit {
            roots: &[root],
            ram: ram.iter().copied(),
            direct_map: Some(DirectMapRule { range, base }),
            aliases: &[],
        };
        let (audit_ns, summary) = best(|| audit.run(&tables, |finding| println!("{finding}")));
        assert_eq!((summary.findings, summary.pages), (0, plan.pages()));
        let entries = plan.pages().pages();
        let per_entry = build_ns as f64 / entries as f64;
        println!(
            "{ram_gib},{largest},{entries},{},{plan_ns},{build_ns},{walk_ns},{list_ns},{audit_ns},{per_entry:.2}",
            plan.tables()
        );
    }
}
