//! The end of a map: all that it has is free again.

use core::fmt;

use rhumb_machine::{VirtAddr, VirtRange};
use rhumb_pagetable::Entry;
use rhumb_pagetable::TableMemory;
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::levels::span_bytes;

use crate::gone::{Gone, GoneTable};
use crate::map::{Map, Place};
use crate::space::{Space, UpperTables};
use crate::unmap::KEY;

impl<S: Space> Map<S> {
    /// Takes all tables out of the tree, flushes, and frees them with the frames of their pages. The map is borrowed
    /// exclusively, so that no fault and no change is under way.
    fn empty(&mut self) {
        let root = self.space.root();
        let level = match self.space.upper_tables() {
            UpperTables::OfMap => root.levels.top(),
            UpperTables::OfSpace => 3,
        };
        let mut going = Unflushed::new(Gone::default(), KEY);
        let mut tables = self.space.tables();
        let mut at = self.range.start();
        while at < self.range.end() {
            let Some(place) = self.at_level(&tables, at, level) else { break };
            let entry = tables.read(place.table, place.index);
            if let Some(child) = entry.child(level) {
                if going.waiting().is_full() {
                    self.finish(&mut going);
                }
                if going.waiting_mut(KEY).tables.try_push(GoneTable::new(child, level - 1)).is_ok() {
                    let batch = going.batch_mut(KEY);
                    batch.add_everything();
                    batch.refuse_laziness();
                }
            }
            if entry != Entry::EMPTY {
                tables.write(place.table, place.index, Entry::EMPTY);
            }
            match place.at.checked_add(place.bytes()) {
                Some(next) => at = next,
                None => break,
            }
        }
        self.finish(&mut going);
    }

    /// Returns the place of the entry of `at` at a level at which the map's own entries begin.
    fn at_level(&self, tables: &S::Tables, at: VirtAddr, level: u8) -> Option<Place> {
        let step = rhumb_pagetable::entry_at(tables, self.space.root(), at, level).ok()?;
        let at = VirtAddr::new(at.get() & !(span_bytes(level) - 1));
        Some(Place { table: step.table, index: step.index, level, at })
    }
}

impl<S: Space> Drop for Map<S> {
    fn drop(&mut self) {
        self.empty();
    }
}

impl<S: Space> fmt::Debug for Map<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range: VirtRange = self.range;
        write!(f, "Map({range})")
    }
}
