//! The guest's page tables, read from its memory.

use rhumb_tlb_model::{MAX_LEVELS, PageSize, Tables, Translation};

/// The guest's physical memory.
pub trait PhysicalMemory {
    /// Returns the eight bytes at a physical address, a multiple of 8; `None` where there is no memory.
    fn read(&self, physical: u64) -> Option<u64>;
}

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const LEVELS: usize = 4;

/// Tables of four levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestTables<'a, M> {
    memory: &'a M,
    root: u64,
}

impl<'a, M: PhysicalMemory> GuestTables<'a, M> {
    /// The tables of a value of CR3.
    pub fn new(memory: &'a M, cr3: u64) -> Self {
        Self { memory, root: cr3 & ADDRESS }
    }
}

impl<M: PhysicalMemory> Tables for GuestTables<'_, M> {
    fn translate(&mut self, address: u64) -> Option<Translation> {
        let (mut table, mut entries) = (self.root, [0; MAX_LEVELS]);
        for level in (1..=LEVELS).rev() {
            let shift = 12 + 9 * (level - 1);
            let at = table + (address >> shift & 0x1ff) * 8;
            let entry = self.memory.read(at)?;
            entries[level - 1] = at;
            if entry & PRESENT == 0 {
                return None;
            }
            let page = match level {
                1 => Some(PageSize::Size4K),
                2 if entry & LARGE != 0 => Some(PageSize::Size2M),
                3 if entry & LARGE != 0 => Some(PageSize::Size1G),
                _ => None,
            };
            if let Some(page) = page {
                let offset = page.bytes() - 1;
                let physical = entry & ADDRESS & !offset | address & offset;
                return Some(Translation { page, is_global: entry & GLOBAL != 0, entries, physical });
            }
            table = entry & ADDRESS;
        }
        None
    }
}

/// The answer for one address, asked for by several models.
pub(crate) struct Once<T> {
    tables: T,
    answer: Option<Option<Translation>>,
}

impl<T: Tables> Once<T> {
    pub(crate) fn new(tables: T) -> Self {
        Self { tables, answer: None }
    }
}

impl<T: Tables> Tables for Once<T> {
    fn translate(&mut self, address: u64) -> Option<Translation> {
        *self.answer.get_or_insert_with(|| self.tables.translate(address))
    }
}

#[cfg(test)]
mod tests;
