//! [`TableStore`]: frames for page tables, cut from whole blocks of 2 MiB.
//!
//! Tables that may not be written must be in pages of the direct map that hold nothing else. Frame by frame, that would
//! split the map into small pages; by blocks, one large page protects 511 tables.
//!
//! ```text
//!   block    frame 0            1 ................................. 511
//!            header             tables in use, tables to be taken (zero)
//!   header   words 0 and 1      the block before and behind it in the list of those with as much to give
//!            words 2 to 9       a bit for each frame, set where it can be taken
//!            words 10 and 11    the block before and behind it in the list of all
//!            word 12            that this is a header, and whether the block stays
//! ```
//!
//! Besides the list of all blocks there are two: of blocks of which a part can be taken, and of blocks of which no
//! table is in use and that may leave. So each operation looks at one block and its neighbours, however many there are.
//! The headers lie in the blocks, so that they are protected as the tables are, and are written in the same way
//! ([`TableMemory`], a word as an entry); and a block costs no other memory (I10). No CPU walks a header.
//!
//! The caller that adds a block has protected it; the caller that removes one makes it ordinary before it is freed.

use rhumb_machine::{Block, PageSize, Pfn};
use rhumb_pagetable::{Entry, TableMemory, bits};

const FREE: usize = 2;
const WORDS: usize = 8;
const KIND: usize = 12;

/// The value of word 12 of a header, which no other data is likely to have.
const LEAVES: u64 = 0x5461_626c_6573_0001;
const STAYS: u64 = 0x5461_626c_6573_0002;

/// Tables that a block has, in use or not: all but its header.
pub const TABLES_PER_BLOCK: u64 = PageSize::Size2M.frames() - 1;

/// A link holds a frame number where an entry holds its address, and is marked so that frame 0 can be in the list.
const LINK_SHIFT: u32 = 12;
const LINK_MARK: u64 = 1 << 1;

/// Whether a block may leave the store again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tenure {
    /// [`TableStore::take_spare`] takes it, once none of its tables is in use.
    Leaves,
    /// It never leaves.
    Stays,
}

/// The blocks that tables come from. See the module.
#[derive(Debug, Default)]
pub struct TableStore {
    all: Option<Pfn>,
    partial: Option<Pfn>,
    spare: Option<Pfn>,
    blocks: u64,
    free: u64,
}

/// The things that do not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreFault {
    /// A block's links are not those of its neighbours, or it is in the wrong list.
    Order {
        /// The block's first frame.
        block: Pfn,
    },
    /// There are not as many blocks or free tables as are counted.
    Counts {
        /// Blocks and free tables in the list.
        found: (u64, u64),
        /// Those that are counted.
        counted: (u64, u64),
    },
}

/// A frame that came back to a store which had not given it out: it is of no block, a header, or there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotGiven {
    /// The frame.
    pub frame: Pfn,
}

/// A list of blocks: where its links are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    All,
    Partial,
    Spare,
}

impl List {
    const fn before(self) -> usize {
        if matches!(self, Self::All) { 10 } else { 0 }
    }

    const fn behind(self) -> usize {
        self.before() + 1
    }
}

impl TableStore {
    /// Makes a store without blocks.
    pub const fn new() -> Self {
        Self { all: None, partial: None, spare: None, blocks: 0, free: 0 }
    }

    /// Returns how many tables can be taken.
    pub const fn free(&self) -> u64 {
        self.free
    }

    /// Returns how many blocks it has.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Adds a block of 2 MiB for tables. All of it is zero, and it can be written through `memory` only, as the tables
    /// are.
    ///
    /// Cost: at most 13 writes.
    pub fn add<T: TableMemory + ?Sized>(&mut self, memory: &mut T, block: Block, tenure: Tenure) {
        let header = block.start();
        for word in 0..WORDS {
            let bits = if word == 0 { !1 } else { u64::MAX };
            memory.write(header, FREE + word, Entry::from_bits(bits));
        }
        let kind = if tenure == Tenure::Stays { STAYS } else { LEAVES };
        memory.write(header, KIND, Entry::from_bits(kind));
        self.push(memory, List::All, header);
        self.relist(memory, header, 0, TABLES_PER_BLOCK);
        self.blocks += 1;
        self.free += TABLES_PER_BLOCK;
    }

    /// Takes a zeroed table; `None` where all are in use. Blocks of which some tables are in use come first.
    ///
    /// Cost: one write, and at most four more where it is its block's first or last.
    pub fn take<T: TableMemory + ?Sized>(&mut self, memory: &mut T) -> Option<Pfn> {
        let header = self.partial.or(self.spare)?;
        let before = free_in(memory, header);
        let (word, bits) = (0..WORDS).find_map(|word| {
            let bits = memory.read(header, FREE + word).bits();
            (bits != 0).then_some((word, bits))
        })?;
        memory.write(header, FREE + word, Entry::from_bits(bits & (bits - 1)));
        self.free -= 1;
        self.relist(memory, header, before, before - 1);
        Some(header.plus((word * 64) as u64 + u64::from(bits.trailing_zeros())))
    }

    /// Takes back a table, zeroed again, that [`TableStore::take`] gave out.
    ///
    /// # Errors
    /// [`NotGiven`] where it is not out; nothing has changed then.
    ///
    /// Cost: one write, and at most six more where it is the first or the last of its block to come back.
    pub fn give<T: TableMemory + ?Sized>(&mut self, memory: &mut T, table: Pfn) -> Result<(), NotGiven> {
        let header = Block::around(table, PageSize::Size2M).start();
        if table == header || !self.has_given(memory, table) {
            return Err(NotGiven { frame: table });
        }
        let before = free_in(memory, header);
        let (word, bit) = place(table, header);
        let bits = memory.read(header, word).bits();
        memory.write(header, word, Entry::from_bits(bits | bit));
        self.free += 1;
        self.relist(memory, header, before, before + 1);
        Ok(())
    }

    /// Takes out a block that may leave and of which no table is in use, where `keep` tables can be taken without it.
    /// Its header is zeroed, so that all of the block is zero.
    ///
    /// Cost: at most 15 writes.
    pub fn take_spare<T: TableMemory + ?Sized>(&mut self, memory: &mut T, keep: u64) -> Option<Block> {
        if self.free < keep.saturating_add(TABLES_PER_BLOCK) {
            return None;
        }
        let header = self.spare?;
        self.unlink(memory, List::Spare, header);
        self.unlink(memory, List::All, header);
        for word in (FREE..FREE + WORDS).chain([KIND]) {
            memory.write(header, word, Entry::EMPTY);
        }
        self.blocks -= 1;
        self.free -= TABLES_PER_BLOCK;
        Some(Block::around(header, PageSize::Size2M))
    }

    /// Returns the first block, or the one behind `after`, in an order that no take and no give changes: a walk may let
    /// the lock go after each. No block may leave meanwhile.
    pub fn next<T: TableMemory + ?Sized>(&self, memory: &T, after: Option<Block>) -> Option<Block> {
        let header = match after {
            None => self.all,
            Some(block) => link(memory, block.start(), List::All.behind()),
        };
        header.map(|header| Block::around(header, PageSize::Size2M))
    }

    /// Returns all blocks.
    pub fn iter<'a, T: TableMemory + ?Sized>(
        &self,
        memory: &'a T,
    ) -> impl Iterator<Item = Block> + use<'a, T> {
        chain(memory, self.all, List::All).map(|header| Block::around(header, PageSize::Size2M))
    }

    /// Tells whether `frame` lies in a block of which it is not free: a table, or on its way to be one, or the header.
    pub fn has_given<T: TableMemory + ?Sized>(&self, memory: &T, frame: Pfn) -> bool {
        let header = Block::around(frame, PageSize::Size2M).start();
        let (word, bit) = place(frame, header);
        matches!(memory.read(header, KIND).bits(), LEAVES | STAYS)
            && memory.read(header, word).bits() & bit == 0
    }

    /// Recomputes the counts, and checks the lists.
    ///
    /// # Errors
    /// The first thing that does not fit.
    ///
    /// Cost: a look at every block, twice.
    pub fn validate<T: TableMemory + ?Sized>(&self, memory: &T) -> Result<(), StoreFault> {
        let most = self.blocks as usize + 1;
        let (mut blocks, mut free, mut listed) = (0, 0, 0);
        for (list, head) in [(List::All, self.all), (List::Partial, self.partial), (List::Spare, self.spare)]
        {
            let mut before = None;
            for header in chain(memory, head, list).take(most) {
                let here = free_in(memory, header);
                let of = list_of(memory, header, here);
                let fits = list == List::All || of == Some(list);
                if link(memory, header, list.before()) != before || !fits {
                    return Err(StoreFault::Order { block: header });
                }
                before = Some(header);
                if list == List::All {
                    blocks += 1;
                    free += here;
                    listed += u64::from(of.is_some());
                } else {
                    listed = listed.checked_sub(1).ok_or(StoreFault::Order { block: header })?;
                }
            }
        }
        let (found, counted) = ((blocks, free), (self.blocks, self.free));
        if found != counted || listed != 0 {
            return Err(StoreFault::Counts { found, counted });
        }
        Ok(())
    }

    const fn head_mut(&mut self, list: List) -> &mut Option<Pfn> {
        match list {
            List::All => &mut self.all,
            List::Partial => &mut self.partial,
            List::Spare => &mut self.spare,
        }
    }

    /// Moves a block, of which `before` tables could be taken and `now` can, to the list where it belongs.
    fn relist<T: TableMemory + ?Sized>(&mut self, memory: &mut T, header: Pfn, before: u64, now: u64) {
        let (was, is) = (list_of(memory, header, before), list_of(memory, header, now));
        if was == is {
            return;
        }
        if let Some(was) = was {
            self.unlink(memory, was, header);
        }
        if let Some(is) = is {
            self.push(memory, is, header);
        }
    }

    fn push<T: TableMemory + ?Sized>(&mut self, memory: &mut T, list: List, header: Pfn) {
        let first = self.head_mut(list).replace(header);
        set_link(memory, header, list.behind(), first);
        if let Some(first) = first {
            set_link(memory, first, list.before(), Some(header));
        }
    }

    /// Takes a block out of a list; its links are clear then.
    fn unlink<T: TableMemory + ?Sized>(&mut self, memory: &mut T, list: List, header: Pfn) {
        let (before, behind) = (link(memory, header, list.before()), link(memory, header, list.behind()));
        match before {
            Some(before) => set_link(memory, before, list.behind(), behind),
            None => *self.head_mut(list) = behind,
        }
        if let Some(behind) = behind {
            set_link(memory, behind, list.before(), before);
        }
        set_link(memory, header, list.before(), None);
        set_link(memory, header, list.behind(), None);
    }
}

/// Returns the list, besides that of all, where a block belongs of which `free` tables can be taken.
fn list_of<T: TableMemory + ?Sized>(memory: &T, header: Pfn, free: u64) -> Option<List> {
    match free {
        0 => None,
        TABLES_PER_BLOCK if memory.read(header, KIND).bits() == LEAVES => Some(List::Spare),
        _ => Some(List::Partial),
    }
}

fn free_in<T: TableMemory + ?Sized>(memory: &T, header: Pfn) -> u64 {
    (0..WORDS).map(|word| u64::from(memory.read(header, FREE + word).bits().count_ones())).sum()
}

/// Returns the word of the header, and the bit of it, that says whether a frame can be taken.
const fn place(frame: Pfn, header: Pfn) -> (usize, u64) {
    let index = frame.since(header) as usize;
    (FREE + index / 64, 1 << (index % 64))
}

fn chain<T: TableMemory + ?Sized>(
    memory: &T,
    first: Option<Pfn>,
    list: List,
) -> impl Iterator<Item = Pfn> + use<'_, T> {
    core::iter::successors(first, move |&header| link(memory, header, list.behind()))
}

fn link<T: TableMemory + ?Sized>(memory: &T, header: Pfn, which: usize) -> Option<Pfn> {
    let word = memory.read(header, which).bits();
    (word != 0).then(|| Pfn::new((word & bits::ADDRESS) >> LINK_SHIFT))
}

fn set_link<T: TableMemory + ?Sized>(memory: &mut T, header: Pfn, which: usize, to: Option<Pfn>) {
    let word = to.map_or(0, |to| (to.get() << LINK_SHIFT) & bits::ADDRESS | LINK_MARK);
    if memory.read(header, which).bits() != word {
        memory.write(header, which, Entry::from_bits(word));
    }
}
