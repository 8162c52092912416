//! Whose part an address lies in, and figures.

use core::ops::ControlFlow;
use std::vec::Vec;

use rhumb_frames::Owner;
use rhumb_machine::VirtAddr;

use super::world::*;
use crate::home::Home;
use crate::{BLOCK_BYTES, Kind, Request};

#[test]
fn addresses_are_found_in_their_parts_and_nowhere_else() {
    let (pool, _) = pool(4, 8);
    let one = pool.allocate(Request::new(Kind::Code, 100).owner(Owner(7)).named("one")).unwrap();
    let two = pool.allocate(Request::new(Kind::Code, 64).owner(Owner(8)).named("two")).unwrap();
    let name = |address: VirtAddr| pool.find(address).map(|part| (part.owner.0, part.name));
    let named = |owner, text| Some((owner, crate::PartName::new(text)));
    assert_eq!(name(one.address()), named(7, "one"));
    assert_eq!(name(one.address().plus(127)), named(7, "one"), "to the end of its last cache line");
    assert_eq!(name(two.address()), named(8, "two"));
    assert_eq!(name(two.address().plus(64)), None);
    assert_eq!(name(VirtAddr::new(BASE.get() - 1)), None);
    assert_eq!(name(BASE.plus(BLOCK_BYTES)), None);
    assert_eq!(name(BASE.plus(4 * BLOCK_BYTES)), None);
    let found = pool.find(one.address()).unwrap();
    assert_eq!((found.range, found.kind, found.is_written), (one.range(), Kind::Code, false));
    assert_eq!(pool.try_find(one.address()), Some(found));
    // A report that comes in the middle of a change of the index does without.
    pool.home.with_index(|_| assert_eq!(pool.try_find(one.address()), None));
    pool.free([one, two]).unwrap();
}

#[test]
fn long_names_are_cut_at_a_letter() {
    let name = crate::PartName::new("ähnlich_lange_namen_wie_dieser");
    assert_eq!(name.as_str(), "ähnlich_lange_namen_wi");
}

#[test]
fn figures_add_up() {
    let (pool, hardware) = pool(4, 8);
    let parts: Vec<_> = (0..100).map(|_| pool.allocate(Request::new(Kind::Code, 1000)).unwrap()).collect();
    let data = pool.allocate(Request::new(Kind::Data, 10)).unwrap();
    let report = pool.report();
    let code = report.of(Kind::Code);
    assert_eq!((code.blocks, code.parts, code.used_bytes), (1, 100, 102_400));
    assert_eq!(code.free_bytes, BLOCK_BYTES - 102_400);
    assert_eq!((code.largest_hole_bytes, code.fragmentation_percent()), (code.free_bytes, 0));
    assert_eq!((report.of(Kind::Data).parts, report.of(Kind::RoData).parts), (1, 0));
    // One block for a hundred users, one for data, one spare.
    assert_eq!((report.blocks_out_of_direct_map(), hardware.out()), (3, 3));
    let mut addresses = Vec::new();
    pool.for_each(|part| {
        addresses.push(part.range.start());
        ControlFlow::<()>::Continue(())
    });
    let mut expected: Vec<_> = parts.iter().chain([&data]).map(|part| part.address()).collect();
    expected.sort();
    assert_eq!(addresses, expected);
    let mut parts: Vec<_> = parts.into_iter().map(Some).collect();
    for part in parts.iter_mut().step_by(2) {
        pool.free([part.take().unwrap()]).unwrap();
    }
    let code = *pool.report().of(Kind::Code);
    assert_eq!(code.parts, 50);
    assert!(code.fragmentation_percent() > 1, "{code:?}");
    parts.into_iter().flatten().for_each(|part| pool.free([part]).unwrap());
    pool.free([data]).unwrap();
}
