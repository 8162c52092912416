//! Changes that find the reserve short: they wait for merged tables, or are refused at once.

use core::task::Poll;

use super::fixture::{Sim, frames};
use super::*;

const GIB_AT: u64 = 4 * GIB;

impl Sim {
    /// Makes a map of pages of 1 GiB whose reserve is empty: its two tables are kept, of a page that was changed and
    /// restored.
    fn with_two_kept() -> Self {
        let mut sim = Self::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
        sim.refill(2).unwrap();
        let held = sim.change(GIB_AT, GIB_AT + 4 * KIB, Change::NotPresent).unwrap();
        sim.restore(held);
        assert_eq!(sim.map.kept_tables(), 2);
        sim
    }

    /// Takes both tables as another CPU does that is about to flush them.
    fn take_both(&mut self) -> Batch {
        let mut theirs = Batch::new();
        assert_eq!(self.map.empty_quarantine(&mut theirs), 2);
        theirs
    }

    fn changing(&mut self, start: u64, end: u64) -> Changing {
        let (cause, now) = (self.cause(), self.now());
        // SAFETY: the frames are made up.
        unsafe { Changing::new(frames(start, end), Change::NotPresent, cause, now) }
    }
}

#[test]
fn i12_a_change_waits_for_the_tables_that_another_cpu_flushes() {
    let mut sim = Sim::with_two_kept();
    let (theirs, mut mine) = (sim.take_both(), Batch::new());
    let mut work = sim.changing(GIB, GIB + 4 * KIB);
    let edits = sim.map.memory().writes;
    for _ in 0..100 {
        assert!(work.step(&mut sim.map, &mut mine).is_pending());
        assert!(mine.is_empty() && !mine.is_due() && sim.map.hold_count() == 0);
        sim.map.validate().unwrap();
    }
    assert_eq!(sim.map.memory().writes, edits);
    sim.finish(theirs);
    let Poll::Ready(Ok(held)) = work.step(&mut sim.map, &mut mine) else { panic!("it is refused") };
    sim.finish(core::mem::take(&mut mine));
    sim.restore(held);
    // In one go it waits for nothing.
    let theirs = sim.take_both();
    let refused = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent);
    assert_eq!(refused.err(), Some(ChangeError::OutOfTables { needed: 2, left: 0 }));
    sim.finish(theirs);
    sim.assert_as_at_boot();
}

#[test]
fn i12_a_wait_ends_without_the_flush_and_nothing_has_changed() {
    let mut sim = Sim::with_two_kept();
    let (theirs, mut mine) = (sim.take_both(), Batch::new());
    let mut work = sim.changing(GIB, GIB + 4 * KIB);
    let mut steps = 0;
    let refused = loop {
        if let Poll::Ready(answer) = work.step(&mut sim.map, &mut mine) {
            break answer;
        }
        steps += 1;
    };
    assert_eq!(refused.err(), Some(ChangeError::OutOfTables { needed: 2, left: 0 }));
    assert_eq!(steps, (1 << 14) + 1);
    assert!(mine.is_empty());
    sim.finish(theirs);
    sim.assert_as_at_boot();
}

#[test]
fn i12_a_change_that_all_tables_would_not_do_for_leaves_the_kept_ones_where_they_are() {
    let mut sim = Sim::with_two_kept();
    let mut batch = Batch::new();
    // Three splits: of 1 GiB, and of 2 MiB at both ends.
    let mut work = sim.changing(GIB + 4 * KIB, 2 * GIB - 4 * KIB);
    let Poll::Ready(refused) = work.step(&mut sim.map, &mut batch) else { panic!("it waits for nothing") };
    assert_eq!(refused.err(), Some(ChangeError::OutOfTables { needed: 3, left: 0 }));
    assert!(batch.is_empty() && !batch.is_due());
    assert_eq!(sim.map.kept_tables(), 2);
    // With one more it waits: its own batch has that one.
    sim.refill(1).unwrap();
    let mut work = sim.changing(GIB + 4 * KIB, 2 * GIB - 4 * KIB);
    assert!(work.step(&mut sim.map, &mut batch).is_pending());
    assert_eq!((batch.is_due(), batch.tables()), (true, 2));
    sim.finish(core::mem::take(&mut batch));
    let Poll::Ready(Ok(held)) = work.step(&mut sim.map, &mut batch) else { panic!("it is refused") };
    sim.finish(batch);
    sim.restore(held);
    sim.assert_as_at_boot();
}

#[test]
fn i12_a_change_waits_for_a_record_and_later_for_tables() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.refill(4).unwrap();
    let mut held = [0, 1, 2].map(|block| {
        let addr = GIB_AT + block * 2 * MIB;
        Some(sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap())
    });
    sim.restore(held[0].take().unwrap());
    // Holds of whole pages use up the records.
    let mut others = Vec::new();
    for block in 32.. {
        if sim.map.reserve().records == 0 {
            break;
        }
        let addr = block * 2 * MIB;
        others.push(sim.change(addr, addr + 2 * MIB, Change::ReadOnly).unwrap());
    }
    assert_eq!((sim.map.reserve(), sim.map.kept_tables()), (Reserve::default(), 1));
    let mut work = sim.changing(GIB + 4 * KIB, 2 * GIB + 4 * KIB);
    let mut batch = Batch::new();
    // One entry in each step.
    assert!(sim.map.advance_change(&mut work, 1, &mut batch).is_pending());
    assert!(batch.is_due());
    sim.finish(core::mem::take(&mut batch));
    assert!(sim.map.advance_change(&mut work, 1, &mut batch).is_pending());
    assert_eq!(sim.map.reserve(), Reserve { tables: 1, records: 0 });
    // The quarantine fills again before the change comes to its splits.
    held.into_iter().flatten().for_each(|held| sim.restore(held));
    assert_eq!(sim.map.kept_tables(), 3);
    assert!(sim.map.advance_change(&mut work, u64::MAX, &mut batch).is_pending());
    assert!(batch.is_due());
    sim.finish(core::mem::take(&mut batch));
    let answer = sim.map.advance_change(&mut work, u64::MAX, &mut batch);
    let Poll::Ready(Ok(held)) = answer else { panic!("it is refused: {answer:?}") };
    sim.finish(batch);
    sim.restore(held);
    others.into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
}
