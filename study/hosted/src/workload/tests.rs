use std::collections::BTreeSet;

use super::*;
use crate::backing::{Backing, Pages};
use crate::data::world::{Placement, page_word};
use crate::memory::on_cpu;

fn world(pages: Pages) -> Option<World> {
    let backing =
        Backing::new(pages, 64 << 20, 1).inspect_err(|refusal| eprintln!("{pages}: {refusal}")).ok()?;
    Some(World::new(backing, Placement::Spread, 7).unwrap())
}

/// Runs all workloads, and returns the state that their chains end in.
fn ends(world: &mut World) -> Vec<(u64, u64)> {
    on_cpu(world, |world, pinned| {
        let run = |workload: Workload| {
            let mut chain = Chain::new(9);
            workload.run(world, pinned, &mut chain, 5_000).unwrap();
            (chain.state, chain.seen)
        };
        let ends = Workload::ALL.map(run).to_vec();
        world.memory.validate(pinned).unwrap();
        ends
    })
    .unwrap()
}

#[test]
fn each_arm_does_the_same_work() {
    let first = ends(&mut world(Pages::Kib).unwrap());
    for pages in [Pages::Mib, Pages::Aged(8)] {
        let Some(mut world) = world(pages) else { continue };
        assert_eq!(ends(&mut world), first, "{pages}");
    }
}

#[test]
fn files_are_unharmed_by_all_of_it() {
    let mut world = world(Pages::Kib).unwrap();
    ends(&mut world);
    for index in 0..world.counts.pages {
        let at = world.pages.get(&world.memory, index);
        assert_eq!(world.memory.ram().word(at + 1024), page_word(index, 1024));
    }
}

#[test]
fn a_walk_meets_every_object_once() {
    let mut world = world(Pages::Kib).unwrap();
    let mut met = BTreeSet::new();
    for _ in 0..world.counts.objects {
        object(&mut world, &mut Chain::new(1));
        met.insert(world.memory.ram().word(world.ring + OBJECT_NUMBER));
    }
    assert!(met.into_iter().eq(0..world.counts.objects));
}

#[test]
fn numbers_depend_on_what_was_read() {
    let (mut one, mut other) = (Chain::new(1), Chain::new(1));
    assert_eq!(one.below(u64::MAX), other.below(u64::MAX));
    one.see(1);
    assert_ne!(one.below(u64::MAX), other.below(u64::MAX));
    let mut counts = [0; 4];
    (0..4_000).for_each(|_| counts[one.below(4) as usize] += 1);
    assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
}

#[test]
fn names_are_told_apart() {
    let ids: BTreeSet<_> = Workload::ALL.iter().map(|workload| workload.id()).collect();
    assert_eq!(ids.len(), Workload::ALL.len());
}
