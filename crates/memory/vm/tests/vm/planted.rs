//! Faults that are planted are found.

use rhumb_vm::planted::{self, Fault};
use rhumb_vm::{Allocation, FaultError, Limits, Protection, Use};

use crate::world::{Kind, PAGE, on_ground, range};

/// Uses a page on another CPU, does `act` to it with a fault planted, and tells whether a stale translation was found.
fn is_stale_after(
    fault: Fault,
    act: impl Fn(&crate::world::TestMap, rhumb_machine::VirtRange) + Sync,
) -> bool {
    on_ground(|ground| {
        let map = ground.map(Kind::Task);
        let tree = &map.space().0;
        let area = map.allocate(&Allocation::pages(40)).unwrap();
        for page in 0..40 {
            tree.write(&map, 1, area.start().plus(page * PAGE), page).unwrap();
        }
        planted::with(fault, || act(&map, area));
        let wrote = tree.write(&map, 1, area.start(), 5).is_ok();
        let found = !tree.tlb.mmu().take_reports().is_empty();
        found || wrote
    })
}

#[test]
fn i6_a_missing_flush_of_an_unmapping_is_found() {
    assert!(is_stale_after(Fault::NoFlush, |map, area| assert_eq!(map.unmap(area), Ok(40))));
}

#[test]
fn i6_a_missing_flush_of_rights_is_found() {
    assert!(is_stale_after(Fault::NoFlushOfRights, |map, area| map.protect(area, Protection::Read).unwrap()));
}

#[test]
fn without_a_fault_nothing_is_found() {
    assert!(!is_stale_after(Fault::StaleLook, |map, area| assert_eq!(map.unmap(area), Ok(40))));
    assert!(!is_stale_after(Fault::StaleLook, |map, area| map.protect(area, Protection::Read).unwrap()));
}

/// CPU 2 reads a page that CPU 1 copies by its write. Returns the value that CPU 2 sees then.
fn seen_after_a_copy(fault: Fault) -> u64 {
    on_ground(|ground| {
        let map = ground.map(Kind::Task);
        let tree = &map.space().0;
        let area = map.allocate(&Allocation::pages(1)).unwrap();
        tree.write(&map, 1, area.start(), 11).unwrap();
        let child = map.fork(ground.space(Kind::Task), Limits::default()).unwrap();
        assert_eq!(tree.read(&map, 2, area.start()), Ok(11));
        planted::with(fault, || tree.write(&map, 1, area.start(), 22).unwrap());
        assert_eq!(child.space().0.read(&child, 0, area.start()), Ok(11));
        tree.read(&map, 2, area.start()).unwrap()
    })
}

#[test]
fn i6_a_missing_flush_of_a_copy_is_found() {
    assert_eq!(seen_after_a_copy(Fault::StaleLook), 22);
    assert_eq!(seen_after_a_copy(Fault::NoFlushOfCopy), 11);
}

/// A page is unmapped between the two looks of a fault. Returns what the fault says, and whether a frame was lost.
fn unmapped_meanwhile(fault: Option<Fault>) -> (bool, u64) {
    let ground = crate::world::Ground::new(4, 16 << 20);
    ground.as_cpu(0, |_| {
        let map: &'static _ = Box::leak(Box::new(ground.map(Kind::Task)));
        let area = map.allocate(&Allocation::pages(600).at(Kind::Task.seam())).unwrap();
        map.fault(area.start(), Use::Write).unwrap();
        let at = area.start().plus(3 * PAGE);
        *ground.at_alloc.lock().unwrap() = Some(Box::new(move || {
            map.unmap(range(area.start(), 5)).unwrap();
        }));
        let result = match fault {
            Some(fault) => planted::with(fault, || map.fault(at, Use::Write)),
            None => map.fault(at, Use::Write),
        };
        map.unmap(area).unwrap();
        let left = map.usage().resident_pages;
        (result == Err(FaultError::NotAllocated(at)), left)
    })
}

#[test]
fn a_fault_looks_again_at_what_it_has_seen() {
    assert_eq!(unmapped_meanwhile(None), (true, 0));
    assert!(
        !unmapped_meanwhile(Some(Fault::StaleLook)).0,
        "the fault has given a frame to a page that is gone"
    );
}
