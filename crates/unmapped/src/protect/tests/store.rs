//! The store against a set of what is out.

extern crate std;

use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_directmap::Block;
use rhumb_machine::{PageSize, Pfn};
use rhumb_pagetable::sim::SimTables;

use crate::protect::store::{StoreFault, TABLES_PER_BLOCK, TableStore};

/// A store, its memory (which knows headers only: a touch of anything else panics), and who has what.
#[derive(Default)]
struct World {
    memory: SimTables,
    store: TableStore,
    blocks: BTreeSet<u64>,
    out: BTreeSet<Pfn>,
}

fn block(number: u64) -> Block {
    Block::around(Pfn::new(number * PageSize::Size2M.frames()), PageSize::Size2M)
}

impl World {
    /// The lowest block that is not in the store yet.
    fn add(&mut self) {
        let number = (0..).find(|number| !self.blocks.contains(number)).unwrap();
        self.blocks.insert(number);
        self.memory.insert(block(number).start());
        self.store.add(&mut self.memory, block(number));
    }

    fn take(&mut self) {
        let room = self.blocks.len() as u64 * TABLES_PER_BLOCK - self.out.len() as u64;
        match self.store.take(&mut self.memory) {
            Some(table) => {
                let of = Block::around(table, PageSize::Size2M);
                assert_ne!(table, of.start(), "the header was given out");
                assert!(self.blocks.contains(&(of.start().get() / 512)), "{table:?} is of no block");
                assert!(self.out.insert(table), "{table:?} was given out twice");
                assert!(self.store.has_given(&self.memory, table));
            }
            None => assert_eq!(room, 0),
        }
    }

    fn give(&mut self, which: usize) {
        let Some(&table) = self.out.iter().nth(which % self.out.len().max(1)) else { return };
        self.out.remove(&table);
        self.store.give(&mut self.memory, table);
        assert!(!self.store.has_given(&self.memory, table));
    }

    fn take_spare(&mut self, keep: u64) {
        // Block 0 is boot's.
        let is_unused =
            |number: u64| self.out.range(block(number).start()..block(number).end()).next().is_none();
        let unused = self.blocks.iter().filter(|&&number| number != 0 && is_unused(number));
        let enough = self.store.free() >= keep + TABLES_PER_BLOCK;
        let expected = unused.count() > 0 && enough;
        let spare = self.store.take_spare(&mut self.memory, keep, |spare| spare != block(0));
        assert_eq!(spare.is_some(), expected);
        if let Some(spare) = spare {
            assert!(self.memory.is_blank(spare.start()), "the header is not zero");
            assert!(self.blocks.remove(&(spare.start().get() / 512)));
        }
    }

    fn check(&self) {
        self.store.validate(&self.memory).unwrap();
        assert_eq!(self.store.blocks(), self.blocks.len() as u64);
        assert_eq!(self.store.free(), self.store.blocks() * TABLES_PER_BLOCK - self.out.len() as u64);
        let listed: BTreeSet<u64> =
            self.store.iter(&self.memory).map(|block| block.start().get() / 512).collect();
        assert_eq!(listed, self.blocks);
    }
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Add,
    Take(u16),
    Give(u16, usize),
    Spare(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn i8_each_table_is_given_out_once(turns in prop::collection::vec(prop_oneof![
        2 => Just(Turn::Add),
        4 => (1u16..700).prop_map(Turn::Take),
        4 => (1u16..700, any::<usize>()).prop_map(|(count, which)| Turn::Give(count, which)),
        2 => (0u64..1000).prop_map(Turn::Spare),
    ], 1..24)) {
        let mut world = World::default();
        for turn in turns {
            match turn {
                Turn::Add => world.add(),
                Turn::Take(count) => (0..count).for_each(|_| world.take()),
                Turn::Give(count, which) => (0..count).for_each(|step| world.give(which.wrapping_add(usize::from(step) * 7))),
                Turn::Spare(keep) => world.take_spare(keep),
            }
            world.check();
        }
        while !world.out.is_empty() {
            world.give(0);
        }
        while world.blocks.iter().any(|&number| number != 0) {
            world.take_spare(0);
        }
        world.check();
        assert_eq!(world.store.free(), world.store.blocks() * TABLES_PER_BLOCK);
    }
}

#[test]
fn a_take_writes_one_word() {
    let mut world = World::default();
    world.add();
    let before = world.memory.writes;
    let tables: Vec<Pfn> = (0..10).filter_map(|_| world.store.take(&mut world.memory)).collect();
    assert_eq!((tables.len(), world.memory.writes - before), (10, 10));
    tables.into_iter().for_each(|table| world.store.give(&mut world.memory, table));
    assert_eq!(world.memory.writes - before, 20);
}

#[test]
fn a_wrong_count_is_found() {
    let mut world = World::default();
    world.add();
    world.take();
    let table = world.out.pop_first().unwrap();
    // Given back behind the store's back.
    let mut other = TableStore::new();
    other.give(&mut world.memory, table);
    assert!(matches!(world.store.validate(&world.memory), Err(StoreFault::Counts { .. })));
}
