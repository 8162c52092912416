//! The end of a map: all that it has is free again.

use core::fmt;

use rhumb_machine::{Pfn, VirtAddr, VirtRange};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::levels::span_bytes;
use rhumb_pagetable::{ENTRIES, Entry, TableMemory, entry_at};

use crate::gone::{Gone, GoneTable};
use crate::map::Map;
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
        let mut tables = self.tables();
        let mut at = self.range.start();
        while at < self.range.end() {
            let Ok(step) = entry_at(&tables, root, at, level) else { break };
            let bytes = span_bytes(level);
            let first = VirtAddr::new(at.get() & !(bytes - 1));
            // All entries of this table that are the map's.
            let count =
                ((self.range.end().get() - 1 - first.get()) / bytes + 1).min((ENTRIES - step.index) as u64);
            for index in step.index..step.index + count as usize {
                self.take_root(&mut tables, (step.table, index, level), &mut going);
            }
            match first.checked_add(count * bytes) {
                Some(next) => at = next,
                None => break,
            }
        }
        self.finish(&mut going);
    }

    /// Empties an entry at the level at which the map's own entries begin.
    fn take_root(
        &self,
        tables: &mut S::Tables,
        (table, index, level): (Pfn, usize, u8),
        going: &mut Unflushed<Gone>,
    ) {
        let entry = tables.read(table, index);
        if entry == Entry::EMPTY {
            return;
        }
        if let Some(child) = entry.child(level) {
            if going.waiting().is_full() {
                self.finish(going);
            }
            let gone = GoneTable::new(child, level - 1, self.hint_of(entry, level));
            if going.waiting_mut(KEY).tables.try_push(gone).is_ok() {
                let batch = going.batch_mut(KEY);
                batch.add_everything();
                batch.refuse_laziness();
            }
        }
        tables.write(table, index, Entry::EMPTY);
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
