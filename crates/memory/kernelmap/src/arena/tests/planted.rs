//! Faults that are planted into the structures, to see `validate` find each of them.

use super::world::*;
use crate::arena::ArenaInconsistency as Found;
use crate::arena::cursor::Place;
use crate::arena::tag::State;

fn found(world: &World) -> Found {
    world.arena.validate(pinned()).unwrap_err()
}

#[test]
fn each_fault_is_found() {
    // A range is one unit short.
    let world = World::new(1000, 1);
    let held = world.alloc(20).unwrap();
    held.tag.set_range(held.range().start(), 19);
    assert!(matches!(found(&world), Found::Neighbours(_)));

    // A range is empty.
    let world = World::new(1000, 1);
    let held = world.alloc(20).unwrap();
    held.tag.set_range(held.range().start(), 0);
    assert!(matches!(found(&world), Found::Range(_)));

    // A held range says that it is free, beside a free one.
    let world = World::new(1000, 1);
    let held = world.alloc(20).unwrap();
    held.tag.set_state(State::Free);
    assert!(matches!(found(&world), Found::Unmerged(_)));

    // A range that is in no bin says that it is free.
    let world = World::new(1000, 1);
    let (held, other) = (world.alloc(20).unwrap(), world.alloc(20).unwrap());
    assert!(held.range().start() < other.range().start());
    held.tag.set_state(State::Free);
    assert!(matches!(found(&world), Found::Bin(_)));

    // A neighbour is forgotten.
    let world = World::new(1000, 1);
    let held = world.alloc(20).unwrap();
    held.tag.by_address.next().unwrap().by_address.set_prev(None);
    assert!(matches!(found(&world), Found::Neighbours(_)));

    // The first range of a span has a neighbour before it.
    let world = World::new(1000, 1);
    let (held, other) = (world.alloc(20).unwrap(), world.alloc(20).unwrap());
    held.tag.by_address.set_prev(Some(other.tag));
    assert!(matches!(found(&world), Found::Neighbours(_)));

    // A held range is in a bin, alone in it.
    let world = World::new(1000, 1);
    let held = world.alloc(20).unwrap();
    world.arena.lock().bins.insert(held.tag);
    assert!(matches!(found(&world), Found::Row(_)));

    // A held range is in a bin, behind a free one.
    let world = World::new(1000, 1);
    let (held, other, last) = (world.alloc(20).unwrap(), world.alloc(20).unwrap(), world.alloc(20).unwrap());
    assert!(held.range().end() == other.range().start() && other.range().end() == last.range().start());
    world.arena.lock().bins.insert(last.tag);
    let free = held.tag;
    world.free(held);
    assert_eq!(free.in_bin.next(), Some(last.tag));
    assert!(matches!(found(&world), Found::Bin(_)));

    // A bin's first range has one before it, of the same size.
    let world = World::new(1000, 1);
    let tag = world.arena.lock().spans[0].first;
    tag.in_bin.set_prev(Some(tag));
    assert!(matches!(found(&world), Found::Bin(_) | Found::Row(_)));

    // The units of a span are not counted.
    let world = World::new(1000, 1);
    world.arena.lock().total_units += 1;
    assert_eq!(found(&world), Found::Counts);

    // A CPU keeps one range twice.
    let world = World::new(1000, 1);
    let (one, other) = (world.alloc(1).unwrap(), world.alloc(1).unwrap());
    let cache = world.arena.cache(pinned().cpu()).unwrap();
    while cache.pop(1).is_some() {}
    let tag = one.tag;
    world.free(one);
    world.free(other);
    assert!(cache.pop(1).is_some() && cache.push(tag, 1));
    assert!(matches!(found(&world), Found::Cache(_)));

    // A walk is at a range that does not have its unit.
    let world = World::new(1000, 1);
    let (held, other) = (world.alloc(20).unwrap(), world.alloc(20).unwrap());
    let walk = world.arena.lock().cursors.begin(0).unwrap();
    let place = Place::At { from: other.range().start(), tag: held.tag };
    world.arena.lock().cursors.set_place(walk, place);
    assert_eq!(found(&world), Found::Cursors);

    // A count is off.
    let world = World::new(1000, 1);
    world.arena.lock().free_units -= 1;
    assert_eq!(found(&world), Found::Counts);

    // The bits do not say that there is a list.
    let world = World::new(1000, 1);
    let tag = world.arena.lock().spans[0].first;
    world.arena.lock().bins.remove(tag);
    assert!(matches!(found(&world), Found::Bin(_)));

    // A range that the CPU keeps has the state of a held one.
    let world = World::new(1000, 1);
    let held = world.alloc(1).unwrap();
    let tag = held.tag;
    world.free(held);
    tag.set_state(State::Held);
    assert!(matches!(found(&world), Found::Cache(_)));
}
