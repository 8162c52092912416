//! [`TableStore`]: frames for page tables, cut from whole blocks of 2 MiB.
//!
//! Tables that may not be written must stand in pages of the direct map that hold nothing else. Frame by frame that
//! would leave the map in crumbs; by blocks, one large page protects 511 tables.
//!
//! ```text
//!   block    frame 0            1 ................................. 511
//!            header             tables in use, tables to be taken (zero)
//!   header   word 0: block before, word 1: block behind, words 2 to 9: a bit for each frame, set where it can be taken
//! ```
//!
//! All blocks are in one list, those with a frame to take in front. The headers stand in the blocks, so they are
//! protected as the tables are, and are written in the same way ([`TableMemory`], a word as an entry); and a block
//! costs no other memory (I10). No CPU walks one.
//!
//! Whoever adds a block has protected it, and whoever removes one makes it ordinary before anybody else gets it.

use rhumb_directmap::Block;
use rhumb_machine::{PageSize, Pfn};
use rhumb_pagetable::{Entry, TableMemory, bits};

const BEFORE: usize = 0;
const BEHIND: usize = 1;
const FREE: usize = 2;
const WORDS: usize = 8;

/// Tables that a block has, in use or not: all but its header.
pub const TABLES_PER_BLOCK: u64 = PageSize::Size2M.frames() - 1;

/// A link holds a frame number where an entry holds its address, and is marked so that frame 0 can be in the list.
const LINK_SHIFT: u32 = 12;
const LINK_MARK: u64 = 1 << 1;

/// Blocks of tables. See the module.
#[derive(Debug, Default)]
pub struct TableStore {
    first: Option<Pfn>,
    last: Option<Pfn>,
    blocks: u64,
    free: u64,
}

/// What does not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreFault {
    /// A block's links are not those of its neighbours, or it is behind one that has less to give.
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

impl TableStore {
    /// No block.
    pub const fn new() -> Self {
        Self { first: None, last: None, blocks: 0, free: 0 }
    }

    /// Tables that can be taken.
    pub const fn free(&self) -> u64 {
        self.free
    }

    /// Blocks.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Takes a block of 2 MiB for tables. All of it is zero, and it can be written through `memory` only, as the tables
    /// are.
    ///
    /// Cost: at most 11 writes.
    pub fn add<T: TableMemory + ?Sized>(&mut self, memory: &mut T, block: Block) {
        let header = block.start();
        for word in 0..WORDS {
            let bits = if word == 0 { !1 } else { u64::MAX };
            memory.write(header, FREE + word, Entry::from_bits(bits));
        }
        self.push_front(memory, header);
        self.blocks += 1;
        self.free += TABLES_PER_BLOCK;
    }

    /// A zeroed table; `None` where all are in use.
    ///
    /// Cost: one write, and at most five more where it is its block's last.
    pub fn take<T: TableMemory + ?Sized>(&mut self, memory: &mut T) -> Option<Pfn> {
        let header = self.first?;
        let (word, bits) = (0..WORDS).find_map(|word| {
            let bits = memory.read(header, FREE + word).bits();
            (bits != 0).then_some((word, bits))
        })?;
        memory.write(header, FREE + word, Entry::from_bits(bits & (bits - 1)));
        self.free -= 1;
        if free_in(memory, header) == 0 {
            self.unlink(memory, header);
            self.push_back(memory, header);
        }
        Some(header.plus((word * 64) as u64 + u64::from(bits.trailing_zeros())))
    }

    /// Takes back a table, zeroed again, that [`TableStore::take`] gave out.
    ///
    /// Cost: one write, and at most five more where all of its block was in use.
    pub fn give<T: TableMemory + ?Sized>(&mut self, memory: &mut T, table: Pfn) {
        let header = Block::around(table, PageSize::Size2M).start();
        let index = table.since(header) as usize;
        let was_full = free_in(memory, header) == 0;
        let (word, bit) = (FREE + index / 64, 1 << (index % 64));
        let bits = memory.read(header, word).bits();
        memory.write(header, word, Entry::from_bits(bits | bit));
        self.free += 1;
        if was_full {
            self.unlink(memory, header);
            self.push_front(memory, header);
        }
    }

    /// Takes out a block that `may_go` and of which no table is in use, where `keep` tables can be taken without it.
    /// Its header is zeroed: all of it is zero.
    ///
    /// Cost: a look at each block that has a table to give; at most 15 writes.
    pub fn take_spare<T: TableMemory + ?Sized>(
        &mut self,
        memory: &mut T,
        keep: u64,
        may_go: impl Fn(Block) -> bool,
    ) -> Option<Block> {
        if self.free < keep + TABLES_PER_BLOCK {
            return None;
        }
        let mut next = self.first;
        while let Some(header) = next {
            match free_in(memory, header) {
                0 => return None,
                TABLES_PER_BLOCK if may_go(Block::around(header, PageSize::Size2M)) => {
                    self.unlink(memory, header);
                    for word in 0..WORDS {
                        memory.write(header, FREE + word, Entry::EMPTY);
                    }
                    self.blocks -= 1;
                    self.free -= TABLES_PER_BLOCK;
                    return Some(Block::around(header, PageSize::Size2M));
                }
                _ => next = link(memory, header, BEHIND),
            }
        }
        None
    }

    /// All blocks.
    pub fn iter<'a, T: TableMemory + ?Sized>(
        &self,
        memory: &'a T,
    ) -> impl Iterator<Item = Block> + use<'a, T> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            let header = next?;
            next = link(memory, header, BEHIND);
            Some(Block::around(header, PageSize::Size2M))
        })
    }

    /// Whether `frame` lies in a block of which it is not free: a table, or on its way to be one, or the header.
    pub fn has_given<T: TableMemory + ?Sized>(&self, memory: &T, frame: Pfn) -> bool {
        let block = Block::around(frame, PageSize::Size2M);
        let index = frame.since(block.start()) as usize;
        self.iter(memory).any(|known| known == block)
            && memory.read(block.start(), FREE + index / 64).bits() & 1 << (index % 64) == 0
    }

    /// Recomputes the counts, and checks the list.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn validate<T: TableMemory + ?Sized>(&self, memory: &T) -> Result<(), StoreFault> {
        let (mut blocks, mut free, mut before, mut full) = (0, 0, None, false);
        let mut next = self.first;
        while let Some(header) = next {
            let here = free_in(memory, header);
            let in_order = !full || here == 0;
            if link(memory, header, BEFORE) != before || !in_order || blocks == self.blocks {
                return Err(StoreFault::Order { block: header });
            }
            full = here == 0;
            blocks += 1;
            free += here;
            before = next;
            next = link(memory, header, BEHIND);
        }
        let (found, counted) = ((blocks, free), (self.blocks, self.free));
        if before != self.last || found != counted {
            return Err(StoreFault::Counts { found, counted });
        }
        Ok(())
    }

    fn push_front<T: TableMemory + ?Sized>(&mut self, memory: &mut T, header: Pfn) {
        set_link(memory, header, BEHIND, self.first);
        match self.first {
            Some(first) => set_link(memory, first, BEFORE, Some(header)),
            None => self.last = Some(header),
        }
        self.first = Some(header);
    }

    fn push_back<T: TableMemory + ?Sized>(&mut self, memory: &mut T, header: Pfn) {
        set_link(memory, header, BEFORE, self.last);
        match self.last {
            Some(last) => set_link(memory, last, BEHIND, Some(header)),
            None => self.first = Some(header),
        }
        self.last = Some(header);
    }

    /// Takes a block out of the list; its links are clear then.
    fn unlink<T: TableMemory + ?Sized>(&mut self, memory: &mut T, header: Pfn) {
        let (before, behind) = (link(memory, header, BEFORE), link(memory, header, BEHIND));
        match before {
            Some(before) => set_link(memory, before, BEHIND, behind),
            None => self.first = behind,
        }
        match behind {
            Some(behind) => set_link(memory, behind, BEFORE, before),
            None => self.last = before,
        }
        set_link(memory, header, BEFORE, None);
        set_link(memory, header, BEHIND, None);
    }
}

fn free_in<T: TableMemory + ?Sized>(memory: &T, header: Pfn) -> u64 {
    (0..WORDS).map(|word| u64::from(memory.read(header, FREE + word).bits().count_ones())).sum()
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
