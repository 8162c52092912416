//! The store against a set of what is out.

extern crate std;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::Block;
use rhumb_machine::{PageSize, Pfn};
use rhumb_pagetable::sim::SimTables;
use rhumb_pagetable::{Entry, TableMemory};

use crate::store::{NotGiven, StoreFault, TABLES_PER_BLOCK, TableStore, Tenure};

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
        // Block 0 is boot's.
        let tenure = if number == 0 { Tenure::Stays } else { Tenure::Leaves };
        self.store.add(&mut self.memory, block(number), tenure);
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
        self.store.give(&mut self.memory, table).unwrap();
        assert!(!self.store.has_given(&self.memory, table));
    }

    fn take_spare(&mut self, keep: u64) {
        let is_unused =
            |number: u64| self.out.range(block(number).start()..block(number).end()).next().is_none();
        let unused = self.blocks.iter().filter(|&&number| number != 0 && is_unused(number));
        let enough = self.store.free() >= keep + TABLES_PER_BLOCK;
        let expected = unused.count() > 0 && enough;
        let spare = self.store.take_spare(&mut self.memory, keep);
        assert_eq!(spare.is_some(), expected);
        if let Some(spare) = spare {
            assert!(self.memory.is_blank(spare.start()), "the header is not zero");
            assert!(self.blocks.remove(&(spare.start().get() / 512)));
        }
    }

    /// Returns the blocks, one by one.
    fn walked(&self) -> Vec<Block> {
        core::iter::successors(self.store.next(&self.memory, None), |&block| {
            self.store.next(&self.memory, Some(block))
        })
        .collect()
    }

    fn check(&self) {
        self.store.validate(&self.memory).unwrap();
        assert_eq!(self.store.blocks(), self.blocks.len() as u64);
        assert_eq!(self.store.free(), self.store.blocks() * TABLES_PER_BLOCK - self.out.len() as u64);
        let listed: BTreeSet<u64> =
            self.store.iter(&self.memory).map(|block| block.start().get() / 512).collect();
        assert_eq!(listed, self.blocks);
        assert_eq!(self.walked(), self.store.iter(&self.memory).collect::<Vec<_>>());
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
    tables.into_iter().for_each(|table| world.store.give(&mut world.memory, table).unwrap());
    assert_eq!(world.memory.writes - before, 20);
}

#[test]
fn a_wrong_count_is_found() {
    let mut world = World::default();
    world.add();
    world.take();
    let table = world.out.pop_first().unwrap();
    // Given back behind the store's back.
    let (mut other, partial) = (TableStore::new(), world.store.free());
    other.give(&mut world.memory, table).unwrap();
    assert_eq!((other.free(), world.store.free()), (1, partial));
    assert!(matches!(world.store.validate(&world.memory), Err(StoreFault::Counts { .. })));
}

#[test]
fn only_what_is_out_comes_back() {
    let mut world = World::default();
    (0..2).for_each(|_| world.add());
    let table = world.store.take(&mut world.memory).unwrap();
    world.store.give(&mut world.memory, table).unwrap();
    // A block that is not the store's, as it is before it comes and after it has left.
    world.memory.insert(block(2).start());
    let gone = world.store.take_spare(&mut world.memory, 0).unwrap();
    let writes = world.memory.writes;
    for frame in [table, block(0).start(), block(2).start().plus(7), gone.start().plus(7)] {
        assert_eq!(world.store.give(&mut world.memory, frame), Err(NotGiven { frame }));
    }
    assert_eq!(world.memory.writes, writes);
    world.store.validate(&world.memory).unwrap();
}

/// Tables that count their reads.
#[derive(Default)]
struct Counted {
    tables: SimTables,
    reads: Cell<u64>,
}

impl TableMemory for Counted {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        self.reads.set(self.reads.get() + 1);
        self.tables.read(table, index)
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.tables.write(table, index, entry);
    }
}

#[test]
fn no_operation_looks_at_more_blocks_where_there_are_more() {
    let costs = |blocks: u64| {
        let (mut memory, mut store) = (Counted::default(), TableStore::new());
        // Half of them stay. One table of each is in use; of the last, in the end none.
        for number in 0..blocks {
            memory.tables.insert(block(number).start());
            let tenure = if number % 2 == 0 { Tenure::Stays } else { Tenure::Leaves };
            store.add(&mut memory, block(number), tenure);
        }
        let tables: Vec<Pfn> =
            (0..blocks * TABLES_PER_BLOCK).filter_map(|_| store.take(&mut memory)).collect();
        let first_of_each = |table: &&Pfn| table.get() % PageSize::Size2M.frames() == 1;
        for &table in tables.iter().filter(|table| !first_of_each(table)) {
            store.give(&mut memory, table).unwrap();
        }
        let last = *tables.iter().rfind(first_of_each).unwrap();
        let mut reads = |act: &mut dyn FnMut(&mut TableStore, &mut Counted)| {
            memory.reads.set(0);
            act(&mut store, &mut memory);
            memory.reads.get()
        };
        [
            reads(&mut |store, memory| assert_eq!(store.take_spare(memory, 0), None)),
            reads(&mut |store, memory| store.give(memory, last).unwrap()),
            reads(&mut |store, memory| assert!(store.take(memory).is_some())),
            reads(&mut |store, memory| assert!(store.next(memory, Some(block(blocks / 2))).is_some())),
            reads(&mut |store, memory| assert!(store.take_spare(memory, 0).is_some())),
        ]
    };
    let (few, many) = (costs(4), costs(64));
    assert!(many.iter().max() <= few.iter().max(), "{few:?} reads, and {many:?} with sixteen times as many");
    assert!(many.iter().all(|&reads| reads < 64), "{many:?}");
}
