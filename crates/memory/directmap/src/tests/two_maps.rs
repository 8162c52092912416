//! Two maps in one program: what one gives out, the other refuses, and nothing is done or lost.

use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;

use rhumb_machine::Machine;
use rhumb_machine::testing::{EmptyTlb, TestMachine};

use super::fixture::{Sim, frames};
use super::*;

const START: u64 = 4 * GIB;
const END: u64 = START + 8 * KIB;

/// Two maps of the same RAM, each with the same two pages read-only, under the same numbers.
fn twins() -> [(Sim, Hold); 2] {
    [(); 2].map(|()| {
        let mut sim = Sim::usual();
        let held = sim.change(START, END, Change::ReadOnly).unwrap();
        (sim, held)
    })
}

/// Checks that `act` does nothing to the map, and panics with the name of the error.
fn panics<A>(sim: &mut Sim, act: impl FnOnce(&mut Sim) -> A) {
    let (before, reserve) = (sim.map.memory().clone(), sim.map.reserve());
    let refusal = catch_unwind(AssertUnwindSafe(|| act(sim))).err().expect("another map's");
    assert_eq!(refusal.downcast_ref::<String>().unwrap(), &ChangeError::OtherMap.to_string());
    unchanged(sim, &before, reserve);
}

fn unchanged(sim: &Sim, before: &SimTables, reserve: Reserve) {
    assert!(sim.map.memory().has_same_entries(before));
    assert_eq!(sim.map.memory().writes, before.writes);
    assert_eq!((sim.map.reserve(), sim.map.hold_count()), (reserve, 1));
    sim.map.validate().unwrap();
}

#[test]
fn handles_of_one_map_are_refused_by_another() {
    let [(mut one, mine), (mut other, theirs)] = twins();
    let mut mine = mine;
    let now = other.now();
    let (before, reserve) = (other.map.memory().clone(), other.map.reserve());
    let altered = other.map.alter(&mut mine, Change::NotPresent, now, &mut Batch::new());
    assert_eq!(altered, Err(ChangeError::OtherMap));
    unchanged(&other, &before, reserve);

    // A restore in steps is told so, and goes on where the frames are held.
    let mut restoring = Restoring::new(mine);
    panics(&mut other, |other| restoring.step(&mut other.map, &mut Batch::new()));
    let restored = one.with_batch(|map, batch| restoring.step(map, batch));
    assert_eq!(restored, Poll::Ready(()));
    one.assert_as_at_boot();

    let again = one.change(START, END, Change::ReadOnly).unwrap();
    panics(&mut other, |other| other.map.restore(again, &mut Batch::new()));
    let more = one.change(START + MIB, START + MIB + 4 * KIB, Change::ReadOnly).unwrap();
    panics(&mut other, |other| other.map.leave(more));
    // Nothing was left in the other map, to be adopted.
    // SAFETY: the frames are made up.
    assert!(unsafe { other.map.adopt(other.owner, frames(START, END)) }.is_none());
    other.restore(theirs);
    other.assert_as_at_boot();
}

#[test]
fn owners_of_one_map_are_strangers_to_another() {
    let [(one, mine), (mut other, theirs)] = twins();
    let (reserve, before) = (other.map.reserve(), other.map.memory().clone());
    let (owner, cause, now) = (one.owner, one.cause(), other.now());
    let range = frames(START + MIB, START + MIB + 4 * KIB);
    let mut batch = Batch::new();
    for change in [Change::ReadOnly, Change::ReadWrite] {
        // SAFETY: the frames are made up.
        let changed = unsafe { other.map.change(range, change, cause, now, &mut batch) };
        assert_eq!(changed.err(), Some(ChangeError::OtherMap));
        assert_eq!(other.map.needs(owner, range, change), Err(ChangeError::OtherMap));
    }
    let pinned = other.map.pin_small(range, PageSize::Size4K, cause, now);
    assert_eq!(pinned.err(), Some(ChangeError::OtherMap));
    assert_eq!(other.map.set_limits(owner, Limits::of_breaks(0)), Err(ChangeError::OtherMap));
    assert_eq!(other.map.remove_owner(owner, now), Err(ChangeError::OtherMap));
    assert!(other.map.owner(owner).is_none());
    other.map.leave(theirs);
    // SAFETY: the frames are made up.
    assert!(unsafe { other.map.adopt(owner, frames(START, END)) }.is_none());
    unchanged(&other, &before, reserve);
    drop(mine);
}

#[test]
fn batches_of_one_map_are_refused_by_another() {
    let [(mut one, mine), (mut other, mut theirs)] = twins();
    let mut batch = Batch::new();
    one.map.restore(mine, &mut batch);
    one.map.empty_quarantine(&mut batch);
    assert!(batch.tables() > 0);
    let (reserve, before) = (other.map.reserve(), other.map.memory().clone());
    let (cause, now) = (other.cause(), other.now());
    let range = frames(START + MIB, START + MIB + 4 * KIB);
    // SAFETY: the frames are made up.
    let changed = unsafe { other.map.change(range, Change::ReadOnly, cause, now, &mut batch) };
    assert_eq!(changed.err(), Some(ChangeError::OtherMap));
    assert_eq!(other.map.alter(&mut theirs, Change::NotPresent, now, &mut batch), Err(ChangeError::OtherMap));
    panics(&mut other, |other| other.map.collapse(frames(0, 5 * GIB), &mut batch));
    panics(&mut other, |other| other.map.empty_quarantine(&mut batch));
    unchanged(&other, &before, reserve);
    let mut restoring = Restoring::new(theirs);
    panics(&mut other, |other| restoring.step(&mut other.map, &mut batch));
    // Its tables would be one map's and another's at once.
    // SAFETY: no CPU walks tables in a hash map.
    let flushed = unsafe { batch.never_walked() };
    panics(&mut other, |other| other.map.reclaim_tables(flushed));
    one.map.validate().unwrap();
    other.with_batch(|map, batch| restoring.step(map, batch)).is_ready().then_some(()).unwrap();
    other.assert_as_at_boot();
}

/// Its tables are walked by the CPUs of the map's machine, none of which has flushed.
#[test]
#[should_panic(expected = "flushed on another machine than the map's")]
fn a_batch_that_another_machine_has_flushed_is_refused() {
    let [(mut one, mine), _] = twins();
    let mut batch = Batch::new();
    one.map.restore(mine, &mut batch);
    one.map.empty_quarantine(&mut batch);
    assert!(batch.tables() > 0);
    let machine = TestMachine { identity: 7, ..TestMachine::with_tlb(1, 1, EmptyTlb) };
    let flushed = batch.flush(&machine, machine.pin().pinned());
    one.map.reclaim_tables(flushed);
}

/// A change that has claimed its frames is told so by the other map, and goes on.
#[test]
fn a_change_under_way_stays_with_its_map() {
    let mut one = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size4K);
    let mut other = Sim::bare(Levels::Four, PageSize::Size4K, PageSize::Size4K);
    let (range, cause, now) = (frames(4 * GIB, 5 * GIB), one.cause(), one.now());
    // SAFETY: the frames are made up.
    let mut work = unsafe { Changing::new(range, Change::ReadOnly, cause, now) };
    let mut batch = Batch::new();
    assert!(work.step(&mut one.map, &mut batch).is_pending());
    let mut others = Batch::new();
    let Poll::Ready(Err(error)) = work.step(&mut other.map, &mut others) else {
        panic!("the claim is one's")
    };
    assert_eq!((error, other.map.hold_count()), (ChangeError::OtherMap, 0));
    let held = loop {
        if let Poll::Ready(changed) = work.step(&mut one.map, &mut batch) {
            break changed.unwrap();
        }
    };
    one.finish(batch);
    one.restore(held);
    one.assert_as_at_boot();
}
