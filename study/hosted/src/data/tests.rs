use std::collections::{BTreeSet, HashMap};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::hash::{Hash, OWNED};
use super::radix::Radix;
use super::world::*;
use crate::backing::{Backing, Pages};
use crate::memory::{Memory, on_cpu};

const BYTES: u64 = 64 << 20;

/// Returns a memory of small pages, which every system has.
fn memory() -> Memory {
    let backing = Backing::new(Pages::Kib, BYTES, 1).unwrap();
    // SAFETY: the tests write to what they were given alone.
    #[allow(unsafe_code)]
    unsafe { Memory::new(backing) }.unwrap()
}

fn world(pages: Pages, placement: Placement) -> Option<World> {
    let backing =
        Backing::new(pages, BYTES, 1).inspect_err(|refusal| eprintln!("{pages}: {refusal}")).ok()?;
    Some(World::new(backing, placement, 7).unwrap())
}

/// Returns the addresses of all data, in an order of their own.
fn places(world: &World) -> Vec<u64> {
    let World { memory, counts, pages, pipes, objects, names, store, .. } = world;
    let mut places: Vec<u64> = (0..counts.pages).map(|index| pages.get(memory, index)).collect();
    places.extend((0..counts.pipes).map(|index| pipes.get(memory, index)));
    places.extend((0..counts.objects).map(|index| objects.get(memory, index)));
    places.extend((0..counts.names).map(|index| names.find(memory, name_key(index))));
    places.extend((0..counts.entries).map(|key| store.find(memory, key)));
    places
}

#[test]
fn a_tree_agrees_with_a_map() {
    on_cpu(&mut memory(), |memory, pinned| {
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let (mut tree, mut model) = (Radix::default(), HashMap::new());
        assert_eq!(tree.get(memory, 0), 0);
        for _ in 0..3_000 {
            let key = random.random::<u64>() >> random.random_range(30..64);
            let value = random.random_range(1..u64::MAX);
            tree.insert(memory, pinned, key, value).unwrap();
            model.insert(key, value);
            let absent = key ^ (1 << random.random_range(0..40));
            assert_eq!(tree.get(memory, absent), model.get(&absent).copied().unwrap_or(0));
        }
        tree.insert(memory, pinned, u64::MAX, 5).unwrap();
        model.insert(u64::MAX, 5);
        assert!(model.iter().all(|(key, value)| tree.get(memory, *key) == *value));
        memory.validate(pinned).unwrap();
    })
    .unwrap();
}

#[test]
fn a_table_agrees_with_a_map() {
    on_cpu(&mut memory(), |memory, pinned| {
        let mut random = Pcg64Mcg::seed_from_u64(2);
        // Fewer buckets than keys: chains.
        let table = Hash::new(memory, pinned, 512, 64).unwrap();
        let mut model = HashMap::new();
        for _ in 0..5_000 {
            let (key, value) = (random.random_range(0..8_000), random.random::<u64>());
            let node = match table.find(memory, key) {
                0 => {
                    assert!(!model.contains_key(&key));
                    table.insert(memory, pinned, key).unwrap()
                }
                node => node,
            };
            memory.ram_mut().set_word(node + OWNED, value);
            model.insert(key, value);
        }
        for key in 0..8_000 {
            let node = table.find(memory, key);
            assert_eq!(model.get(&key).copied(), (node != 0).then(|| memory.ram().word(node + OWNED)));
        }
        memory.validate(pinned).unwrap();
    })
    .unwrap();
}

#[test]
fn data_lie_at_the_same_places_in_each_arm() {
    for placement in [Placement::Spread, Placement::Dense] {
        let first = places(&world(Pages::Kib, placement).unwrap());
        assert!(first.iter().all(|at| *at != 0), "nothing is missing");
        for pages in [Pages::Mib, Pages::Aged(4)] {
            let Some(world) = world(pages, placement) else { continue };
            assert_eq!(places(&world), first, "{pages}");
        }
    }
}

#[test]
fn spread_data_reach_all_blocks_and_dense_data_half_of_them() {
    let blocks = |placement| {
        let world = world(Pages::Kib, placement).unwrap();
        let of = |places: &[u64]| places.iter().map(|at| at >> 21).collect::<BTreeSet<_>>().len() as u64;
        let all = of(&places(&world));
        let pages: Vec<u64> =
            (0..world.counts.pages).map(|index| world.pages.get(&world.memory, index)).collect();
        (all, of(&pages))
    };
    let (all, pages) = blocks(Placement::Spread);
    assert!(all >= 26 && pages >= 26, "{all} {pages}");
    let (all, pages) = blocks(Placement::Dense);
    assert!((16..=19).contains(&all) && pages <= 19, "{all} {pages}");
}

#[test]
fn pages_hold_what_was_written() {
    let world = world(Pages::Kib, Placement::Spread).unwrap();
    for index in 0..world.counts.pages {
        let at = world.pages.get(&world.memory, index);
        let whole =
            (0..4096).step_by(64).all(|line| world.memory.ram().word(at + line) == page_word(index, line));
        assert!(whole, "page {index}");
    }
}

#[test]
fn a_store_agrees_with_a_map() {
    let mut world = world(Pages::Kib, Placement::Dense).unwrap();
    on_cpu(&mut world, |world, pinned| {
        let mut random = Pcg64Mcg::seed_from_u64(3);
        let mut model = HashMap::new();
        for version in 1..20_000 {
            let key = random.random_range(0..world.counts.entries);
            let node = world.store.find(&world.memory, key);
            put_value(&mut world.memory, pinned, node, key, version).unwrap();
            model.insert(key, version);
        }
        for key in 0..world.counts.entries {
            let version = model.get(&key).copied().unwrap_or(0);
            let node = world.store.find(&world.memory, key);
            let ram = world.memory.ram();
            let (at, bytes) = (ram.word(node + OWNED), ram.word(node + OWNED + 8) as usize);
            assert_eq!(bytes, value_bytes(key, version));
            let mut value = vec![0; bytes];
            ram.copy_out(at, &mut value);
            assert!(
                value
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .all(|word| u64::from_le_bytes(*word) == value_word(key, version))
            );
        }
        world.memory.validate(pinned).unwrap();
    })
    .unwrap();
}
