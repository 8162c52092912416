//! Merged tables: kept, put back, and freed by one flush for many.

use core::task::Poll;

use super::fixture::{Sim, frames, record_page};
use super::*;
use crate::quarantine::KEPT_MAX;

/// A 1-GiB page, and a page in the middle of it.
const GIB_AT: u64 = 4 * GIB;
const PAGE_AT: u64 = GIB_AT + 300 * MIB + 20 * KIB;

impl Sim {
    /// Changes one page, into the batch.
    fn change_page(&mut self, addr: u64, change: Change, batch: &mut Batch) -> Result<Hold, ChangeError> {
        self.change_into(addr, addr + 4 * KIB, change, batch)
    }

    fn change_into(
        &mut self,
        start: u64,
        end: u64,
        change: Change,
        batch: &mut Batch,
    ) -> Result<Hold, ChangeError> {
        let (cause, now) = (self.cause(), self.now());
        // SAFETY: the frames are made up.
        unsafe { self.map.change(frames(start, end), change, cause, now, batch) }
    }

    /// Changes and restores one page, so that its tables are kept.
    fn touch(&mut self, addr: u64) {
        let held = self.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap();
        self.restore(held);
    }
}

/// Flushes what the batch asks for, and says how many pages: `None` for all.
fn flushed(sim: &mut Sim, batch: &mut Batch) -> Option<u32> {
    let due = (!batch.flush_batch().is_full_flush()).then(|| batch.flush_batch().pages());
    sim.finish(core::mem::take(batch));
    sim.map.validate().unwrap();
    due
}

#[test]
fn i13_a_page_of_a_whole_gib_that_goes_and_comes_for_ever_takes_three_writes_and_one_flush() {
    let mut sim = Sim::usual();
    sim.touch(PAGE_AT);
    let (reserve, writes, counters) = (sim.map.reserve(), sim.map.memory().writes, sim.map.counters());
    const ROUNDS: u64 = 1000;
    for round in 0..ROUNDS {
        let mut batch = Batch::new();
        let change = if round % 2 == 0 { Change::NotPresent } else { Change::ReadOnly };
        let held = sim.change_page(PAGE_AT, change, &mut batch).unwrap();
        // An idle CPU sleeps on.
        assert!(batch.flush_batch().may_be_lazy() && batch.tables() == 0);
        assert_eq!(flushed(&mut sim, &mut batch), Some(1));
        sim.map.restore(held, &mut batch);
        // An absent page is cached nowhere.
        let pages = u32::from(round % 2 == 1);
        assert!(batch.is_empty() == (pages == 0) && batch.flush_batch().may_be_lazy());
        assert_eq!(sim.page(PAGE_AT).unwrap().0, PageSize::Size1G, "it is whole at once");
        assert_eq!(flushed(&mut sim, &mut batch), Some(pages));
    }
    // Two tables put back and the page; the page and two merges.
    assert_eq!(sim.map.memory().writes - writes, ROUNDS * (3 + 3));
    assert_eq!((sim.map.reserve(), sim.map.kept_tables()), (reserve, 2));
    let now = sim.map.counters();
    let splits = now.level2_splits + now.level3_splits - counters.level2_splits - counters.level3_splits;
    assert_eq!((splits, now.tables_taken_back - counters.tables_taken_back), (2 * ROUNDS, 2 * ROUNDS));
    sim.assert_as_at_boot();
}

#[test]
fn i6_many_merges_are_freed_by_one_flush_when_the_bound_is_reached() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.refill(200).unwrap();
    (0..4).for_each(|_| sim.map.add_record_page(record_page()));
    let mut full = 0;
    let blocks = 4 * KEPT_MAX as u64;
    for block in 0..blocks {
        let mut batch = Batch::new();
        let addr = GIB_AT + (block % 400) * 2 * MIB + 4 * KIB;
        let held = sim.change_page(addr, Change::NotPresent, &mut batch).unwrap();
        assert_eq!(flushed(&mut sim, &mut batch), Some(1));
        sim.map.restore(held, &mut batch);
        assert!(batch.tables() == 0 || batch.tables() == KEPT_MAX as u64);
        full += u64::from(flushed(&mut sim, &mut batch).is_none());
        assert!(sim.map.kept_tables() <= KEPT_MAX as u64);
    }
    // The table of the 1-GiB page is put back each time.
    assert_eq!(full, (blocks + 1 - KEPT_MAX as u64).div_ceil(KEPT_MAX as u64));
    sim.assert_as_at_boot();
}

#[test]
fn i6_a_page_that_is_set_sends_its_tables_off_and_no_others() {
    let mut sim = Sim::usual();
    let (one, other) = (GIB_AT + 6 * MIB, GIB_AT + 800 * MIB);
    sim.touch(one);
    sim.touch(other);
    assert_eq!(sim.map.kept_tables(), 3);
    let mut batch = Batch::new();
    // Beside both: its 2-MiB page is flushed as one.
    let beside = GIB_AT + 400 * MIB;
    let held = sim.change_into(beside, beside + 2 * MIB, Change::ReadOnly, &mut batch).unwrap();
    assert_eq!(flushed(&mut sim, &mut batch), Some(1));
    sim.map.restore(held, &mut batch);
    assert_eq!(flushed(&mut sim, &mut batch), Some(1));
    // The block of a kept table, whose small pages may be cached.
    let held = sim.change_into(one, one + 2 * MIB, Change::ReadOnly, &mut batch).unwrap();
    assert_eq!((batch.tables(), sim.map.kept_tables()), (1, 1));
    assert!(batch.flush_batch().is_full_flush() && !batch.flush_batch().may_be_lazy());
    let mut before_flush = Batch::new();
    sim.map.restore(held, &mut before_flush);
    // The table says what the page said once: it is not put back.
    let held = sim.change_page(one, Change::NotPresent, &mut before_flush).unwrap();
    sim.map.validate().unwrap();
    sim.map.restore(held, &mut before_flush);
    sim.finish(before_flush);
    // The block has two tables now: one that leaves, one that is kept.
    sim.map.validate().unwrap();
    assert_eq!((batch.tables(), sim.map.kept_tables()), (1, 3));
    // Not flushed yet: small pages may be cached from before. All of the GiB goes, with all of its tables.
    let mut all = Batch::new();
    let held = sim.change_into(GIB_AT, GIB_AT + GIB, Change::NotPresent, &mut all).unwrap();
    assert_eq!((all.tables(), sim.map.kept_tables()), (3, 0));
    assert_eq!(flushed(&mut sim, &mut all), None);
    sim.map.restore(held, &mut all);
    assert!(all.is_empty());
    let held = sim.change_into(one, one + 2 * MIB, Change::ReadOnly, &mut all).unwrap();
    assert_eq!(flushed(&mut sim, &mut all), None, "the first batch is not flushed yet");
    assert_eq!(flushed(&mut sim, &mut batch), None);
    sim.map.restore(held, &mut batch);
    assert_eq!(flushed(&mut sim, &mut batch), Some(1));
    sim.assert_as_at_boot();
}

#[test]
fn a_split_of_the_larger_page_or_the_smaller_one_takes_back_its_own_table() {
    let mut sim = Sim::usual();
    sim.touch(PAGE_AT);
    let taken_back = |sim: &Sim| sim.map.counters().tables_taken_back;
    // The 1-GiB page alone.
    let start = GIB_AT + 10 * MIB;
    let held = sim.change(start, start + 2 * MIB, Change::NotPresent).unwrap();
    assert_eq!((taken_back(&sim), sim.map.kept_tables()), (1, 1));
    // The 2-MiB page in it, now that its page is in a table again.
    let page = sim.change(PAGE_AT, PAGE_AT + 4 * KIB, Change::ReadOnly).unwrap();
    assert_eq!((taken_back(&sim), sim.map.kept_tables()), (2, 0));
    sim.restore(held);
    sim.restore(page);
    // A pin, too.
    let block = PAGE_AT & !(2 * MIB - 1);
    let before = sim.map.reserve();
    let pin = sim.pin(block, block + 4 * MIB, PageSize::Size4K).unwrap();
    assert_eq!(
        (before.tables - sim.map.reserve().tables, before.records - sim.map.reserve().records),
        (1, 2)
    );
    sim.restore(pin);
    sim.assert_as_at_boot();
}

#[test]
fn i12_a_pin_has_the_tables_that_it_asked_for_whatever_becomes_of_kept_ones() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.refill(2).unwrap();
    sim.touch(PAGE_AT);
    let block = PAGE_AT & !(2 * MIB - 1);
    let needs = sim.map.needs_to_pin(frames(block, block + 4 * MIB), PageSize::Size4K).unwrap();
    assert_eq!(needs, Reserve { tables: 3, records: 4 });
    sim.refill(needs.tables).unwrap();
    // Another caller has the kept tables leave meanwhile.
    let mut other = Batch::new();
    assert_eq!(sim.map.empty_quarantine(&mut other), 2);
    let pin = sim.pin(block, block + 4 * MIB, PageSize::Size4K).unwrap();
    assert_eq!(sim.map.reserve().tables, 0);
    sim.finish(other);
    sim.restore(pin);
    sim.assert_as_at_boot();
}

#[test]
fn i12_a_change_in_want_of_tables_waits_once_for_those_of_the_quarantine() {
    for is_long in [false, true] {
        let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
        sim.refill(2).unwrap();
        sim.touch(PAGE_AT);
        let (cause, now) = (sim.cause(), sim.now());
        let mut batch = Batch::new();
        // SAFETY: the frames are made up.
        let mut work = unsafe { Changing::new(frames(GIB, GIB + 4 * KIB), Change::NotPresent, cause, now) };
        assert!(work.step(&mut sim.map, &mut batch).is_pending());
        assert_eq!((batch.is_due(), batch.tables(), sim.map.hold_count()), (true, 2, 0));
        if is_long {
            // The tables are another's before it goes on, and so are its frames.
            sim.finish(core::mem::take(&mut batch));
            let held = sim.change(GIB, GIB + 4 * KIB, Change::ReadOnly).unwrap();
            let answer = work.step(&mut sim.map, &mut batch);
            assert!(matches!(answer, Poll::Ready(Err(ChangeError::Held { .. }))), "{answer:?}");
            sim.restore(held);
        } else {
            sim.finish(core::mem::take(&mut batch));
            let Poll::Ready(Ok(held)) = work.step(&mut sim.map, &mut batch) else { panic!("it is refused") };
            assert!(!batch.is_due());
            sim.finish(core::mem::take(&mut batch));
            sim.restore(held);
        }
        sim.assert_as_at_boot();
        // Where there is nothing to wait for it is refused.
        let held = sim.change(PAGE_AT, PAGE_AT + 4 * KIB, Change::NotPresent);
        let first = held.unwrap_or_else(|_| {
            // It was tried in one go, and the flush has brought the tables.
            sim.change(PAGE_AT, PAGE_AT + 4 * KIB, Change::NotPresent).unwrap()
        });
        let refused = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent);
        assert_eq!(refused.err(), Some(ChangeError::OutOfTables { needed: 2, left: 0 }));
        sim.restore(first);
        sim.assert_as_at_boot();
    }
}

#[test]
fn i12_records_of_kept_tables_are_found_like_their_tables() {
    let mut sim = Sim::usual();
    sim.touch(PAGE_AT);
    let mut held = Vec::new();
    // Uses up the records with pages of a block that is split already.
    for page in 0.. {
        let addr = GIB + page * 4 * KIB;
        if sim.map.reserve().records == 0 {
            break;
        }
        held.push(sim.change(addr, addr + 4 * KIB, Change::ReadOnly).unwrap());
    }
    assert_eq!(sim.map.kept_tables(), 2);
    let addr = GIB + MIB;
    let mut batch = Batch::new();
    let refused = sim.change_page(addr, Change::ReadOnly, &mut batch);
    assert_eq!(refused.err(), Some(ChangeError::OutOfRecords { needed: 1, left: 0 }));
    assert!(batch.is_due());
    flushed(&mut sim, &mut batch);
    held.push(sim.change_page(addr, Change::ReadOnly, &mut batch).unwrap());
    flushed(&mut sim, &mut batch);
    held.into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
}

#[test]
fn i6_tables_without_a_place_have_every_page_flushed_as_small_ones_until_they_are_back() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.source = SimSource::new(&mut sim.map.tree.memory, SimTree::ROOT.plus(0x20_0000), 400);
    sim.refill(400).unwrap();
    (0..12).for_each(|_| sim.map.add_record_page(record_page()));
    let mut held: Vec<Hold> = (0..3 * KEPT_MAX as u64)
        .map(|block| GIB_AT + block * 2 * MIB)
        .map(|addr| sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap())
        .collect();
    // Nothing is flushed meanwhile: more tables leave than there are places.
    let mut batch = Batch::new();
    held.drain(..).for_each(|held| sim.map.restore(held, &mut batch));
    sim.map.validate().unwrap();
    assert_eq!(batch.tables() + sim.map.kept_tables(), 3 * KEPT_MAX as u64 + 1);
    assert!(batch.tables() > 2 * KEPT_MAX as u64);
    let (far, mut other) = (GIB + 512 * MIB, Batch::new());
    let large = sim.change_into(far, far + 2 * MIB, Change::ReadOnly, &mut other).unwrap();
    assert_eq!(flushed(&mut sim, &mut other), None);
    assert_eq!(flushed(&mut sim, &mut batch), None);
    sim.map.restore(large, &mut other);
    assert_eq!(flushed(&mut sim, &mut other), Some(1));
    sim.assert_as_at_boot();
}

#[test]
fn a_validation_finds_a_kept_table_that_says_something_else() {
    let mut sim = Sim::usual();
    sim.touch(PAGE_AT);
    let tables: Vec<_> = sim.map.merged_tables().collect();
    assert_eq!(tables.len(), 2);
    for (block, table) in tables {
        for index in [0, 311] {
            let right = sim.map.memory().read(table, index);
            sim.map.tree.memory.write(table, index, Entry::EMPTY);
            let mut work = Validation::new();
            let found = loop {
                if let Poll::Ready(found) = work.step(&sim.map) {
                    break found;
                }
            };
            assert_eq!((found, sim.map.validate()), (Err(Inconsistency::Kept { block }), found));
            sim.map.tree.memory.write(table, index, right);
        }
    }
    sim.map.validate().unwrap();
}
