//! Maps: against a plain model, on several CPUs, with threads.

use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::{be, irq_off, load};
use crate::map::{Definition, Key, Map, MapKind, bucket};
use crate::name::Name;

fn map(kind: &str, entries: u32) -> Map {
    let kind = MapKind::number(kind).expect("a kind");
    let definition = Definition { kind, key_bytes: 16, value_bytes: 8, entries, parts: 0 };
    Map::new(Name::new("test"), &definition, 4).expect("memory")
}

proptest! {
    #[test]
    fn a_hash_counts_like_a_model(
        kind in prop::sample::select(&["hash", "percpu_hash"][..]),
        steps in proptest::collection::vec((0_usize..4, 0_u64..12, 0_u64..3, any::<u64>()), 0..200)
    ) {
        const ROOM: usize = 10;
        let map = map(kind, ROOM as u32);
        let (mut model, mut dropped) = (HashMap::<Key, u64>::new(), 0);
        for (cpu, first, second, number) in steps {
            be(cpu);
            let key = [first, second, 0, 0];
            let guard = irq_off();
            let fits = model.contains_key(&key) || model.len() < ROOM;
            prop_assert_eq!(map.add(&key, number, guard.irq_off()), fits);
            if fits {
                let sum = model.entry(key).or_default();
                *sum = sum.wrapping_add(number);
            } else {
                dropped += 1;
            }
        }
        be(0);
        let entries: HashMap<Key, u64> = map.entries().map(|entry| (entry.key(), entry.total())).collect();
        prop_assert_eq!(entries, model);
        prop_assert_eq!(map.dropped(), dropped);
    }
}

#[test]
fn the_bucket_of_a_number_is_its_length_in_bits() {
    for (number, expected) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (u64::MAX, 64)] {
        assert_eq!(bucket(number), expected);
    }
}

#[test]
fn values_of_cpus_share_no_cache_line() {
    let map = map("percpu_hash", 4);
    let key = [1, 2, 0, 0];
    let mut lines = Vec::new();
    for cpu in 0..4 {
        be(cpu);
        let guard = irq_off();
        assert!(map.add(&key, 1, guard.irq_off()));
        let slot = map.find(&key).expect("it was added");
        let place = map.place(slot, guard.irq_off().cpu()).expect("a CPU of the map");
        let word = core::ptr::from_ref(map.word(place).expect("it is there")) as usize;
        lines.push(word / 64);
    }
    be(0);
    lines.dedup();
    assert_eq!(lines.len(), 4);
    assert_eq!(map.entries().map(|entry| entry.total()).sum::<u64>(), 4);
}

#[test]
fn a_cpu_that_a_map_was_not_made_for_counts_nothing() {
    let map = map("percpu_hash", 4);
    be(7);
    let guard = irq_off();
    assert!(!map.add(&[1, 1, 0, 0], 1, guard.irq_off()));
    drop(guard);
    be(0);
}

#[test]
fn threads_lose_no_count() {
    const EACH: u64 = 2_000;
    let object = load(
        "map counts hash key=owner entries=64
         program count
            ldxdw r7, [r1+owner]
            stxdw [r10-8], r7
            lddw r1, @counts
            mov r2, r10
            add r2, -8
            mov r3, 1
            call map_add
            exit",
    )
    .expect("it passes");
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let object = &object;
            scope.spawn(move || {
                be(cpu);
                let guard = irq_off();
                for turn in 0..EACH {
                    let context = crate::Context::EMPTY.with(crate::Field::Owner, turn % 50);
                    assert_eq!(object.run(0, &context, &super::Fixed, guard.irq_off()), Some(Ok(0)));
                }
            });
        }
    });
    let counts: Vec<u64> = object.maps()[0].entries().map(|entry| entry.total()).collect();
    assert_eq!(counts, [4 * EACH / 50; 50]);
}
