//! Faults that are planted into the structures, to see `validate` find each of them.

use super::world::*;
use crate::arena::ArenaInconsistency as Found;
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
