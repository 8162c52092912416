//! Limits: exact, and an error where they are reached.

use rhumb_vm::{Allocation, FaultError, Limits, Map, Resource, Use, VmError};

use crate::model::Pair;
use crate::world::{GIB, KINDS, Kind, MIB, PAGE, Random, on_ground, range};

#[test]
fn i11_addresses_and_resident_pages_are_limited_exactly() {
    for kind in KINDS {
        on_ground(|ground| {
            let limits = Limits { address_pages: Some(1000), resident_pages: Some(333), ..Limits::default() };
            let map = Map::new(ground.space(kind), limits).unwrap();
            assert_eq!(map.limits(), limits);
            let area = map.allocate(&Allocation::pages(990)).unwrap();
            let refused = Err(VmError::Limit(Resource::Addresses));
            assert_eq!(map.allocate(&Allocation::pages(11)), refused);
            assert_eq!(map.usage().address_pages, 990);
            // The pages lie in several stripes, each of which keeps some of what is charged.
            let at = |page: u64| area.start().plus(page * 2 % 990 * PAGE + page * 2 / 990 * PAGE);
            for page in 0..333 {
                map.fault(at(page), Use::Write).unwrap();
                assert_eq!(map.usage().resident_pages, page + 1);
            }
            assert_eq!(map.fault(at(333), Use::Write), Err(FaultError::Limit(Resource::Resident)));
            assert_eq!(map.usage().resident_pages, 333);
            map.unmap(range(area.start(), 1)).unwrap();
            assert!(map.fault(at(333), Use::Write).is_ok(), "a page that was unmapped makes room");
            map.set_limits(Limits::default());
            assert!(map.fault(at(334), Use::Write).is_ok());
            assert!(map.allocate(&Allocation::pages(11)).is_ok());
        });
    }
}

#[test]
fn i11_tables_are_limited() {
    on_ground(|ground| {
        let limits = Limits { tables: Some(5), ..Limits::default() };
        let map = Map::new(ground.space(Kind::Task), limits).unwrap();
        let start = map.range().start();
        map.allocate(&Allocation::pages(1).at(start)).unwrap();
        assert_eq!(map.usage().tables, 3);
        // Two more are to be had, but another 512 GiB takes three.
        let far = start.plus(600 * GIB);
        let refused = Err(VmError::Limit(Resource::Tables));
        assert_eq!(map.allocate(&Allocation::pages(1).at(far)), refused);
        assert_eq!((map.usage().tables, map.usage().address_pages), (3, 1));
        map.allocate(&Allocation::pages(1).at(start.plus(GIB))).unwrap();
        assert_eq!(map.usage().tables, 5);
        let large = map.allocate(&Allocation::pages(512).at(start.plus(GIB / 2))).unwrap();
        let refused = Err(FaultError::Limit(Resource::Tables));
        assert_eq!(map.fault(large.start(), Use::Read), refused);
    });
}

/// At whatever limit, an operation is done or refused, and nothing in between.
#[test]
fn i7_a_limit_refuses_the_whole() {
    for kind in KINDS {
        for most in [0, 1, 5, 40, 300] {
            on_ground(|ground| {
                let limits = |random: &mut Random| {
                    let mut some = || Some(most + random.below(20));
                    Limits {
                        address_pages: some().map(|most| most * 40),
                        resident_pages: some(),
                        ..Limits::default()
                    }
                };
                let mut random = Random(most + 99);
                let mut pair = Pair::new(Map::new(ground.space(kind), limits(&mut random)).unwrap());
                for _ in 0..300 {
                    if let Err(error) = pair.step(&mut random) {
                        assert!(matches!(error, VmError::Limit(_)), "{error}");
                    }
                }
                pair.map.set_limits(Limits::default());
                pair.check();
            });
        }
    }
}

#[test]
fn i11_wired_pages_are_limited() {
    for kind in KINDS {
        on_ground(|ground| {
            let limits = Limits { wired_pages: Some(10), ..Limits::default() };
            let map = Map::new(ground.space(kind), limits).unwrap();
            let area = map.allocate(&Allocation::pages(30)).unwrap();
            let part = |first: u64, pages: u64| range(area.start().plus(first * PAGE), pages);
            assert_eq!(map.wire(part(0, 11)), Err(VmError::Limit(Resource::Wired)));
            assert_eq!(map.usage().wired_pages, 0);
            map.wire(part(0, 8)).unwrap();
            map.wire(part(4, 6)).unwrap();
            assert_eq!((map.usage().wired_pages, map.usage().resident_pages), (10, 10));
            assert_eq!(map.purge(part(9, 3)), Err(VmError::Wired(part(9, 3))));
            map.unwire(part(8, 20)).unwrap();
            assert_eq!(map.usage().wired_pages, 8);
            assert_eq!(map.unmap(part(6, 4)), Ok(4));
            assert_eq!(map.usage().wired_pages, 6);
        });
    }
}

/// Pages that stripes were charged with and have not given to a fault are not the map's, also where a copy is put.
#[test]
fn i11_a_copy_is_put_up_to_the_limit() {
    for kind in KINDS {
        on_ground(|ground| {
            let source = ground.map(kind);
            let area = source.allocate(&Allocation::pages(10)).unwrap();
            let map = ground.map(kind);
            let start = map.range().start();
            for table in 0..6 {
                let at = start.plus(table * 2 * MIB);
                map.allocate(&Allocation::pages(1).at(at)).unwrap();
                map.fault(at, Use::Write).unwrap();
            }
            assert_eq!(map.usage().resident_pages, 6);
            let put = |most| {
                source.populate(area).unwrap();
                map.set_limits(Limits { resident_pages: Some(most), ..Limits::default() });
                let copy = source.copy(area).unwrap();
                let request = Allocation::pages(0).at(start.plus(GIB));
                map.put(&request, copy).map_err(|refused| refused.error)
            };
            assert_eq!(put(15), Err(VmError::Limit(Resource::Resident)));
            assert_eq!(map.usage().resident_pages, 6);
            assert!(put(16).is_ok(), "6 + 10 pages are 16");
            assert_eq!(map.usage().resident_pages, 16);
        });
    }
}
