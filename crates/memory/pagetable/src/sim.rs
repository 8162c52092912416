//! Page tables in a hash map, and frames for them from a counter: for tests, here and above (feature `sim`).

extern crate std;

use std::collections::{HashMap, HashSet};

use rhumb_machine::Pfn;

use crate::entry::Entry;
use crate::levels::{ENTRIES, Levels, Root};
use crate::memory::{OutOfTables, TableMemory, TableSource};
use crate::scan::Leaves;
use crate::walk::Leaf;

/// Memory that holds nothing but tables. Reads and writes are counted; touching a frame that is no table panics.
#[derive(Clone, Debug, Default)]
pub struct SimTables {
    tables: HashMap<Pfn, std::boxed::Box<[Entry; ENTRIES]>>,
    /// Entries written.
    pub writes: u64,
}

impl SimTables {
    /// Makes an empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `table` a table, all zero.
    pub fn insert(&mut self, table: Pfn) {
        self.tables.insert(table, std::boxed::Box::new([Entry::EMPTY; ENTRIES]));
    }

    /// Tells whether `table` is a table whose entries are all zero.
    pub fn is_blank(&self, table: Pfn) -> bool {
        self.tables.get(&table).is_some_and(|entries| entries.iter().all(|&entry| entry == Entry::EMPTY))
    }

    /// Tells whether both hold the same tables with the same entries.
    pub fn has_same_entries(&self, other: &Self) -> bool {
        self.tables == other.tables
    }

    /// Returns how many tables have an entry that is not zero.
    pub fn used_tables(&self) -> usize {
        self.tables.keys().filter(|&&table| !self.is_blank(table)).count()
    }
}

/// One tree of tables in its memory, with tables to spare.
#[derive(Clone, Debug)]
pub struct SimTree {
    /// The memory of the tables.
    pub memory: SimTables,
    /// The tables to spare.
    pub source: SimSource,
    /// The table at the top.
    pub root: Root,
}

impl SimTree {
    /// The frame of the root, and the first of the tables: far from all that tests map.
    pub const ROOT: Pfn = Pfn::new(0xf_0000_0000);

    /// Returns a tree with an empty root, and with `tables` tables to spare.
    pub fn new(levels: Levels, tables: u64) -> Self {
        let mut memory = SimTables::new();
        memory.insert(Self::ROOT);
        let source = SimSource::new(&mut memory, Self::ROOT.plus(1), tables);
        Self { memory, source, root: Root::new(Self::ROOT, levels) }
    }

    /// Returns every page that the tree maps.
    pub fn leaves(&self) -> std::vec::Vec<Leaf> {
        Leaves::all(&self.memory, self.root).collect()
    }
}

impl TableMemory for SimTables {
    fn read(&self, table: Pfn, index: usize) -> Entry {
        match self.tables.get(&table) {
            Some(entries) => entries[index],
            None => panic!("read of {table:?}, which is no table"),
        }
    }

    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        self.writes += 1;
        match self.tables.get_mut(&table) {
            Some(entries) => entries[index] = entry,
            None => panic!("write to {table:?}, which is no table"),
        }
    }
}

/// Hands out frames that were made tables beforehand, a limited number of them, and checks what comes back.
#[derive(Clone, Debug)]
pub struct SimSource {
    free: std::vec::Vec<Pfn>,
    taken: HashSet<Pfn>,
}

impl SimSource {
    /// Makes `tables` zeroed tables in `memory`, from frame `first` on, to hand out in ascending order.
    pub fn new(memory: &mut SimTables, first: Pfn, tables: u64) -> Self {
        let free: std::vec::Vec<Pfn> = (0..tables).map(|number| first.plus(number)).rev().collect();
        free.iter().for_each(|&table| memory.insert(table));
        Self { free, taken: HashSet::new() }
    }

    /// Returns how many are out.
    pub fn taken(&self) -> u64 {
        self.taken.len() as u64
    }

    /// Returns the tables that are out.
    pub fn taken_tables(&self) -> impl Iterator<Item = Pfn> {
        self.taken.iter().copied()
    }

    /// Returns the tables that are not out.
    pub fn free_tables(&self) -> impl Iterator<Item = Pfn> {
        self.free.iter().copied()
    }
}

// SAFETY: each frame is handed out once until it comes back, and is a table of the source's memory, which nothing else
// is made of; `give_back` checks that.
#[expect(unsafe_code, reason = "keeps the promise of a source")]
unsafe impl TableSource for SimSource {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        let table = self.free.pop().ok_or(OutOfTables)?;
        self.taken.insert(table);
        Ok(table)
    }

    unsafe fn give_back(&mut self, table: Pfn) {
        assert!(self.taken.remove(&table), "{table:?} was given back but not taken");
        self.free.push(table);
    }
}
