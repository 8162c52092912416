//! Changes in steps: each step is bounded, the end is that of the whole, and what is refused leaves no trace.

use core::task::Poll;

use super::fixture::{Map, Sim, frames, pfn};
use super::*;
use crate::address_range;
use rhumb_pagetable::CacheMode;

/// Returns a map of 4-KiB pages: what lies below the second GiB is little, so that all of it can be validated again and
/// again.
fn small() -> Sim {
    let ram = [(0, 640 * KIB), (MIB, 32 * MIB), (GIB, 2 * GIB + 6 * MIB)];
    let mut sim = Sim::bare_of(&ram, Levels::Four, PageSize::Size4K, PageSize::Size1G);
    sim.refill(64).unwrap();
    (0..8).for_each(|_| sim.map.add_record_page(fixture::record_page()));
    sim
}

/// Does `step` until it answers, looks at the map in between, and returns the answer, the steps and the most writes
/// that one of them took.
fn drive<A>(
    sim: &mut Sim,
    batch: &mut Batch,
    mut between: impl FnMut(&mut Sim, u64),
    mut step: impl FnMut(&mut Map, &mut Batch) -> Poll<A>,
) -> (A, u64, u64) {
    let (mut steps, mut most) = (0, 0);
    loop {
        let before = sim.map.memory().writes;
        let answer = step(&mut sim.map, batch);
        most = most.max(sim.map.memory().writes - before);
        steps += 1;
        match answer {
            Poll::Ready(answer) => return (answer, steps, most),
            Poll::Pending => between(sim, steps),
        }
    }
}

/// A step's entries, and four tables filled.
const MOST_WRITES: u64 = STEP_ENTRIES + 4 * 514;

#[test]
fn i7_a_long_change_is_made_in_bounded_steps_and_undone_in_such() {
    let mut sim = small();
    let (start, end) = (GIB + 4 * KIB, GIB + 61 * MIB);
    let before = sim.leaves();
    let mut batch = Batch::new();
    let (cause, now) = (sim.cause(), sim.now());
    // SAFETY: the frames are made up.
    let mut work = unsafe { Changing::new(frames(start, end), Change::NotPresent, cause, now) };
    let owner = OwnerName::of("test");
    let (held, steps, most) = drive(
        &mut sim,
        &mut batch,
        |sim, _| {
            // The frames are claimed, their neighbours are not.
            sim.map.validate().unwrap();
            assert_eq!(sim.map.hold_count(), 1);
            let gone = ChangeError::AlreadyRemoved { frames: frames(start, end), owner };
            assert_eq!(sim.change(end - 4 * KIB, end, Change::NotPresent).err(), Some(gone));
            let other = sim.change(end, end + 4 * KIB, Change::NotPresent).unwrap();
            sim.restore(other);
            // Nothing is merged that is half changed.
            sim.with_batch(|map, batch| map.collapse(frames(GIB, GIB + 2 * MIB), batch));
        },
        |map, batch| work.step(map, batch),
    );
    let held = held.unwrap();
    let pages = (end - start) / 4096;
    assert!(steps >= 2 * pages / STEP_ENTRIES && steps <= 2 * pages / STEP_ENTRIES + 4, "{steps} steps");
    assert!(most <= MOST_WRITES, "{most} writes in one step");
    assert!(sim.page(start).is_none() && sim.page(end - 4 * KIB).is_none() && sim.page(end).is_some());
    sim.finish(core::mem::take(&mut batch));
    sim.map.validate().unwrap();
    let mut held = held;
    {
        let mut work = Altering::new(&mut held, Change::Present, now);
        let (altered, steps, most) = drive(
            &mut sim,
            &mut batch,
            |sim, _| sim.map.validate().unwrap(),
            |map, batch| work.step(map, batch),
        );
        altered.unwrap();
        assert!(steps > 3 && most <= MOST_WRITES);
    }
    assert!(!held.is_in_force());
    assert_eq!(sim.leaves(), before);
    let mut held = sim.change(start, end, Change::ReadOnly).unwrap();
    sim.alter(&mut held, Change::Cache(CacheMode::WriteCombining)).unwrap();
    let mut work = Restoring::new(held);
    let ((), steps, most) =
        drive(&mut sim, &mut batch, |sim, _| sim.map.validate().unwrap(), |map, batch| work.step(map, batch));
    assert!(steps > 3 && most <= MOST_WRITES);
    sim.finish(batch);
    sim.map.validate().unwrap();
    assert_eq!(sim.leaves(), before);
    assert_eq!((sim.map.hold_count(), sim.map.split_count()), (0, 0));
}

#[test]
fn i7_a_long_change_that_is_refused_late_leaves_no_trace() {
    let mut sim = small();
    // RAM ends within the range, many steps after its start.
    let (start, end) = (GIB + 4 * KIB, 3 * GIB);
    let before = sim.map.memory().clone();
    let (reserve, mut batch) = (sim.map.reserve(), Batch::new());
    let (cause, now) = (sim.cause(), sim.now());
    // SAFETY: the frames are made up.
    let mut work = unsafe { Changing::new(frames(start, end), Change::NotPresent, cause, now) };
    let (refused, steps, most) = drive(&mut sim, &mut batch, |_, _| (), |map, batch| work.step(map, batch));
    assert_eq!(refused.err(), Some(ChangeError::NotInMap { pfn: pfn(fixture::RAM[1].1) }));
    assert!(steps > 50 && most == 0);
    assert!(sim.map.memory().has_same_entries(&before) && batch.is_empty());
    assert_eq!((sim.map.reserve(), sim.map.hold_count()), (reserve, 0));
    sim.map.validate().unwrap();
}

#[test]
fn i3_what_stays_broken_for_a_claim_is_whole_again_when_it_is_refused() {
    let mut sim = Sim::usual();
    let (cause, now) = (sim.cause(), sim.now());
    let mut batch = Batch::new();
    // A page of the claim's first block, split by another hold that goes meanwhile; the range runs into a hole.
    let held = sim.change(4 * GIB, 4 * GIB + 4 * KIB, Change::NotPresent).unwrap();
    // SAFETY: the frames are made up.
    let mut work =
        unsafe { Changing::new(frames(4 * GIB + 4 * KIB, 5 * GIB + 4 * KIB), Change::ReadOnly, cause, now) };
    let pending = sim.map.advance_change(&mut work, 1, &mut batch);
    assert!(pending.is_pending());
    sim.restore(held);
    assert_eq!(sim.map.split_count(), 2, "the claim keeps it broken");
    let refused = sim.map.advance_change(&mut work, u64::MAX, &mut batch);
    assert!(matches!(refused, Poll::Ready(Err(ChangeError::NotInMap { .. }))));
    sim.finish(batch);
    sim.assert_as_at_boot();
}

#[test]
fn a_collapse_in_steps_waits_for_its_flushes_and_ends_as_the_whole_does() {
    let mut sim = small();
    let mut whole = small();
    for sim in [&mut sim, &mut whole] {
        (0..40).for_each(|_| sim.map.add_record_page(fixture::record_page()));
    }
    let all = frames(0, 5 * GIB);
    let expected = whole.with_batch(|map, batch| map.collapse(all, batch));
    let mut work = Collapsing::new(all);
    let mut batch = Batch::new();
    let mut steps = 0;
    let done = loop {
        steps += 1;
        match work.step(&mut sim.map, &mut batch) {
            Poll::Ready(done) => break done,
            Poll::Pending => {
                assert!(batch.tables() <= crate::collapse::MERGES_OF_A_FLUSH);
                if batch.tables() == crate::collapse::MERGES_OF_A_FLUSH {
                    sim.finish(core::mem::take(&mut batch));
                }
            }
        }
    };
    sim.finish(batch);
    sim.map.validate().unwrap();
    assert_eq!((done, sim.leaves()), (expected, whole.leaves()));
    assert!(steps > 100);
}

#[test]
fn i3_a_collapse_in_steps_leaves_nothing_small_for_want_of_records() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size1G);
    let mut whole = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size1G);
    assert!(sim.map.reserve().records < crate::collapse::MERGES_OF_A_FLUSH);
    (0..15).for_each(|_| whole.map.add_record_page(fixture::record_page()));
    let all = frames(4 * GIB, 5 * GIB);
    let mut batch = Batch::new();
    let expected = whole.map.collapse(all, &mut batch);
    whole.finish(batch);
    assert_eq!((expected.level2, expected.level3, expected.left), (512, 1, 0));
    let (mut work, mut batch) = (Collapsing::new(all), Batch::new());
    let done = loop {
        match work.step(&mut sim.map, &mut batch) {
            Poll::Ready(done) => break done,
            Poll::Pending if sim.map.reserve().records == 0 => sim.finish(core::mem::take(&mut batch)),
            Poll::Pending => {}
        }
    };
    sim.finish(batch);
    sim.map.validate().unwrap();
    assert_eq!(done, expected);
    assert_eq!(sim.page(4 * GIB).map(|(size, _)| size), Some(PageSize::Size1G));
    assert!(sim.leaves() == whole.leaves());
}

#[test]
fn a_validation_in_steps_finds_what_the_whole_does() {
    let mut sim = small();
    let held = sim.change(GIB + 4 * KIB, GIB + 80 * MIB, Change::ReadOnly).unwrap();
    let validate = |sim: &mut Sim, between: &mut dyn FnMut(&mut Sim)| {
        let (mut work, mut steps) = (Validation::new(), 0);
        loop {
            steps += 1;
            if let Poll::Ready(answer) = work.step(&sim.map) {
                return (answer, steps);
            }
            between(sim);
        }
    };
    let (sound, steps) = validate(&mut sim, &mut |_| ());
    assert_eq!(sound, Ok(()));
    assert!(steps > 64);
    // Changes between the steps disturb it, and are no finding.
    let mut number = 0;
    let (sound, _) = validate(&mut sim, &mut |sim| {
        number += 1;
        let addr = GIB + 128 * MIB + (number % 300) * 8 * KIB;
        let mut batch = Batch::new();
        let (cause, now) = (sim.cause(), sim.now());
        let page = frames(addr, addr + 4 * KIB);
        // SAFETY: the frames are made up.
        let held = unsafe { sim.map.change(page, Change::NotPresent, cause, now, &mut batch) }.unwrap();
        if number % 2 == 0 {
            sim.map.restore(held, &mut batch);
        } else {
            sim.map.leave(held);
        }
        sim.finish(batch);
    });
    assert_eq!(sound, Ok(()));
    // An entry that was changed behind the map's back is found.
    let virt = address_range(Levels::Four).start().plus(GIB + 70 * MIB);
    let step = *walk(sim.map.memory(), Root::new(SimTree::ROOT, Levels::Four), virt).steps().last().unwrap();
    sim.map.tree.memory.write(
        step.table,
        step.index,
        State::ORDINARY.entry(PhysAddr::new(GIB + 70 * MIB), PageSize::Size4K),
    );
    let wrong = Err(Inconsistency::Entry { pfn: pfn(GIB + 70 * MIB) });
    assert_eq!(validate(&mut sim, &mut |_| ()).0, wrong);
    assert_eq!(sim.map.validate(), wrong);
    sim.map.tree.memory.write(step.table, step.index, step.entry);
    // And so is a wrong count of one owner, though another has what it lacks.
    let owner = sim.owner;
    let other = sim.map.add_owner(OwnerName::of("other"), Limits::NONE).unwrap();
    sim.map.journal.update_owner(owner, |owner| owner.frames -= 1);
    sim.map.journal.update_owner(other, |owner| owner.frames += 1);
    assert_eq!(validate(&mut sim, &mut |_| ()).0, Err(Inconsistency::Owners));
    sim.map.journal.update_owner(owner, |owner| owner.frames += 1);
    sim.map.journal.update_owner(other, |owner| owner.frames -= 1);
    sim.restore(held);
}

#[test]
fn a_change_of_cache_mode_reaches_cpus_that_missed_the_removal() {
    // Removed lazily: a CPU that idles may hold the page in the old mode, which nothing of the map shows any more.
    let mut sim = Sim::usual();
    let mut held = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    let now = sim.now();
    let mut batch = Batch::new();
    sim.map.alter(&mut held, Change::Cache(CacheMode::UncachedStrong), now, &mut batch).unwrap();
    assert!(batch.flush_batch().is_full_flush());
    assert!(!batch.flush_batch().may_be_lazy());
    sim.finish(core::mem::take(&mut batch));
    sim.map.restore(held, &mut batch);
    assert!(batch.flush_batch().is_full_flush() && !batch.flush_batch().may_be_lazy());
    sim.finish(batch);
    sim.assert_as_at_boot();
}

#[test]
fn i7_a_change_that_has_answered_does_nothing_more() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    let range = frames(4 * GIB + 4 * KIB, 4 * GIB + 8 * KIB);
    let (cause, now, mut batch) = (sim.cause(), sim.now(), Batch::new());
    // SAFETY: the frames are made up.
    let mut first = unsafe { Changing::new(range, Change::ReadOnly, cause, now) };
    let refused = first.step(&mut sim.map, &mut batch);
    assert!(matches!(refused, Poll::Ready(Err(ChangeError::OutOfTables { .. }))));
    // The frames go to another holder, which changes them.
    sim.refill(64).unwrap();
    // SAFETY: the frames are made up.
    let mut second = unsafe { Changing::new(range, Change::NotPresent, cause, now) };
    let Poll::Ready(Ok(held)) = second.step(&mut sim.map, &mut batch) else { panic!("it is refused") };
    for _ in 0..2 {
        for work in [&mut first, &mut second] {
            let again = work.step(&mut sim.map, &mut batch);
            assert!(matches!(again, Poll::Ready(Err(ChangeError::NothingHeld))), "{again:?}");
        }
    }
    sim.map.validate().unwrap();
    assert_eq!(sim.map.hold_count(), 1);
    // Nor does it when they are ordinary again.
    sim.map.restore(held, &mut batch);
    let again = first.step(&mut sim.map, &mut batch);
    assert!(matches!(again, Poll::Ready(Err(ChangeError::NothingHeld))), "{again:?}");
    sim.finish(batch);
    sim.assert_as_at_boot();
}

#[test]
fn i7_held_frames_that_were_left_half_changed_can_only_be_restored() {
    let mut sim = small();
    let before = sim.leaves();
    let (start, end) = (GIB, GIB + 17 * MIB);
    let mut held = sim.change(start, end, Change::NotPresent).unwrap();
    let (now, mut batch) = (sim.now(), Batch::new());
    {
        let mut work = Altering::new(&mut held, Change::Present, now);
        assert!(work.step(&mut sim.map, &mut batch).is_pending());
        // And is given up.
    }
    assert!(sim.page(start).is_some() && sim.page(end - 4 * KIB).is_none());
    for change in [Change::NotPresent, Change::ReadOnly, Change::Present, Change::Cache(CacheMode::WriteBack)]
    {
        let refused = sim.map.alter(&mut held, change, now, &mut batch);
        assert_eq!(refused, Err(ChangeError::HalfChanged { frames: frames(start, end) }));
    }
    sim.finish(core::mem::take(&mut batch));
    sim.map.validate().unwrap();
    sim.map.restore(held, &mut batch);
    // Of what kind the half was, nothing says any more.
    assert!(batch.flush_batch().is_full_flush() && !batch.flush_batch().may_be_lazy());
    sim.finish(batch);
    sim.map.validate().unwrap();
    assert_eq!(sim.leaves(), before);
    assert_eq!(sim.map.hold_count(), 0);
}

#[test]
fn i13_a_validation_looks_at_no_more_absent_pages_than_present_ones_in_a_step() {
    let steps_of = |sim: &Sim| {
        let (mut work, mut steps) = (Validation::new(), 1);
        while work.step(&sim.map).is_pending() {
            steps += 1;
        }
        steps
    };
    let mut sim = small();
    let all_present = steps_of(&sim);
    let held = sim.change(GIB, 2 * GIB, Change::NotPresent).unwrap();
    let (pages, of_hold) = (GIB / 4096, GIB / 4096 / STEP_ENTRIES);
    assert!(pages > 10 * STEP_ENTRIES);
    // The hold's own pages are looked at besides.
    let some_absent = steps_of(&sim);
    assert!(some_absent >= all_present + of_hold - 2, "{some_absent} steps, {all_present} before");
    sim.restore(held);
}

#[test]
fn i13_a_step_of_a_validation_that_ends_at_a_hold_adds_it_up_once() {
    let mut sim = small();
    let (cause, now) = (sim.cause(), sim.now());
    // A step has looks for 124 holds of one page, and ends at the start of the next.
    sim.with_batch(|map, batch| {
        for count in 1..=130 {
            let at = GIB + count * 8 * KIB;
            // SAFETY: the frames are made up.
            let held = unsafe { map.change(frames(at, at + 4 * KIB), Change::ReadOnly, cause, now, batch) };
            map.leave(held.unwrap());
        }
    });
    let mut work = Validation::new();
    let answer = loop {
        if let Poll::Ready(answer) = work.step(&sim.map) {
            break answer;
        }
    };
    assert_eq!(answer, Ok(()));
}
