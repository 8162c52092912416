//! The outputs of the model.

use std::ops::{Add, AddAssign, Sub};

use crate::access::Class;
use crate::page::{MAX_LEVELS, PageSize};

/// The counts of one class of accesses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// All accesses.
    pub accesses: u64,
    /// Accesses whose translation was in the first level.
    pub first_level_hits: u64,
    /// Accesses whose translation was in the second level only.
    pub second_level_hits: u64,
    /// Accesses that began a walk, by the size of the page that it found.
    pub walks: [u64; 3],
    /// Entries of the tables that walks read, by level: that of 4-KiB pages first.
    pub references: [u64; MAX_LEVELS],
    /// Entries of the host's tables that walks read; 0 without nested paging.
    pub host_references: u64,
    /// Accesses to addresses that no page mapped.
    pub absent: u64,
}

impl Counts {
    /// Returns the walks that pages of all sizes took.
    pub fn all_walks(&self) -> u64 {
        self.walks.iter().sum()
    }

    /// Returns the walks that found a page of this size.
    pub fn walks_to(&self, page: PageSize) -> u64 {
        self.walks[page.index()]
    }

    /// Returns the accesses whose translation was not in the first level.
    pub fn first_level_misses(&self) -> u64 {
        self.second_level_hits + self.all_walks()
    }

    /// Returns the entries that walks read in memory, the host's among them.
    pub fn all_references(&self) -> u64 {
        self.references.iter().sum::<u64>() + self.host_references
    }

    fn each(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        let mut result = *self;
        result.walks.iter_mut().zip(other.walks).for_each(|(one, other)| *one = of(*one, other));
        result.references.iter_mut().zip(other.references).for_each(|(one, other)| *one = of(*one, other));
        result.accesses = of(self.accesses, other.accesses);
        result.first_level_hits = of(self.first_level_hits, other.first_level_hits);
        result.second_level_hits = of(self.second_level_hits, other.second_level_hits);
        result.host_references = of(self.host_references, other.host_references);
        result.absent = of(self.absent, other.absent);
        result
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.each(&other, |one, other| one + other)
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        self.each(&earlier, |one, earlier| one - earlier)
    }
}

/// The counts of all classes, and of flushes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    by_class: [Counts; 4],
    /// Flushes.
    pub flushes: u64,
    /// Translations, pages and tables, that flushes dropped.
    pub dropped: u64,
}

impl Totals {
    /// Returns the counts of a class.
    pub fn of(&self, class: Class) -> &Counts {
        &self.by_class[class as usize]
    }

    /// Returns the counts of a class, to be changed.
    pub fn of_mut(&mut self, class: Class) -> &mut Counts {
        &mut self.by_class[class as usize]
    }

    /// Returns the sum over all classes.
    pub fn all(&self) -> Counts {
        self.by_class.iter().fold(Counts::default(), |sum, counts| sum + *counts)
    }
}

impl Sub for Totals {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        let mut result = self;
        result.by_class.iter_mut().zip(earlier.by_class).for_each(|(now, earlier)| *now = *now - earlier);
        result.flushes -= earlier.flushes;
        result.dropped -= earlier.dropped;
        result
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.by_class.iter_mut().zip(other.by_class).for_each(|(sum, more)| *sum = *sum + more);
        self.flushes += other.flushes;
        self.dropped += other.dropped;
    }
}
