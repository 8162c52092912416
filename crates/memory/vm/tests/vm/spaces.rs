//! Spaces: one map has a tree, and two maps share frames where they have one allocator.

use rhumb_machine::VirtAddr;
use rhumb_vm::{Allocation, Limits, Map, Use, VmError};

use crate::world::{GIB, Ground, KINDS, Kind, MIB, on_ground};

#[test]
fn a_copy_of_another_allocator_is_refused() {
    let [here, there] = Ground::two(4, 64 * MIB);
    here.as_cpu(0, |_| {
        let map = here.map(Kind::Task);
        let area = map.allocate(&Allocation::pages(1)).unwrap();
        map.fault(area.start(), Use::Write).unwrap();
        let copy = map.take(area).unwrap();
        let other = there.map(Kind::Task);
        let refused = match other.put(&Allocation::pages(0), copy) {
            Ok(_) => {
                // Neither allocator could take the frame back.
                core::mem::forget(other);
                panic!("a frame of one allocator is in a map of another");
            }
            Err(refused) => refused,
        };
        assert_eq!(refused.error, VmError::OtherFrames);
        assert_eq!(other.usage().address_pages, 0);
        map.put(&Allocation::pages(0), refused.copy).map_err(|refused| refused.error).unwrap();
        assert_eq!(map.usage().resident_pages, 1);
    });
}

#[test]
fn a_fork_to_another_allocator_is_refused() {
    let [here, there] = Ground::two(4, 64 * MIB);
    here.as_cpu(0, |_| {
        let map = here.map(Kind::Task);
        let area = map.allocate(&Allocation::pages(1)).unwrap();
        map.fault(area.start(), Use::Write).unwrap();
        let child = map.fork(there.space(Kind::Task), Limits::default());
        let error = child.as_ref().err().copied();
        core::mem::forget(child);
        assert_eq!(error, Some(VmError::OtherFrames), "a frame of one allocator is in a map of another");
    });
}

/// A second map of one tree, and a tree that has entries already, at both ends of the range.
#[test]
fn a_map_begins_with_no_entries() {
    for kind in KINDS {
        on_ground(|ground| {
            let space = ground.space(kind);
            let all = kind.range();
            for at in [all.start(), kind.seam(), VirtAddr::new(all.end().get() - GIB)] {
                let map = Map::new(space.clone(), Limits::default()).unwrap();
                let area = map.allocate(&Allocation::pages(1).at(at)).unwrap();
                let refused = Map::new(space.clone(), Limits::default());
                let Err(VmError::Occupied(found)) = refused else { panic!("{refused:?} at {at}") };
                assert!(found <= at);
                map.fault(area.start(), Use::Write).unwrap();
            }
            Map::new(space, Limits::default()).unwrap();
        });
    }
}
