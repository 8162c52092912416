//! Values and devices of whole GiB: they are put whole, and take the tables that they need and no more.

use rhumb_machine::{Pfn, PfnRange};
use rhumb_pagetable::CacheMode;
use rhumb_vm::planted::{self, Fault};
use rhumb_vm::{Allocation, Device, Limits, Map, Protection, Use, VmError};

use crate::world::{GIB, KINDS, Kind, MIB, PAGE, on_ground, range};

/// A device of 1 GiB at a multiple of 1 GiB has a table for each 2 MiB, and one above them.
#[test]
fn a_device_of_a_gib_is_mapped_whole() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let frames = PfnRange::of_length(Pfn::new(1 << 24), GIB / PAGE).unwrap();
            // SAFETY: no allocator has these frames, and no test uses them.
            #[expect(unsafe_code, reason = "the frames are a device's")]
            let device = unsafe { Device::new(frames, CacheMode::Uncached) }.unwrap();
            let start = map.range().start();
            let at = start.plus(4 * GIB);
            map.allocate(&Allocation::pages(1).at(start)).unwrap();
            let before = map.usage().tables;
            let area = map.map_device(&Allocation::pages(0).at(at), &device).unwrap();
            assert_eq!(map.usage().address_pages, GIB / PAGE + 1);
            assert_eq!(map.usage().tables, before + 1 + 512);
            for part in 0..512 {
                map.fault(area.start().plus(part * 2 * MIB), Use::Read).unwrap();
            }
            map.fault(area.start().plus(GIB - PAGE), Use::Read).unwrap();
        });
    }
}

/// The same of a copy that has a page with a frame in each 2 MiB. Its contents are where they were.
#[test]
fn a_copy_of_a_gib_is_put_whole() {
    for kind in KINDS {
        on_ground(|ground| {
            let map = ground.map(kind);
            let start = map.range().start().plus(4 * GIB);
            let area = map.allocate(&Allocation::pages(GIB / PAGE).at(start)).unwrap();
            let page = |part: u64| area.start().plus(part * 2 * MIB + part * 7 % 512 * PAGE);
            for part in 0..512 {
                map.space().0.write(&map, 0, page(part), part + 1).unwrap();
            }
            let copy = map.take(area).unwrap();
            let other = ground.map(kind);
            let put = other.put(&Allocation::pages(0).at(start), copy).map_err(|refused| refused.error);
            assert_eq!(put, Ok(area));
            for part in 0..512 {
                assert_eq!(other.space().0.read(&other, 0, page(part)), Ok(part + 1));
            }
            assert_eq!(other.usage().resident_pages, 512);
        });
    }
}

/// A value goes back where it was within the limit of tables that was enough for it there.
#[test]
fn fresh_memory_comes_back_within_the_limit_of_tables() {
    on_ground(|ground| {
        let limits = Limits { tables: Some(8), ..Limits::default() };
        let map = Map::new(ground.space(Kind::Task), limits).unwrap();
        let start = map.range().start().plus(4 * GIB);
        let area = map.allocate(&Allocation::pages(GIB / PAGE).at(start)).unwrap();
        let used = map.usage().tables;
        let copy = map.take(area).unwrap();
        let put = map.put(&Allocation::pages(0).at(start), copy).map_err(|refused| refused.error);
        assert_eq!(put, Ok(area), "{used} of 8 tables were enough for it");
        assert_eq!(map.usage().tables, used);
    });
}

/// A value of 64 GiB of which few pages were used is put where there are 64 MiB of frames.
#[test]
fn a_fresh_value_is_put_with_few_frames() {
    for used in [0, 3] {
        on_ground(|ground| {
            let map = ground.map(Kind::Task);
            let area = map.allocate(&Allocation::pages(64 * GIB / PAGE).aligned(GIB / PAGE)).unwrap();
            for page in 0..used {
                map.fault(area.start().plus(page * 20 * GIB + page * PAGE), Use::Write).unwrap();
            }
            let tables = map.usage().tables;
            let copy = map.take(area).unwrap();
            let put = map.put(&Allocation::pages(0).at(area.start()), copy).map_err(|refused| refused.error);
            assert_eq!(put, Ok(area), "{tables} tables were enough before");
            assert_eq!(map.usage().tables, tables);
        });
    }
}

/// Fresh pages that had words of their own get one word for each 2 MiB where their new place allows it.
#[test]
fn runs_of_fresh_pages_are_put_as_large_words() {
    on_ground(|ground| {
        let (map, other) = (ground.map(Kind::Task), ground.map(Kind::Task));
        let start = map.range().start().plus(4 * GIB);
        let area = map.allocate(&Allocation::pages(4 * 512).at(start.plus(100 * PAGE))).unwrap();
        for part in 0..4 {
            // A table for each 2 MiB.
            map.protect(range(start.plus((part * 512 + 100) * PAGE), 1), Protection::Read).unwrap();
        }
        let copy = map.take(area).unwrap();
        let request = Allocation::pages(0).at(start);
        let put = other.put(&request, copy).map_err(|refused| refused.error);
        assert_eq!(put, Ok(range(start, 4 * 512)));
        assert_eq!(other.usage().tables, 2, "no table at level 1 was needed");
        other.space().0.write(&other, 0, start.plus(700 * PAGE), 5).unwrap();
        assert_eq!(other.space().0.read(&other, 0, start.plus(700 * PAGE)), Ok(5));
        assert_eq!(other.space().0.read(&other, 0, start.plus(701 * PAGE)), Ok(0));
    });
}

/// A value that is put at another place in its 2 MiB is there page by page, with the tables that this takes.
#[test]
fn a_value_is_put_across_entries() {
    for kind in KINDS {
        on_ground(|ground| {
            let (map, other) = (ground.map(kind), ground.map(kind));
            let start = map.range().start().plus(4 * GIB);
            let area = map.allocate(&Allocation::pages(3 * 512).at(start)).unwrap();
            for page in [0, 511, 512, 1000, 1535] {
                map.space().0.write(&map, 0, start.plus(page * PAGE), page + 1).unwrap();
            }
            for shift in [1, 511, 512, 700] {
                let copy = map.copy(area).unwrap();
                let to = start.plus(shift * PAGE);
                let put = other.put(&Allocation::pages(0).at(to), copy).map_err(|refused| refused.error);
                assert_eq!(put, Ok(range(to, 3 * 512)));
                for page in 0..3 * 512 {
                    let value = if [0, 511, 512, 1000, 1535].contains(&page) { page + 1 } else { 0 };
                    if value > 0 || page % 97 == 0 {
                        assert_eq!(other.space().0.read(&other, 0, to.plus(page * PAGE)), Ok(value));
                    }
                }
                other.unmap(range(to, 3 * 512)).unwrap();
            }
        });
    }
}

/// Where the count of tables is wrong, the value comes back whole, and the map has nothing of it.
#[test]
fn a_release_build_does_not_lose_pages_of_a_value() {
    static IGNORE: rhumb_machine::impossible::Handler = |why, _| {
        assert!(format!("{why}").starts_with("the tables of "), "{why}");
    };
    rhumb_machine::impossible::set_handler(&IGNORE);
    on_ground(|ground| {
        let map = ground.map(Kind::Task);
        let start = map.range().start().plus(4 * GIB);
        let area = map.allocate(&Allocation::pages(512).at(start)).unwrap();
        for page in 0..512 {
            map.space().0.write(&map, 0, start.plus(page * PAGE), page + 1).unwrap();
        }
        let copy = map.take(area).unwrap();
        let other = ground.map(Kind::Task);
        let request = Allocation::pages(0).at(start);
        let put = || other.put(&request, copy).map_err(Box::new);
        let refused = planted::with(Fault::TableNotCounted, put).unwrap_err();
        assert_eq!(refused.error, VmError::NoRoom(512));
        assert_eq!((other.usage().address_pages, other.usage().resident_pages), (0, 0));
        assert_eq!(other.region(start), None);
        other.put(&request, refused.copy).map_err(|refused| refused.error).unwrap();
        for page in 0..512 {
            assert_eq!(other.space().0.read(&other, 0, start.plus(page * PAGE)), Ok(page + 1));
        }
    });
}
