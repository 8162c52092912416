//! The end of a map: all that it has is free again.

use core::fmt;

use rhumb_machine::{Pfn, VirtRange};
use rhumb_pagetable::flush::Unflushed;
use rhumb_pagetable::{Entry, TableMemory};

use crate::gone::{Gone, GoneTable};
use crate::map::{Map, OwnEntries};
use crate::space::Space;
use crate::unmap::KEY;

impl<S: Space> Map<S> {
    /// Takes all tables out of the tree, flushes, and frees them with the frames of their pages. The map is borrowed
    /// exclusively, so that no fault and no change is under way.
    fn empty(&mut self) {
        let mut going = Unflushed::new(Gone::default(), KEY);
        let mut tables = self.tables();
        let mut next = Some(self.range.start());
        while let Some(at) = next.filter(|&at| at < self.range.end()) {
            let Some(own) = OwnEntries::of(&self.space, &tables, self.range, at) else { break };
            for (_, index) in own.iter() {
                self.take_root(&mut tables, (own.table, index, own.level), &mut going);
            }
            next = own.end();
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
