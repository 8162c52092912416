//! Batches against a plain model; instruction sequences against the manual's table; tickets.

extern crate std;

mod rounds;

use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::testing::{TestMachine, TestTlb};
use rhumb_machine::{
    CpuId, CpuMask, CpuSet, FlushScope, MAX_CPUS, Machine, PageRun, PageSize, Pfn, PhysAddr, VirtAddr,
    VirtRange,
};

use super::batch::FLUSH_PAGES_MAX;
use super::sequence::{FlushFeatures, Sequence, sequence};
use super::*;
use crate::attributes::{Access, Attributes};
use crate::levels::{Levels, Root};
use crate::mapper::{EmptyTables, Mapper};
use crate::runs::Mapping;
use crate::sim::{SimSource, SimTables};

/// The requests that a machine got.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Asked {
    Local(Vec<PageRun>),
    LocalAll,
    Remote(CpuMask, Vec<PageRun>),
    RemoteAll(CpuMask),
    Lazy(CpuMask),
}

/// Writes down what it is asked; some CPUs are lazy.
struct Recorder {
    lazy: CpuMask,
    asked: std::sync::Mutex<Vec<Asked>>,
}

impl Recorder {
    /// Returns a machine of so many CPUs, of which these are lazy.
    fn new(cpus: usize, lazy: CpuMask) -> TestMachine<Self> {
        TestMachine::with_tlb(cpus, 1, Self { lazy, asked: Default::default() })
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }

    fn asked(&self) -> Vec<Asked> {
        core::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl TestTlb for Recorder {
    fn flush_local(&self, scope: FlushScope<'_>) {
        self.note(match scope {
            FlushScope::Pages { runs, .. } => Asked::Local(runs.to_vec()),
            _ => Asked::LocalAll,
        });
    }

    fn flush_remote(&self, targets: &CpuSet, scope: FlushScope<'_>) {
        self.note(match scope {
            FlushScope::Pages { runs, .. } => Asked::Remote(targets.to_mask(), runs.to_vec()),
            _ => Asked::RemoteAll(targets.to_mask()),
        });
    }

    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        self.note(Asked::Lazy(targets.and(&self.lazy)));
        targets.take_out(|cpu| self.lazy.contains(cpu))
    }
}

fn cpu(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

fn range(start: u64, bytes: u64) -> VirtRange {
    VirtRange::of_length(VirtAddr::new(start), bytes).unwrap()
}

const BASE: u64 = 0xffff_8000_0000_0000;
const PAGE: u64 = 4096;
const LARGE: u64 = 2 << 20;

#[test]
fn one_round_for_the_whole_batch() {
    let machine = Recorder::new(4, CpuMask::EMPTY);
    let mut batch = FlushBatch::new();
    for number in 0..10 {
        batch.add_leaf(range(BASE + 7 * number * PAGE, 1), PageSize::Size4K);
    }
    batch.add_leaf(range(BASE + LARGE * 50, LARGE), PageSize::Size2M);
    let flushed = batch.flush(&machine, machine.pin().pinned());
    assert_eq!((flushed.pages(), flushed.interrupts(), flushed.left_to_lazy()), (11, 3, 0));
    assert!(!flushed.is_full() && !flushed.was_empty());
    let asked = machine.tlb.asked();
    let [Asked::Lazy(_), Asked::Local(local), Asked::Remote(targets, remote)] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(*targets, CpuMask::first(4).without(CpuId::BOOT));
    assert_eq!(local, remote);
    assert_eq!(local.len(), 11);
}

#[test]
fn an_empty_batch_asks_for_nothing() {
    let machine = Recorder::new(4, CpuMask::EMPTY);
    let flushed = FlushBatch::new().flush(&machine, machine.pin().pinned());
    assert!(flushed.was_empty() && machine.tlb.asked().is_empty());
}

#[test]
fn a_flush_leaves_nothing_of_its_batch_behind() {
    let machine = Recorder::new(2, CpuMask::EMPTY);
    let pages = |batch: &mut FlushBatch| batch.add_leaf(range(0x1000, 0x3000), PageSize::Size4K);
    let table = |batch: &mut FlushBatch| batch.add_table(VirtAddr::new(0));
    for fill in [&pages as &dyn Fn(&mut FlushBatch), &table, &FlushBatch::add_everything] {
        let mut batch = FlushBatch::new();
        fill(&mut batch);
        assert!(!batch.flush(&machine, machine.pin().pinned()).was_empty());
        assert!(batch.is_empty() && batch.may_be_lazy() && batch.pages() == 0 && !batch.is_full_flush());
        assert!(!machine.tlb.asked().is_empty());
        assert!(batch.flush(&machine, machine.pin().pinned()).was_empty());
        assert_eq!(machine.tlb.asked(), []);
    }
}

#[test]
fn targets_are_who_is_asked() {
    let machine = Recorder::new(4, CpuMask::EMPTY);
    let mut batch = FlushBatch::new();
    batch.add_everything();
    // CPU 9 is none of the machine's, and this CPU is no target.
    let targets: CpuMask = [cpu(2), cpu(9)].into_iter().collect();
    let flushed = batch.flush_on(&machine, machine.pin().pinned(), &targets);
    assert_eq!((flushed.interrupts(), flushed.is_full()), (1, true));
    assert_eq!(machine.tlb.asked(), [Asked::Lazy(CpuMask::EMPTY), Asked::RemoteAll(CpuMask::only(cpu(2)))]);
}

/// Machines whose sets are a number, several words, and all words.
#[test]
fn every_cpu_of_any_machine_is_asked() {
    for cpus in [1, 2, 63, 64, 65, 256, 257, MAX_CPUS - 1, MAX_CPUS] {
        let is_lazy = |cpu: &CpuId| cpu.index() % 3 == 1;
        let first = CpuMask::first(cpus);
        let machine = Recorder::new(cpus, first.iter().filter(is_lazy).collect());
        let mut batch = FlushBatch::new();
        batch.add_everything();
        let flushed = batch.flush(&machine, machine.pin().pinned());
        let (lazy, awake): (Vec<CpuId>, Vec<CpuId>) = first.without(CpuId::BOOT).iter().partition(is_lazy);
        assert_eq!((flushed.left_to_lazy(), flushed.interrupts()), (lazy.len() as u32, awake.len() as u32));
        let asked = machine.tlb.asked();
        assert!(asked.contains(&Asked::LocalAll) && asked.contains(&Asked::Lazy(lazy.into_iter().collect())));
        let remote = Asked::RemoteAll(awake.iter().copied().collect());
        assert_eq!(asked.contains(&remote), !awake.is_empty(), "{cpus}");
    }
}

#[test]
fn lazy_cpus_are_skipped_but_not_for_tables() {
    let machine = Recorder::new(4, [cpu(1), cpu(3)].into_iter().collect());
    let mut batch = FlushBatch::new();
    batch.add_leaf(range(BASE, PAGE), PageSize::Size4K);
    let mut strict = batch.clone();
    let mut with_table = batch.clone();
    let flushed = batch.flush(&machine, machine.pin().pinned());
    assert_eq!((flushed.interrupts(), flushed.left_to_lazy()), (1, 2));
    assert!(matches!(machine.tlb.asked()[2], Asked::Remote(targets, _) if targets == CpuMask::only(cpu(2))));

    strict.refuse_laziness();
    let flushed = strict.flush(&machine, machine.pin().pinned());
    assert_eq!((flushed.interrupts(), flushed.left_to_lazy()), (3, 0));

    with_table.add_table(VirtAddr::new(BASE));
    let flushed = with_table.flush(&machine, machine.pin().pinned());
    assert_eq!((flushed.interrupts(), flushed.left_to_lazy()), (3, 0));

    // Also where the batch became a full flush.
    let mut full = FlushBatch::new();
    full.add_table(VirtAddr::new(BASE));
    full.add_leaf(range(BASE, LARGE), PageSize::Size4K);
    let flushed = full.flush(&machine, machine.pin().pinned());
    assert_eq!((flushed.interrupts(), flushed.is_full()), (3, true));
}

#[test]
fn the_threshold_counts_pages_of_any_size() {
    let count = |pages: u64, size: PageSize| {
        let mut batch = FlushBatch::new();
        batch.add_leaf(range(BASE, pages * size.bytes()), size);
        (batch.pages(), batch.is_full_flush())
    };
    let most = u64::from(FLUSH_PAGES_MAX);
    for size in PageSize::DESCENDING {
        assert_eq!(count(1, size), (1, false));
        assert_eq!(count(most, size), (FLUSH_PAGES_MAX, false));
        assert_eq!(count(most + 1, size), (0, true));
    }
    // One by one, scattered.
    let mut batch = FlushBatch::new();
    for number in 0..most {
        batch.add_leaf(range(BASE + number * 3 * PAGE, 1), PageSize::Size4K);
    }
    assert!(!batch.is_full_flush());
    batch.add_leaf(range(BASE + most * 3 * PAGE, 1), PageSize::Size4K);
    assert!(batch.is_full_flush() && !batch.is_empty());
    // At the end of all addresses, where no range can be rounded up.
    let mut batch = FlushBatch::new();
    batch.add_leaf(
        VirtRange::new(VirtAddr::new(u64::MAX - 9), VirtAddr::new(u64::MAX)).unwrap(),
        PageSize::Size2M,
    );
    assert!(batch.is_full_flush());
}

#[test]
fn unmapping_says_what_to_flush_and_tables_come_back_by_that() {
    let machine = Recorder::new(2, CpuMask::EMPTY);
    let mut memory = SimTables::new();
    let root = Root::new(Pfn::new(1 << 30), Levels::Four);
    memory.insert(root.table);
    let mut source = SimSource::new(&mut memory, root.table.plus(1), 8);
    let unmap = |memory: &mut SimTables, source: &mut SimSource, bytes: u64, largest| {
        let mapping = Mapping {
            virt: VirtAddr::new(BASE + 4 * LARGE),
            phys: rhumb_machine::PhysRange::of_length(PhysAddr::new(0), bytes).unwrap(),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest,
        };
        let mut mapper = Mapper::new(root, memory);
        mapper.map(&mapping, source).unwrap();
        mapper.unmap(range(mapping.virt.get(), bytes), EmptyTables::Detach).unwrap()
    };
    // A large page and a small one; three tables. `add_table` takes one page each, all at one place: merged.
    let mut unmapped = unmap(&mut memory, &mut source, LARGE + PAGE, PageSize::Size2M);
    assert_eq!(unmapped.tables.waiting().len(), 3);
    let runs: BTreeSet<_> = match unmapped.tables.batch().scope() {
        FlushScope::Pages { runs } => {
            runs.iter().map(|run| (run.range().start().get(), run.pages(), run.size())).collect()
        }
        other => panic!("{other:?}"),
    };
    assert!(runs.contains(&(BASE + 4 * LARGE, 1, PageSize::Size2M)), "{runs:?}");
    assert!(runs.iter().any(|run| run.0 == BASE + 5 * LARGE && run.2 == PageSize::Size4K), "{runs:?}");

    let taken = source.taken();
    let flushed = unmapped.tables.flush(&machine, machine.pin().pinned());
    assert_eq!(
        (flushed.stats().interrupts(), source.taken()),
        (1, taken),
        "tables came back before they were asked"
    );
    // SAFETY: there is one memory and one source.
    unsafe { flushed.release(&mut memory, &mut source) };
    assert_eq!(source.taken(), 0);
}

#[test]
fn counters_add_up_by_cause() {
    let counters = FlushCounters::new();
    let machine = Recorder::new(4, CpuMask::only(cpu(1)));
    for _ in 0..3 {
        let mut batch = FlushBatch::new();
        batch.add_leaf(range(BASE, 5 * PAGE), PageSize::Size4K);
        counters.count(FlushCause::Remove, batch.flush(&machine, machine.pin().pinned()));
    }
    let mut full = FlushBatch::new();
    full.add_everything();
    counters.count(FlushCause::Split, full.flush(&machine, machine.pin().pinned()));
    counters.count(FlushCause::Split, FlushBatch::new().flush(&machine, machine.pin().pinned()));
    let expected = FlushCounts { flushes: 3, full: 0, pages: 15, interrupts: 6, left_to_lazy: 3, shared: 0 };
    assert_eq!(counters.read(FlushCause::Remove), expected);
    let expected = FlushCounts { flushes: 1, full: 1, pages: 0, interrupts: 2, left_to_lazy: 1, shared: 0 };
    assert_eq!(counters.read(FlushCause::Split), expected);
    assert_eq!(counters.read(FlushCause::Window), FlushCounts::default());
    for (index, cause) in FlushCause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, index);
    }
}

/// Returns the entries that each sequence drops of pages that it is asked for, from the manual: (global, others, table
/// entries).
fn drops(sequence: Sequence, features: FlushFeatures) -> [bool; 3] {
    match sequence {
        Sequence::EachPage | Sequence::InvpcidAll | Sequence::ToggleGlobal => [true; 3],
        Sequence::ReloadRoot => [!features.global_enabled, true, true],
    }
}

#[test]
fn each_sequence_drops_what_its_scope_names_and_exists() {
    let page = [PageRun::covering(range(BASE, 1), PageSize::Size4K).unwrap()];
    let many = [PageRun::covering(range(BASE, LARGE), PageSize::Size4K).unwrap()];
    let scopes = [
        (FlushScope::Pages { runs: &page }, [true; 3]),
        (FlushScope::Pages { runs: &many }, [true; 3]),
        (FlushScope::NonGlobal, [false, true, true]),
        (FlushScope::All, [true; 3]),
    ];
    for bits in 0..4 {
        let features = FlushFeatures { global_enabled: bits & 1 != 0, invpcid: bits & 2 != 0 };
        for (scope, needed) in scopes {
            let chosen = sequence(scope, features);
            let dropped = drops(chosen, features);
            for (needed, dropped) in needed.into_iter().zip(dropped) {
                assert!(dropped || !needed, "{scope:?} with {features:?} by {chosen:?}");
            }
            let exists = match chosen {
                Sequence::InvpcidAll => features.invpcid,
                Sequence::ToggleGlobal => features.global_enabled,
                Sequence::EachPage | Sequence::ReloadRoot => true,
            };
            assert!(exists, "{scope:?} with {features:?} by {chosen:?}");
        }
        let one = FlushScope::Pages { runs: &page };
        assert_eq!(sequence(one, features), Sequence::EachPage);
        let many = FlushScope::Pages { runs: &many };
        assert_ne!(sequence(many, features), Sequence::EachPage);
        assert_eq!(sequence(FlushScope::NonGlobal, features), Sequence::ReloadRoot);
    }
}

/// The parts that were added: (start in pages of 4 KiB, pages of the size, size), or a table, or an empty range.
#[derive(Clone, Copy, Debug)]
enum Add {
    Leaf(u64, u64, PageSize),
    Table(u64),
}

fn adds() -> impl Strategy<Value = Vec<Add>> {
    let size = prop_oneof![
        6 => Just(PageSize::Size4K),
        2 => Just(PageSize::Size2M),
        1 => Just(PageSize::Size1G)
    ];
    let leaf = (0u64..60, 0u64..5, size).prop_map(|(start, pages, size)| Add::Leaf(start, pages, size));
    prop::collection::vec(prop_oneof![12 => leaf, 1 => (0u64..4).prop_map(Add::Table)], 0..30)
}

fn batch_of(adds: &[Add]) -> FlushBatch {
    let mut batch = FlushBatch::new();
    for &add in adds {
        match add {
            Add::Leaf(start, pages, size) => {
                batch.add_leaf(range(BASE + start * size.bytes(), pages * size.bytes()), size);
            }
            Add::Table(number) => batch.add_table(VirtAddr::new(BASE + number * LARGE)),
        }
    }
    batch
}

proptest! {
    /// The pages of a batch are the set of what was added, each size apart; more than the threshold is a full flush.
    #[test]
    fn a_batch_is_the_set_of_what_was_added(adds in adds()) {
        let mut model = BTreeSet::new();
        let mut table = false;
        for &add in &adds {
            match add {
                Add::Leaf(start, pages, size) => {
                    model.extend((start..start + pages).map(|page| (size, BASE + page * size.bytes())));
                }
                Add::Table(number) => {
                    model.insert((PageSize::Size4K, BASE + number * LARGE));
                    table = true;
                }
            }
        }
        let mut batch = batch_of(&adds);
        {
            prop_assert_eq!(batch.is_empty(), model.is_empty());
            match batch.scope() {
                FlushScope::Pages { runs } => {
                    let pages: Vec<_> =
                        runs.iter().flat_map(|run| run.addresses().map(|page| (run.size(), page.get()))).collect();
                    prop_assert_eq!(pages.len(), batch.pages() as usize, "a page twice, or not counted");
                    prop_assert_eq!(pages.into_iter().collect::<BTreeSet<_>>(), model.clone());
                    // No two runs could be one.
                    for (index, &first) in runs.iter().enumerate() {
                        for &second in &runs[index + 1..] {
                            prop_assert_eq!(first.join(second), None);
                        }
                    }
                }
                FlushScope::All => prop_assert!(model.len() > FLUSH_PAGES_MAX as usize),
                FlushScope::NonGlobal => prop_assert!(false),
            }
            let machine = Recorder::new(3, CpuMask::only(cpu(2)));
            let flushed = batch.flush(&machine, machine.pin().pinned());
            prop_assert_eq!(flushed.left_to_lazy() == 0, table || model.is_empty());
            prop_assert_eq!(machine.tlb.asked().len(), if model.is_empty() { 0 } else if table { 2 } else { 3 });
        }
    }
}

#[test]
fn a_cpu_is_lazy_from_its_entry_to_its_leaving_and_hears_of_each_mark_once() {
    let cpu = LazyCpu::default();
    assert!(!cpu.is_lazy());
    assert_eq!(cpu.leave_mark(), MarkLeft::NotLazy);
    assert_eq!(cpu.leave(), Woken::Clean);
    for marks in 0..3 {
        cpu.enter();
        assert!(cpu.is_lazy());
        for _ in 0..marks {
            assert_eq!(cpu.leave_mark(), MarkLeft::Left);
            assert!(cpu.is_lazy(), "a mark does not wake it");
            cpu.enter();
        }
        assert_eq!(cpu.leave(), if marks > 0 { Woken::FlushAll } else { Woken::Clean });
        assert!(!cpu.is_lazy());
        assert_eq!(cpu.leave_mark(), MarkLeft::NotLazy, "it runs");
        assert_eq!(cpu.leave(), Woken::Clean, "no mark is heard of twice");
    }
}

/// A CPU of that number on this machine would go on using what another machine's CPU has dropped.
#[test]
#[should_panic(expected = "token of another machine")]
fn token_of_another_machine() {
    let one = TestMachine { identity: 1, ..Recorder::new(2, CpuMask::EMPTY) };
    let other = TestMachine { identity: 2, this_cpu: || cpu(1), ..Recorder::new(2, CpuMask::EMPTY) };
    let mut batch = FlushBatch::new();
    batch.add_everything();
    batch.flush(&one, other.pin().pinned());
}
