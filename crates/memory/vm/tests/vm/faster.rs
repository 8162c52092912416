//! Another CPU was faster, and has taken the last frame for it: that is no error.

use std::sync::Arc;

use rhumb_machine::{VirtAddr, VirtRange};
use rhumb_vm::planted::{self, Fault};
use rhumb_vm::{Allocation, Inherit, Limits, Protection, Resolved, Use};

use crate::world::{Ground, Kind, PAGE, TestMap, on_ground, range};

/// Has another CPU use the page of `at` while `act` asks for its first frame; the frames that this takes are the last.
fn after_another<A>(
    ground: &'static Ground,
    map: &Arc<TestMap>,
    (at, frames): (VirtAddr, u64),
    act: impl FnOnce(&TestMap) -> A,
) -> A {
    let other = Arc::clone(map);
    *ground.at_alloc.lock().unwrap() = Some(Box::new(move || {
        other.fault(at, Use::Write).unwrap();
    }));
    ground.fail_after(frames + 1, true);
    let result = act(map);
    assert!(ground.end_failure(), "{frames} frames were not the last");
    result
}

/// Gives an area of 2 MiB of a map, prepared by `prepare`, to `check`, with nothing planted and with a fault planted.
fn each<A: Send>(
    prepare: impl Fn(&'static Ground, &Arc<TestMap>, VirtRange) -> A + Sync + Send,
    check: impl Fn(&'static Ground, &Arc<TestMap>, VirtRange) -> bool + Sync + Send,
) {
    for fault in [None, Some(Fault::NoLookAfterFailure)] {
        on_ground(|ground| {
            let map = Arc::new(ground.map(Kind::Task));
            let area = map.allocate(&Allocation::pages(512).at(Kind::Task.seam())).unwrap();
            let kept = prepare(ground, &map, area);
            let is_done = match fault {
                None => check(ground, &map, area),
                Some(fault) => planted::with(fault, || check(ground, &map, area)),
            };
            assert_eq!(is_done, fault.is_none());
            drop(kept);
        });
    }
}

#[test]
fn a_fault_that_another_cpu_resolved_is_no_error() {
    let used = |_: &'static Ground, map: &Arc<TestMap>, area: VirtRange| {
        map.fault(area.start(), Use::Write).unwrap();
    };
    each(used, |ground, map, area| {
        let at = area.start().plus(PAGE);
        after_another(ground, map, (at, 1), |map| map.fault(at, Use::Write)) == Ok(Resolved::Already)
    });
}

#[test]
fn a_copy_that_another_cpu_made_is_no_error() {
    let forked = |ground: &'static Ground, map: &Arc<TestMap>, area: VirtRange| {
        map.fault(area.start(), Use::Write).unwrap();
        map.fork(ground.space(Kind::Task), Limits::default()).unwrap()
    };
    each(forked, |ground, map, area| {
        let at = area.start();
        after_another(ground, map, (at, 1), |map| map.fault(at, Use::Write)) == Ok(Resolved::Already)
    });
}

#[test]
fn a_table_that_another_cpu_made_is_no_error() {
    // The other CPU takes a table and a page.
    each(
        |_, _, _| (),
        |ground, map, area| {
            let at = area.start().plus(9 * PAGE);
            after_another(ground, map, (at, 2), |map| map.fault(at, Use::Write)) == Ok(Resolved::Already)
        },
    );
    each(
        |_, _, _| (),
        |ground, map, area| {
            let half = range(area.start(), 256);
            after_another(ground, map, (area.start(), 2), |map| map.protect(half, Protection::Read)).is_ok()
        },
    );
}

#[test]
fn a_shared_page_that_another_cpu_made_is_no_error() {
    let shared = |_: &'static Ground, map: &Arc<TestMap>, area: VirtRange| {
        map.inherit(area, Inherit::Share).unwrap();
    };
    each(shared, |ground, map, area| {
        let at = area.start();
        after_another(ground, map, (at, 1), |map| map.fault(at, Use::Write)) == Ok(Resolved::Already)
    });
}
