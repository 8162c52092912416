//! The reserve: exact, refused when short, and never lost.

use super::fixture::{Sim, frames, record_page};
use super::*;

/// A change that splits four pages: two of 1 GiB and two of 2 MiB.
const WIDE: (u64, u64) = (GIB + 4 * KIB, 4 * GIB + 4 * KIB);

#[test]
fn i7_a_change_with_one_table_too_few_changes_nothing() {
    // RAM has a hole on the way; so two ranges, of two splits each.
    for (start, end, needed) in [
        (GIB + 4 * KIB, 2 * GIB, 2),
        (WIDE.0 - 4 * KIB, 2 * GIB - 4 * KIB, 2),
        (GIB + 4 * KIB, 2 * GIB - 4 * KIB, 3),
    ] {
        for tables in 0..=needed {
            let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
            sim.refill(tables).unwrap();
            let before = sim.map.memory().clone();
            let needs = sim.map.needs(sim.owner, frames(start, end), Change::NotPresent);
            assert_eq!(needs, Ok(Reserve { tables: needed, records: needed + 1 }));
            let held = sim.change(start, end, Change::NotPresent);
            if tables < needed {
                assert_eq!(held.err(), Some(ChangeError::OutOfTables { needed, left: tables }));
                assert!(sim.map.memory().has_same_entries(&before));
                assert_eq!(sim.map.counters().refusals, 1);
            } else {
                assert_eq!(sim.map.reserve().tables, 0);
                sim.restore(held.unwrap());
            }
            sim.assert_as_at_boot();
        }
    }
}

#[test]
fn i7_a_change_with_one_record_too_few_changes_nothing() {
    let mut sim = Sim::usual();
    let mut held = Vec::new();
    // Uses up the records in a block that is broken already.
    for page in 0.. {
        let addr = 4 * GIB + page * 4 * KIB;
        match sim.change(addr, addr + 4 * KIB, Change::ReadOnly) {
            Ok(one) => held.push(one),
            Err(error) => {
                assert_eq!(error, ChangeError::OutOfRecords { needed: 1, left: 0 });
                break;
            }
        }
    }
    for free in 0..3 {
        let before = sim.map.memory().clone();
        let change = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent);
        assert_eq!(change.err(), Some(ChangeError::OutOfRecords { needed: 3, left: free }));
        assert!(sim.map.memory().has_same_entries(&before));
        sim.restore(held.pop().unwrap());
    }
    let last = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    assert_eq!(sim.map.reserve().records, 0);
    // Restoring takes none.
    sim.restore(last);
    held.into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
}

#[test]
fn i6_a_merged_table_is_used_by_no_other_block_before_the_flush() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.refill(2).unwrap();
    let (cause, now) = (sim.cause(), sim.now());
    let page = frames(GIB, GIB + 4 * KIB);
    let mut batch = Batch::new();
    // SAFETY: the frames are made up.
    let held = unsafe { sim.map.change(page, Change::NotPresent, cause, now, &mut batch) }.unwrap();
    sim.finish(core::mem::take(&mut batch));
    let tables: Vec<Pfn> = sim.source.taken_tables().collect();
    sim.map.restore(held, &mut batch);
    assert_eq!((batch.tables(), sim.map.kept_tables(), sim.map.reserve().tables), (0, 2, 0));
    // Until the flush each entry of such a table maps the same as the large page, because a CPU may still walk it.
    for &table in &tables {
        let first = sim.map.memory().read(table, 0);
        assert!(first.is_present());
        let step = sim.map.memory().read(table, 1).bits() - first.bits();
        for index in 0..512 {
            assert_eq!(sim.map.memory().read(table, index), first.advanced(index as u64 * step));
        }
    }
    let other = frames(4 * GIB, 4 * GIB + 4 * KIB);
    // SAFETY: the frames are made up.
    let refused = unsafe { sim.map.change(other, Change::NotPresent, cause, now, &mut batch) };
    assert_eq!(refused.err(), Some(ChangeError::OutOfTables { needed: 2, left: 0 }));
    sim.map.validate().unwrap();
    assert_eq!((batch.tables(), batch.is_due()), (2, true));
    assert!(batch.flush_batch().is_full_flush(), "512 small pages may be cached");
    assert!(!batch.flush_batch().may_be_lazy(), "an idle CPU may walk them");
    sim.finish(core::mem::take(&mut batch));
    // SAFETY: the frames are made up.
    let held = unsafe { sim.map.change(other, Change::NotPresent, cause, now, &mut batch) }.unwrap();
    assert_eq!((sim.map.reserve().tables, batch.is_due()), (0, false));
    sim.map.restore(held, &mut batch);
    sim.finish(batch);
    sim.assert_as_at_boot();
}

#[test]
fn i6_a_large_page_is_flushed_small_while_a_merge_waits() {
    let mut sim = Sim::usual();
    let held = sim.change(4 * GIB, 4 * GIB + 4 * KIB, Change::NotPresent).unwrap();
    let mut merging = Batch::new();
    sim.map.restore(held, &mut merging);
    // Another owner takes the whole page while CPUs may still hold 4-KiB translations of it.
    let take = |sim: &mut Sim, batch: &mut Batch| {
        let (cause, now) = (sim.cause(), sim.now());
        // SAFETY: the frames are made up.
        unsafe { sim.map.change(frames(4 * GIB, 5 * GIB), Change::NotPresent, cause, now, batch) }.unwrap()
    };
    let mut other = Batch::new();
    let held = take(&mut sim, &mut other);
    assert!(other.flush_batch().is_full_flush());
    sim.map.restore(held, &mut other);
    sim.finish(other);
    sim.finish(merging);
    let mut later = Batch::new();
    let held = take(&mut sim, &mut later);
    assert_eq!(later.flush_batch().pages(), 1);
    sim.map.restore(held, &mut later);
    sim.finish(later);
    sim.assert_as_at_boot();
}

#[test]
fn a_drained_reserve_gives_blank_tables() {
    let mut sim = Sim::usual();
    let held = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    sim.restore(held);
    sim.with_batch(|map, batch| map.empty_quarantine(batch));
    // SAFETY: its tables came from the source.
    unsafe { sim.map.drain(0, &mut sim.source) };
    assert_eq!((sim.source.taken(), sim.map.reserve().tables), (0, 0));
    assert!(sim.source.free_tables().all(|table| sim.map.memory().is_blank(table)));
}

#[test]
fn a_source_that_runs_out_keeps_what_it_gave() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    assert!(sim.refill(257).is_err());
    assert_eq!(sim.map.reserve().tables, 256);
    // SAFETY: its tables came from the source.
    unsafe { sim.map.drain(7, &mut sim.source) };
    assert_eq!(sim.source.taken(), 7);
}

#[test]
fn records_come_from_any_number_of_pages() {
    let mut sim = Sim::usual();
    let first = sim.map.reserve().records;
    for pages in 1..200 {
        sim.map.add_record_page(record_page());
        assert_eq!(sim.map.reserve().records, first + pages * RECORDS_PER_PAGE as u64);
    }
    let pins: Vec<Hold> = (0..15)
        .map(|number| 4 * GIB + number * 4 * MIB)
        .map(|start| sim.pin(start, start + 4 * MIB, PageSize::Size4K).unwrap())
        .collect();
    assert_eq!(sim.map.splits().count(), 31);
    pins.into_iter().for_each(|pin| sim.restore(pin));
    sim.assert_as_at_boot();
}
