//! How tables are touched, where they come from, and chains of tables that wait for use.
//!
//! The crate holds no pointer. Tables are reached through [`TableMemory`]: the kernel's goes through the direct map, at
//! boot through a window, in a test into a hash map. New tables come from a [`TableSource`].
//!
//! A [`TableChain`] is a stack of zeroed tables linked through their own first entries, so that it needs no memory of
//! its own (invariant I10). Code that will need tables takes them all first, so that no later step can run out half-way
//! (I7).

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use rhumb_machine::{Pfn, VirtAddr};

use crate::entry::{Entry, bits};
use crate::levels::ENTRIES;

/// An entry of a table in memory that CPUs may walk.
///
/// Tables are reached by nothing but 64-bit atomics, since there are other readers than the one writer (I8): CPUs walk
/// them at any time, and a report may walk them without the writer's lock. The orders:
///
/// | | order | why |
/// |---|---|---|
/// | store | release | a table's entries are written before the entry that refers to it, so a reader that finds the table finds it filled |
/// | load | acquire | the other half of that, for a walk in software; a CPU's own walk follows the entry that it has read |
///
/// No order is asked between a store and a CPU's use of what it has cached: that is what a flush is for (I6), and the
/// flusher passes a full fence before it looks which CPUs run
/// ([`Tlb::flush_targets`](rhumb_machine::Tlb::flush_targets)). On x86-64 each is a plain `mov`.
#[derive(Debug)]
#[repr(transparent)]
pub struct TableEntry(AtomicU64);

impl TableEntry {
    /// Makes an entry that is not in a table yet.
    pub const fn new(entry: Entry) -> Self {
        Self(AtomicU64::new(entry.bits()))
    }

    /// Returns the entry at `place`.
    ///
    /// # Safety
    /// `place` is a multiple of 8, is an entry of a table that stays for `'table`, and is reached meanwhile by nothing
    /// but atomics and the walks of CPUs.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the caller knows where tables are")]
    pub const unsafe fn at<'table>(place: VirtAddr) -> &'table Self {
        // SAFETY: the caller promises an aligned entry that stays, and that only atomics and walks reach; `TableEntry`
        // has the layout of the entry's word.
        unsafe { &*place.as_ptr::<Self>() }
    }

    /// Returns the entries of the table at `place`.
    ///
    /// # Safety
    /// As for [`TableEntry::at`], for all of the table.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the caller knows where tables are")]
    pub const unsafe fn all_at<'table>(place: VirtAddr) -> &'table [Self; ENTRIES] {
        // SAFETY: the caller promises a whole table of entries; an entry has the layout of its word.
        unsafe { &*place.as_ptr::<[Self; ENTRIES]>() }
    }

    /// Reads it.
    #[inline(always)]
    pub fn load(&self) -> Entry {
        Entry::from_bits(self.0.load(Acquire))
    }

    /// Sets it.
    #[inline(always)]
    pub fn store(&self, entry: Entry) {
        self.0.store(entry.bits(), Release);
    }
}

/// Memory that holds page tables.
///
/// `table` is the frame of a table, `index` is below [`crate::ENTRIES`]. An implementation whose tables CPUs may walk
/// reads and writes each entry as a [`TableEntry`]. There is one writer of a tree at a time (I8).
///
/// The trait is safe to implement for memory that is only looked at. An implementation that reaches the tables of a
/// running CPU has an unsafe constructor, where its maker promises that every `table` it will be given is a table, and
/// that the memory which it will map may be mapped so.
pub trait TableMemory {
    /// Reads one entry.
    fn read(&self, table: Pfn, index: usize) -> Entry;

    /// Sets one entry.
    fn write(&mut self, table: Pfn, index: usize, entry: Entry);

    /// Returns the entries of a table, where they are read and written in place: for loops over many of them. `None` where
    /// a write takes more than a store.
    fn in_place(&self, table: Pfn) -> Option<&[TableEntry; ENTRIES]> {
        let _ = table;
        None
    }

    /// Sets `count` entries from `index` on: the first is `first`, each next one maps `step_bytes` further on. Stays
    /// within the table. To be overridden where reaching a table costs more than writing an entry.
    fn write_run(&mut self, table: Pfn, index: usize, first: Entry, step_bytes: u64, count: usize) {
        let mut entry = first;
        for position in index..index + count {
            self.write(table, position, entry);
            entry = entry.advanced(step_bytes);
        }
    }
}

/// Where new tables come from.
///
/// # Safety
/// Page tables are built of the frames that a source hands out, so an implementation promises, of each frame that
/// [`TableSource::take_zeroed_table`] returns:
/// - It is a frame of RAM that the [`TableMemory`] reaches with which the source is used, and all of it is zero.
/// - It is the caller's alone: nothing else reads, writes, frees or hands out the frame until
///   [`TableSource::give_back`] has been called with it.
///
/// Safe code cannot promise that:
/// ```compile_fail,E0200
/// # use rhumb_machine::Pfn;
/// # use rhumb_pagetable::{OutOfTables, TableSource};
/// struct SameAgain;
/// impl TableSource for SameAgain {
///     fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
///         Ok(Pfn::new(1))
///     }
///     unsafe fn give_back(&mut self, _: Pfn) {}
/// }
/// ```
#[expect(unsafe_code, reason = "declares what tables rest on")]
pub unsafe trait TableSource {
    /// Takes a frame, exclusively the caller's, all of it zero.
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables>;

    /// Takes a frame back.
    ///
    /// # Safety
    /// The frame came from this source, or from another over the same memory that gives its frames up to this one. All
    /// of it is zero again, no CPU can reach it through a tree or a cached entry of a table, and the caller uses it no
    /// more.
    unsafe fn give_back(&mut self, table: Pfn);
}

/// The source has no frame for a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfTables;

impl core::fmt::Display for OutOfTables {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no frame is left for a page table")
    }
}

impl core::error::Error for OutOfTables {}

/// Zeroed tables that have no owner yet. Dropping it loses them: give it back.
#[must_use = "dropping the chain leaks its tables"]
#[derive(Debug, Default)]
pub struct TableChain {
    first: Option<Pfn>,
    tables: u64,
}

impl TableChain {
    /// Returns a chain of none.
    pub const fn new() -> Self {
        Self { first: None, tables: 0 }
    }

    /// Takes `tables` tables, or none of them.
    #[expect(unsafe_code, reason = "gives back what it has taken")]
    pub fn take<M, S>(tables: u64, memory: &mut M, source: &mut S) -> Result<Self, OutOfTables>
    where
        M: TableMemory + ?Sized,
        S: TableSource + ?Sized,
    {
        let mut chain = Self::new();
        for _ in 0..tables {
            match source.take_zeroed_table() {
                Ok(table) => chain.push(memory, table),
                Err(error) => {
                    // SAFETY: the source gave them just now, and no tree has had them.
                    unsafe { chain.give_back(memory, source) };
                    return Err(error);
                }
            }
        }
        Ok(chain)
    }

    /// Returns how many tables it holds.
    pub const fn len(&self) -> u64 {
        self.tables
    }

    /// Tells whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Takes one zeroed table out.
    ///
    /// # Panics
    /// If a table of the chain was written meanwhile, so that the chain ends before it should.
    pub fn pop<M: TableMemory + ?Sized>(&mut self, memory: &mut M) -> Option<Pfn> {
        let table = self.first?;
        let link = memory.read(table, 0);
        assert!((link != Entry::EMPTY) == (self.tables > 1), "a spare table, {table}, was written");
        memory.write(table, 0, Entry::EMPTY);
        // A link is marked by a bit beside the frame number, so that frame 0 can be in a chain.
        self.first = (link != Entry::EMPTY).then(|| Pfn::new((!link.bits() & bits::ADDRESS) >> LINK_SHIFT));
        self.tables -= 1;
        Some(table)
    }

    /// Puts a zeroed table in. The link is not PRESENT: a CPU that still walks the table finds nothing in it.
    pub fn push<M: TableMemory + ?Sized>(&mut self, memory: &mut M, table: Pfn) {
        if let Some(next) = self.first {
            let link = !(next.get() << LINK_SHIFT) & bits::ADDRESS | LINK_MARK;
            memory.write(table, 0, Entry::from_bits(link));
        }
        self.first = Some(table);
        self.tables += 1;
    }

    /// Gives all tables back, zeroed.
    ///
    /// # Safety
    /// `memory` is the memory that the chain is linked in, and each table of it fulfils the contract of
    /// [`TableSource::give_back`].
    #[expect(unsafe_code, reason = "the source trusts what comes back")]
    pub unsafe fn give_back<M, S>(mut self, memory: &mut M, source: &mut S)
    where
        M: TableMemory + ?Sized,
        S: TableSource + ?Sized,
    {
        while let Some(table) = self.pop(memory) {
            // SAFETY: passed on; `pop` has cleared the link, all that was not zero.
            unsafe { source.give_back(table) };
        }
    }
}

/// A link holds a frame number where an entry holds its address, each bit inverted: so it names no memory that there
/// is. A CPU with the L1 terminal fault reads, on speculation, the cached memory that a non-present entry names.
const LINK_SHIFT: u32 = 12;
/// Bit 1 of a link: always set, so that no link is zero. PRESENT, bit 0, never is.
const LINK_MARK: u64 = 1 << 1;
