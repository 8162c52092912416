//! [`Map`]: the memory of a task, or a part of the kernel's.
//!
//! ```text
//!   allocate, unmap, protect ──lane──> entries: empty <-> fresh        (one holder at a time in a lane)
//!   fault                    ──stripe──> entries: fresh -> mapped      (many CPUs, each in its 2 MiB)
//! ```
//!
//! **Lanes** divide the addresses into up to 16 parts, each a multiple of what an entry of level 4 spans. A change of
//! what is allocated holds the lanes of its range from beginning to end, flushes included, so that such changes of one
//! range come one after the other, and an address that was unmapped is given out again only after its flush (I6). CPUs
//! choose addresses from different lanes first. The holder of a lane may be preempted, so CPUs wait for a lane with
//! [`Space::relax`].
//!
//! **Stripes** are 32 locks, taken with interrupts off, by the 2 MiB (or the GiB) of an address. A word that is not
//! empty changes under the stripe of the entry that has it; one that is empty changes by the holder of its lane alone.
//! A stripe is a leaf: no memory is asked for and no CPU flushed under it, and it is held for at most the 512 words of a
//! table.
//!
//! **Tables** of level 1 come and go under the stripe of their 2 MiB, so the way to a word is: down to level 2 without a
//! lock, then under the stripe. Tables of higher levels stay until the map ends, so that no CPU comes to one that is
//! free.

use rhumb_frames::Request;
use rhumb_machine::{CpuId, IrqOff, Machine, PageSize, Pfn, Pinned, VirtAddr, VirtRange};
use rhumb_pagetable::levels::{index_at, span_bytes, span_shift};
use rhumb_pagetable::{ENTRIES, Entry, TableMemory, bits, entry_at};
use rhumb_sync::Lock;

use crate::account::{self, Account, Credit, Limits, Usage};
use crate::error::{Resource, VmError};
use crate::hint::Hint;
use crate::lanes::Lanes;
use crate::space::{Space, TablesKey, UpperTables};
use crate::word::{Marks, Word};

/// Locks of words. With 64 CPUs that fault all the time in one map, two would want the same lock at a time: a fault
/// holds it for 50 ns twice, and takes about a microsecond, most of it to clear a page.
const STRIPES: usize = 32;

const _: () = assert!(account::NEAR == account::BATCH * STRIPES as u64);

/// A lock of words, in a cache line of its own.
#[repr(align(64))]
#[derive(Debug, Default)]
struct Stripe(Lock<Credit>);

/// The memory of a task, or a part of the kernel's. See the [module](self).
pub struct Map<S: Space> {
    pub(crate) space: S,
    pub(crate) range: VirtRange,
    pub(crate) lanes: Lanes,
    stripes: [Stripe; STRIPES],
    pub(crate) account: Account,
}

/// Where a word is: an entry of a table at a level, and the first address that it spans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) table: Pfn,
    pub(crate) index: usize,
    pub(crate) level: u8,
    pub(crate) at: VirtAddr,
    /// The entry that refers to the table.
    pub(crate) parent: (Pfn, usize),
}

impl Place {
    /// Returns the place of the word of `at`, where this is that of the entry of level 2, or of a word above.
    #[inline]
    fn below<T: TableMemory>(self, tables: &T, at: VirtAddr) -> Self {
        if self.level != 2 {
            return self;
        }
        let Some(table) = child_of(self.word(tables).0) else { return self };
        let (index, at) = (index_at(at.get(), 1), at.align_down(PageSize::Size4K));
        Self { table, index, level: 1, at, parent: (self.table, self.index) }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        span_bytes(self.level)
    }

    /// Returns the size of a page that the word maps. Above level 3 no word maps any.
    pub(crate) const fn size(&self) -> PageSize {
        match PageSize::from_level(self.level) {
            Some(size) => size,
            None => PageSize::Size1G,
        }
    }

    /// Tells whether the pages from `at` up to `end` are all of the entry's, or more.
    pub(crate) fn is_whole(&self, at: VirtAddr, end: VirtAddr) -> bool {
        self.at == at && self.bytes() <= end.since(at)
    }

    pub(crate) const fn pages(&self) -> u64 {
        self.bytes() / PageSize::Size4K.bytes()
    }

    pub(crate) fn word<T: TableMemory>(&self, tables: &T) -> Word {
        Word(tables.read(self.table, self.index))
    }
}

/// Entries of a table at the level at which a map's own entries begin.
pub(crate) struct OwnEntries {
    pub(crate) table: Pfn,
    pub(crate) level: u8,
    first: usize,
    count: usize,
    /// The first address of the first of them.
    at: VirtAddr,
}

impl OwnEntries {
    /// Returns the entries from that of `at` on, up to the end of the table or of the range. `None` where the space should
    /// have the table, and has none.
    pub(crate) fn of<S: Space>(
        space: &S,
        tables: &S::Tables,
        range: VirtRange,
        at: VirtAddr,
    ) -> Option<Self> {
        let root = space.root();
        let level = match space.upper_tables() {
            UpperTables::OfMap => root.levels.top(),
            UpperTables::OfSpace => 3,
        };
        let step = entry_at(tables, root, at, level).ok()?;
        let bytes = span_bytes(level);
        let at = VirtAddr::new(at.get() & !(bytes - 1));
        let left = (range.end().get() - 1 - at.get()) / bytes + 1;
        let count = left.min((ENTRIES - step.index) as u64) as usize;
        Some(Self { table: step.table, level, first: step.index, count, at })
    }

    /// Returns the first address and the index of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (VirtAddr, usize)> {
        let (at, first, bytes) = (self.at, self.first, span_bytes(self.level));
        (0..self.count).map(move |entry| (at.plus(entry as u64 * bytes), first + entry))
    }

    /// Returns the address behind them, where there is one.
    pub(crate) fn end(&self) -> Option<VirtAddr> {
        self.at.checked_add(self.count as u64 * span_bytes(self.level))
    }
}

impl<S: Space> Map<S> {
    /// Makes an empty map.
    ///
    /// # Errors
    /// [`VmError::BadRange`]: the space's range is not of whole GiB, or a level-3 table that the space should have is
    /// not there. [`VmError::Occupied`]: an entry of the range is in use.
    ///
    /// Cost: a look at each of the map's own entries, at most 512 in each table: those of the root, or of the level-3
    /// tables that the space has.
    pub fn new(space: S, limits: Limits) -> Result<Self, VmError> {
        let (root, range) = (space.root(), space.range());
        if !range.is_aligned(PageSize::Size1G) || root.levels.positions(range).is_none() {
            return Err(VmError::BadRange(range));
        }
        let tables = space.tables(TablesKey(()));
        let mut next = Some(range.start());
        while let Some(at) = next.filter(|&at| at < range.end()) {
            let own = OwnEntries::of(&space, &tables, range, at).ok_or(VmError::BadRange(range))?;
            if let Some((at, _)) =
                own.iter().find(|&(_, index)| tables.read(own.table, index) != Entry::EMPTY)
            {
                return Err(VmError::Occupied(at));
            }
            next = own.end();
        }
        Ok(Self {
            lanes: Lanes::new(range),
            space,
            range,
            stripes: core::array::from_fn(|_| Stripe::default()),
            account: Account::new(limits),
        })
    }

    /// Returns the space.
    pub const fn space(&self) -> &S {
        &self.space
    }

    /// Returns this CPU's way to the tables of the map's tree.
    #[inline(always)]
    pub(crate) fn tables(&self) -> S::Tables {
        self.space.tables(TablesKey(()))
    }

    /// Returns the addresses that the map has.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// Sets the most that the map may have. A map that has more keeps it.
    pub fn set_limits(&self, limits: Limits) {
        self.account.set_limits(limits);
    }

    /// Returns the most that the map may have.
    pub fn limits(&self) -> Limits {
        self.account.limits()
    }

    /// Returns what the map has. Exact where nothing else happens.
    pub fn usage(&self) -> Usage {
        let guard = self.space.machine().irq_off();
        let credit: u64 = self.stripes.iter().map(|stripe| stripe.0.lock(guard.irq_off()).0).sum();
        let usage = self.account.usage();
        Usage { resident_pages: usage.resident_pages.saturating_sub(credit), ..usage }
    }

    /// Checks a range that a caller names.
    pub(crate) fn check(&self, range: VirtRange) -> Result<(), VmError> {
        if range.is_empty() || !range.is_aligned(PageSize::Size4K) {
            return Err(VmError::BadRange(range));
        }
        if !self.range.covers(range) {
            return Err(VmError::Outside(range));
        }
        Ok(())
    }

    /// Returns where the way to `at` ends without a lock: at level 2, or above it at an entry that was no table.
    #[inline]
    pub(crate) fn descend<T: TableMemory>(&self, tables: &T, at: VirtAddr) -> Place {
        let root = self.space.root();
        let (mut table, mut level) = (root.table, root.levels.top());
        let mut parent = (table, 0);
        loop {
            let index = index_at(at.get(), level);
            if level > 2
                && let Some(child) = child_of(tables.read(table, index))
            {
                parent = (table, index);
                (table, level) = (child, level - 1);
                continue;
            }
            let at = VirtAddr::new(at.get() & !(span_bytes(level) - 1));
            return Place { table, index, level, at, parent };
        }
    }

    /// Returns the place of the word of `at`: for the holder of its lane, or of its stripe.
    #[inline]
    pub(crate) fn place<T: TableMemory>(&self, tables: &T, at: VirtAddr) -> Place {
        self.descend(tables, at).below(tables, at)
    }

    /// Runs `act` on the place of the word of `at`, under the lock of that word.
    #[inline]
    pub(crate) fn locked<A>(
        &self,
        at: VirtAddr,
        act: impl FnOnce(&mut Credit, &mut S::Tables, Place) -> A,
    ) -> A {
        let mut tables = self.tables();
        let guard = self.space.machine().irq_off();
        loop {
            let way = self.descend(&tables, at);
            let mut credit = self.stripe(way).lock(guard.irq_off());
            if way.level > 2 && child_of(way.word(&tables).0).is_some() {
                // Another CPU has put a table there meanwhile.
                continue;
            }
            let place = way.below(&tables, at);
            return act(&mut credit, &mut tables, place);
        }
    }

    /// Returns the lock of an entry at level 2 or above.
    fn stripe(&self, way: Place) -> &Lock<Credit> {
        // Programs use addresses that are multiples of large numbers, so that the lowest bits alone would not do.
        let number = way.at.get() >> span_shift(way.level.min(3));
        let mixed = number ^ number >> 5 ^ number >> 9 ^ number >> 18;
        &self.stripes[mixed as usize % STRIPES].0
    }

    /// Returns the highest level at which entries that refer to tables have hints.
    fn most_hinted_level(&self) -> u8 {
        match self.space.upper_tables() {
            UpperTables::OfMap => 4,
            UpperTables::OfSpace => 3,
        }
    }

    /// Returns the parts that may have words of the table to which an entry at `level` refers.
    pub(crate) fn hint_of(&self, entry: Entry, level: u8) -> Hint {
        if level <= self.most_hinted_level() { Hint::of(entry) } else { Hint::ALL }
    }

    /// Says that the table of `place` has words in `count` entries from there on. The caller holds the lane.
    pub(crate) fn note_used(&self, tables: &mut S::Tables, place: &Place, count: usize) {
        if place.level >= self.most_hinted_level() {
            return;
        }
        let (table, index) = place.parent;
        let entry = tables.read(table, index);
        let hinted = Hint::for_entries(place.index, count).added_to(entry);
        if hinted != entry {
            tables.write(table, index, hinted);
        }
    }

    /// Charges one resident page: to the credit of a stripe, which is refilled if it is empty.
    ///
    /// # Errors
    /// The account is used up, but for what other stripes may keep.
    pub(crate) fn charge(&self, credit: &mut Credit) -> Result<(), OverLimit> {
        if credit.0 == 0 {
            credit.0 = self.account.take_batch().ok_or(OverLimit)?;
        }
        credit.0 -= 1;
        Ok(())
    }

    /// Has `act` charge resident pages. Where the account is used up, takes back what stripes keep, and has `act` try again,
    /// as long as there is any.
    ///
    /// # Errors
    /// The limit is reached.
    pub(crate) fn charging<A>(&self, mut act: impl FnMut() -> Result<A, OverLimit>) -> Result<A, OverLimit> {
        let mut was_gathered = true;
        loop {
            match act() {
                Err(OverLimit) if was_gathered => {
                    let off = self.space.machine().irq_off();
                    // One try more where there was none: another CPU may have given it back before this one looked.
                    was_gathered = self.gather_credit(off.irq_off());
                }
                done => return done,
            }
        }
    }

    /// Gives what all stripes keep back to the account, each under its lock, so that no CPU misses what is in neither of the
    /// two. Tells whether there was any.
    fn gather_credit(&self, off: IrqOff<'_>) -> bool {
        let mut was_any = false;
        for stripe in &self.stripes {
            let mut credit = stripe.0.lock(off);
            was_any |= credit.0 > 0;
            self.account.give(Resource::Resident, core::mem::take(&mut credit.0));
        }
        was_any
    }

    /// Returns the request for the frame of a table.
    pub(crate) const fn table_request() -> Request {
        Request::FRAME.class(rhumb_frames::AllocClass::PageTables)
    }

    /// Returns the request for the frame of a page.
    pub(crate) const fn page_request() -> Request {
        Request::FRAME
    }

    /// Returns the word of a page of 4 KiB with a frame.
    pub(crate) fn word_of(&self, pfn: Pfn, marks: Marks) -> Word {
        Word::mapped(pfn, PageSize::Size4K, marks, |access| self.space.attributes(access))
    }

    /// Returns the CPU that chooses addresses.
    pub(crate) fn here(&self, pinned: Pinned<'_>) -> CpuId {
        self.space.machine().cpu_of(pinned)
    }
}

/// Returns the table to which an entry above level 1 refers: [`Entry::child`] for entries that are sound.
#[inline(always)]
fn child_of(entry: Entry) -> Option<Pfn> {
    let is_table = entry.bits() & (bits::PRESENT | bits::HUGE) == bits::PRESENT;
    is_table.then(|| rhumb_machine::PhysAddr::new(entry.bits() & bits::ADDRESS).pfn())
}

/// The account of a map is used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverLimit;
