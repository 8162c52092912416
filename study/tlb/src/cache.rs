//! A set-associative cache of tags.

use serde::{Deserialize, Serialize};

use crate::page::{PageSize, level_shift};

/// The order in which entries of a set are replaced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Replacement {
    /// The entry that was used the longest ago goes.
    Lru,
    /// A binary tree of bits over the ways: each use points the bits on its path away from itself, and the entry to
    /// which the bits lead goes. Cheaper in hardware, and close to LRU.
    TreePlru,
}

/// The most ways: a tree's bits are one word.
pub(crate) const MAX_WAYS: u32 = 128;
/// The most address spaces at a time: as many as there are process-context identifiers.
pub(crate) const SPACES: u16 = 1 << 12;

/// A cached translation.
///
/// ```text
///  63      62        61..50   49..48   47..45   44..0
///  valid   global    space    whole    kind     number
/// ```
///
/// The kind is the size of a page, or 3 and more for a table's entry. `whole` is the size of the page of which this
/// one may be a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag(u64);

impl Tag {
    const NONE: Self = Self(0);
    const VALID: u64 = 1 << 63;
    const GLOBAL: u64 = 1 << 62;
    const SPACE_SHIFT: u32 = 50;
    const SPACE: u64 = (SPACES as u64 - 1) << Self::SPACE_SHIFT;
    const WHOLE_SHIFT: u32 = 48;
    const KIND_SHIFT: u32 = 45;
    const NUMBER: u64 = (1 << Self::KIND_SHIFT) - 1;
    const KIND: u64 = 7 << Self::KIND_SHIFT;
    /// Bits of an address that count: those of five levels.
    const ADDRESS: u64 = (1 << 57) - 1;

    /// A page, or a piece of one, of `size`, that has `address`.
    pub(crate) fn page(address: u64, size: PageSize, space: u16) -> Self {
        Self::new(address, size.shift(), size.index(), space)
    }

    /// The entry at `level` of the tables, 2 to 5, that leads to `address`.
    pub(crate) fn table(address: u64, level: usize, space: u16) -> Self {
        Self::new(address, level_shift(level), level + 1, space)
    }

    fn new(address: u64, shift: u32, kind: usize, space: u16) -> Self {
        let number = (address & Self::ADDRESS) >> shift;
        let space = u64::from(space % SPACES) << Self::SPACE_SHIFT;
        Self(Self::VALID | space | (kind as u64) << Self::KIND_SHIFT | number)
    }

    pub(crate) fn of_whole(self, whole: PageSize, is_global: bool) -> Self {
        let global = if is_global { Self::GLOBAL } else { 0 };
        Self(self.0 | global | (whole.index() as u64) << Self::WHOLE_SHIFT)
    }

    pub(crate) fn is_global(self) -> bool {
        self.0 & Self::GLOBAL != 0
    }

    /// The size of the page that this is, or is a piece of.
    pub(crate) fn whole(self) -> PageSize {
        match (self.0 >> Self::WHOLE_SHIFT) & 3 {
            0 => PageSize::Size4K,
            1 => PageSize::Size2M,
            _ => PageSize::Size1G,
        }
    }

    pub(crate) fn is_of_space(self, space: u16) -> bool {
        (self.0 & Self::SPACE) >> Self::SPACE_SHIFT == u64::from(space % SPACES)
    }

    /// Tells whether this is a page, or a piece of one, that has `address`.
    pub(crate) fn is_page_of(self, address: u64) -> bool {
        let kind = ((self.0 & Self::KIND) >> Self::KIND_SHIFT) as usize;
        let Some(size) = PageSize::ALL.get(kind) else { return false };
        let (page, whole) = (self.number() << size.shift(), self.whole().max(*size).shift());
        page >> whole == (address & Self::ADDRESS) >> whole
    }

    pub(crate) fn is_table(self) -> bool {
        (self.0 & Self::KIND) >> Self::KIND_SHIFT > 2
    }

    pub(crate) fn number(self) -> u64 {
        self.0 & Self::NUMBER
    }

    /// Tells whether this entry serves a look-up for `wanted`: the same page of the same space, or a global page.
    #[inline]
    fn serves(self, wanted: Self) -> bool {
        let difference = self.0 ^ wanted.0;
        difference & (Self::VALID | Self::KIND | Self::NUMBER) == 0
            && (self.0 & Self::GLOBAL != 0 || difference & Self::SPACE == 0)
    }
}

/// A cache of so many sets, each of so many ways.
///
/// An entry's set is its number modulo the number of sets. With LRU a set is kept in the order of use, the last used
/// first; with a tree each entry keeps its way.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    tags: Vec<Tag>,
    /// The bits of each set's tree, of which node 1 is the root and node n has the children 2n and 2n + 1.
    trees: Vec<u128>,
    sets: u64,
    ways: usize,
    replacement: Replacement,
    used: usize,
}

impl Cache {
    pub(crate) fn new(sets: u32, ways: u32, replacement: Replacement) -> Self {
        let (sets, ways) = (sets.max(1), ways.clamp(1, MAX_WAYS));
        Self {
            tags: vec![Tag::NONE; (sets * ways) as usize],
            trees: vec![0; sets as usize],
            sets: u64::from(sets),
            ways: ways as usize,
            replacement,
            used: 0,
        }
    }

    pub(crate) fn sets(&self) -> u64 {
        self.sets
    }

    /// Tells whether nothing is cached, so that a look-up need not begin.
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn set(&self, tag: Tag) -> usize {
        let number = tag.number();
        if self.sets.is_power_of_two() {
            (number & (self.sets - 1)) as usize
        } else {
            (number % self.sets) as usize
        }
    }

    /// Finds what serves a look-up for `tag`, and notes its use.
    pub(crate) fn touch(&mut self, tag: Tag) -> Option<Tag> {
        let set = self.set(tag);
        let way = self.find(set, tag)?;
        let found = self.tags[set * self.ways + way];
        self.note(set, way);
        Some(found)
    }

    /// Caches `tag`, in the place of what it replaces.
    pub(crate) fn insert(&mut self, tag: Tag) {
        let set = self.set(tag);
        let way = match self.find(set, tag) {
            Some(way) => way,
            None => {
                let way = self.victim(set);
                self.used += usize::from(self.tags[set * self.ways + way] == Tag::NONE);
                way
            }
        };
        self.tags[set * self.ways + way] = tag;
        self.note(set, way);
    }

    /// Drops what `keep` does not keep, and returns how much that was.
    pub(crate) fn retain(&mut self, keep: impl Fn(Tag) -> bool) -> u64 {
        if self.used == 0 {
            return 0;
        }
        let before = self.used;
        for ways in self.tags.chunks_mut(self.ways) {
            for tag in ways.iter_mut() {
                if *tag != Tag::NONE && !keep(*tag) {
                    *tag = Tag::NONE;
                    self.used -= 1;
                }
            }
            if self.replacement == Replacement::Lru {
                // Free ways are last, the others stay in their order.
                ways.sort_by_key(|tag| *tag == Tag::NONE);
            }
        }
        (before - self.used) as u64
    }

    #[inline]
    fn find(&self, set: usize, tag: Tag) -> Option<usize> {
        let first = set * self.ways;
        self.tags[first..first + self.ways].iter().position(|stored| stored.serves(tag))
    }

    fn note(&mut self, set: usize, way: usize) {
        match self.replacement {
            Replacement::Lru => {
                let first = set * self.ways;
                self.tags[first..=first + way].rotate_right(1);
            }
            Replacement::TreePlru => {
                let mut node = self.ways.next_power_of_two() + way;
                while node > 1 {
                    let (parent, is_right) = (node / 2, node % 2 == 1);
                    // The bit leads to the other child.
                    if is_right {
                        self.trees[set] &= !(1 << parent);
                    } else {
                        self.trees[set] |= 1 << parent;
                    }
                    node = parent;
                }
            }
        }
    }

    fn victim(&self, set: usize) -> usize {
        let first = set * self.ways;
        let free = || self.tags[first..first + self.ways].iter().position(|tag| *tag == Tag::NONE);
        match self.replacement {
            Replacement::Lru => self.ways - 1,
            Replacement::TreePlru => free().unwrap_or_else(|| self.led_to(set)),
        }
    }

    /// The way to which the bits of a set's tree lead.
    fn led_to(&self, set: usize) -> usize {
        let leaves = self.ways.next_power_of_two();
        let (mut node, mut below) = (1, leaves);
        while node < leaves {
            below /= 2;
            let right = 2 * node + 1;
            // With a number of ways that is no power of two, a right child may have no ways at all.
            let first_of_right = right * below - leaves;
            let leads_right = self.trees[set] >> node & 1 == 1 && first_of_right < self.ways;
            node = 2 * node + usize::from(leads_right);
        }
        node - leaves
    }
}

#[cfg(test)]
mod tests;
