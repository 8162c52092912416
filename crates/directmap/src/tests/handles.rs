//! Handles parted, joined, left and adopted.

use super::fixture::{Sim, frames, pfn};
use super::*;
use rhumb_machine::FlushScope;

#[test]
fn a_parted_handle_is_two_and_a_joined_one_is_whole_again() {
    let mut sim = Sim::usual();
    let mut low = sim.change(4 * GIB, 5 * GIB, Change::NotPresent).unwrap();
    let middle = pfn(4 * GIB + 3 * MIB);
    let high = sim.with_batch(|map, batch| map.split(&mut low, middle, batch)).unwrap();
    assert_eq!((low.frames().end(), high.frames().start()), (middle, middle));
    assert_eq!(sim.map.splits().count(), 2);
    sim.restore(low);
    assert_eq!(sim.page(4 * GIB).unwrap().0, PageSize::Size2M);
    assert_eq!(sim.page(4 * GIB + 2 * MIB).unwrap().0, PageSize::Size4K);
    assert_eq!(sim.page(4 * GIB + 3 * MIB), None);
    let mut low = sim.change(4 * GIB, 4 * GIB + 3 * MIB, Change::NotPresent).unwrap();
    let mut batch = Batch::new();
    assert!(sim.map.join(&mut low, high, &mut batch).is_ok());
    // No page was in the map, but the tables of the absent ones may be cached, in every address space.
    assert!(matches!(
        batch.flush_batch().scope(),
        FlushScope::Pages { runs } if runs.len() == 2
    ));
    sim.settle(batch);
    assert_eq!(sim.map.splits().count(), 0, "one absent page of 1 GiB");
    assert_eq!(low.frames(), frames(4 * GIB, 5 * GIB));
    sim.restore(low);
    sim.assert_as_at_boot();
}

#[test]
fn join_gives_back_what_does_not_fit() {
    let mut sim = Sim::usual();
    let mut one = sim.change(GIB, GIB + 4 * KIB, Change::ReadOnly).unwrap();
    let other = sim.change(GIB + 4 * KIB, GIB + 8 * KIB, Change::NotPresent).unwrap();
    let other = sim.with_batch(|map, batch| map.join(&mut one, other, batch)).unwrap_err();
    let far = sim.change(GIB + 16 * KIB, GIB + 20 * KIB, Change::ReadOnly).unwrap();
    let far = sim.with_batch(|map, batch| map.join(&mut one, far, batch)).unwrap_err();
    assert_eq!(one.frames(), frames(GIB, GIB + 4 * KIB));
    [other, far, one].into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
}

#[test]
fn splitting_nowhere_is_refused() {
    let mut sim = Sim::usual();
    let mut held = sim.change(GIB, GIB + 8 * KIB, Change::ReadOnly).unwrap();
    for addr in [0, GIB, GIB + 8 * KIB, 3 * GIB] {
        let split = sim.with_batch(|map, batch| map.split(&mut held, pfn(addr), batch));
        assert_eq!(split.err(), Some(ChangeError::NotInside { pfn: pfn(addr) }));
    }
    sim.restore(held);
    sim.assert_as_at_boot();
}

#[test]
fn what_was_left_can_be_adopted() {
    let mut sim = Sim::usual();
    for page in 0..3 {
        let addr = GIB + page * 8 * KIB;
        let held = sim.change(addr, addr + 4 * KIB, Change::ReadOnly).unwrap();
        sim.map.leave(held);
    }
    let kept = sim.change(2 * GIB, 2 * GIB + 4 * KIB, Change::ReadOnly).unwrap();
    let owner = sim.owner;
    let mut adopted = 0;
    assert!(sim.map.adopt(owner, frames(GIB + 32 * KIB, 5 * GIB)).is_none());
    let nobody = sim.map.add_owner(OwnerName::of("nobody"), 0).unwrap();
    assert!(sim.map.adopt(nobody, frames(0, 5 * GIB)).is_none());
    while let Some(held) = sim.map.adopt(owner, frames(GIB + 4 * KIB, 5 * GIB)) {
        sim.restore(held);
        adopted += 1;
    }
    assert_eq!(adopted, 2);
    let first = sim.map.adopt(owner, frames(0, GIB + 4 * KIB)).unwrap();
    sim.restore(first);
    sim.restore(kept);
    sim.assert_as_at_boot();
}
