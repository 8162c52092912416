//! Faults of several CPUs that are all within the limit.

use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

use super::{CPUS, START, World, at_once, check};
use crate::{Allocation, Limits, Map, Use};

/// Each CPU uses a page of its own stripe, and there are as many as the limit allows.
#[test]
fn a_limit_that_is_not_passed_refuses_no_fault() {
    check(2000, || {
        let world = World::new();
        let limits = Limits { resident_pages: Some(CPUS as u64 + 1), ..Limits::default() };
        let map = Arc::new(Map::new(world.space(), limits).unwrap());
        let at = |cpu: u64| START.plus(cpu << 21);
        for cpu in 0..CPUS as u64 {
            map.allocate(&Allocation::pages(2).at(at(cpu))).unwrap();
        }
        let others: Vec<_> = (1..CPUS as u64)
            .map(|cpu| {
                let map = Arc::clone(&map);
                let work = move || map.fault(at(cpu), Use::Write).map(drop).unwrap();
                Box::new(work) as Box<dyn FnOnce() + Send>
            })
            .collect();
        at_once(others, || map.fault(at(0), Use::Write).map(drop).unwrap());
        assert_eq!(map.usage().resident_pages, CPUS as u64);
        drop(map);
        world.assert_all_came_back();
    });
}

/// The same where stripes keep pages that were charged before the limit was set.
#[test]
fn what_stripes_keep_is_found_by_all() {
    check(2000, || {
        let world = World::new();
        let map = Arc::new(Map::new(world.space(), Limits::default()).unwrap());
        let at = |cpu: u64| START.plus(cpu << 21);
        for cpu in 0..CPUS as u64 {
            map.allocate(&Allocation::pages(2).at(at(cpu))).unwrap();
        }
        map.fault(at(0).plus(4096), Use::Write).unwrap();
        map.set_limits(Limits { resident_pages: Some(CPUS as u64), ..Limits::default() });
        let others: Vec<_> = (1..CPUS as u64)
            .map(|cpu| {
                let map = Arc::clone(&map);
                let work = move || map.fault(at(cpu), Use::Write).map(drop).unwrap();
                Box::new(work) as Box<dyn FnOnce() + Send>
            })
            .collect();
        at_once(others, || ());
        assert_eq!(map.usage().resident_pages, CPUS as u64);
        drop(map);
        world.assert_all_came_back();
    });
}
