//! Which slots are clean, held and spent, and who holds them.
//!
//! A slot is in one of four states: *clean*; *held*, with a record; *spent*, which means that CPUs may still have its
//! translation; or *being flushed*, in no set here, by the CPU that has the [`Spent`] value.

use rhumb_frames::Owner;
use rhumb_machine::impossible;
use rhumb_pagetable::flush::Waiting;

use crate::error::MapError;
use crate::report::{Counters, Inconsistency, Record};

/// Slots that there can be: the entries of one page table.
pub const SLOTS: usize = 512;

const WORDS: usize = SLOTS / 64;

/// Owners with a count of their own. Those with higher numbers share the last one's.
pub const OWNERS: usize = 64;

/// A set of slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Set([u64; WORDS]);

impl Set {
    fn first(count: usize) -> Self {
        let bits = |word: usize| count.saturating_sub(word * 64).min(64);
        Self(core::array::from_fn(|word| match bits(word) {
            0 => 0,
            bits => u64::MAX >> (64 - bits),
        }))
    }

    const fn bit(slot: usize) -> (usize, u64) {
        (slot / 64 % WORDS, 1 << (slot % 64))
    }

    fn contains(&self, slot: usize) -> bool {
        let (word, bit) = Self::bit(slot);
        self.0[word] & bit != 0
    }

    fn insert(&mut self, slot: usize) {
        let (word, bit) = Self::bit(slot);
        self.0[word] |= bit;
    }

    fn take_first(&mut self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        let slot = word * 64 + self.0[word].trailing_zeros() as usize;
        self.0[word] &= self.0[word] - 1;
        Some(slot)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Slots whose old translations CPUs may have, on their way to a flush. [`Slots::make_clean`] takes what the flush's
/// ticket gives for it.
#[derive(Debug, Default)]
pub(crate) struct Spent(Set);

impl Spent {
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.0;
        core::iter::from_fn(move || rest.take_first())
    }
}

/// The right to say which slots wait for which flush: this crate's.
#[derive(Clone, Copy)]
pub(crate) struct Key(());

impl Key {
    pub(crate) const fn the_map() -> Self {
        Self(())
    }
}

impl Waiting for Spent {
    type Key = Key;
}

/// The answer to a request for a slot.
pub(crate) enum Taken {
    /// This one is the caller's, on record.
    Slot(usize),
    /// The caller flushes these, makes them clean, and asks again.
    Flush(Spent),
    /// Another CPU is flushing: ask again.
    Wait,
    /// No.
    Refused(MapError),
}

/// The slots of a map.
#[derive(Debug)]
pub(crate) struct Slots {
    clean: Set,
    spent: Set,
    /// How many are being flushed.
    flushing: usize,
    records: &'static mut [Record],
    counts: [u16; OWNERS],
    counters: Counters,
}

impl Slots {
    pub(crate) fn new(records: &'static mut [Record]) -> Self {
        let count = records.len().min(SLOTS);
        records.iter_mut().for_each(|record| record.is_held = false);
        Self {
            clean: Set::first(count),
            spent: Set::default(),
            flushing: 0,
            records,
            counts: [0; OWNERS],
            counters: Counters { slots: count, ..Counters::default() },
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.counters.slots
    }

    /// Returns how many slots an owner may hold: half, so that one that loses mappings leaves the others theirs.
    const fn most_for_one(&self) -> usize {
        self.count().div_ceil(2)
    }

    pub(crate) fn take(&mut self, record: Record) -> Taken {
        let (most, count) = (self.most_for_one(), &mut self.counts[count_of(record.owner)]);
        if usize::from(*count) >= most && most > 0 {
            self.counters.refused += 1;
            return Taken::Refused(MapError::OverLimit { owner: record.owner, limit: most });
        }
        if let Some(slot) = self.clean.take_first() {
            let Some(place) = self.records.get_mut(slot) else {
                return impossible!("no record for slot {slot}" => Taken::Refused(MapError::AllTaken));
            };
            *place = record;
            *count += 1;
            self.counters.mapped += 1;
            self.counters.held += 1;
            self.counters.most_held = self.counters.most_held.max(self.counters.held);
            return Taken::Slot(slot);
        }
        if self.spent != Set::default() {
            self.flushing += self.spent.len();
            self.counters.flushes += 1;
            return Taken::Flush(Spent(core::mem::take(&mut self.spent)));
        }
        if self.flushing > 0 {
            return Taken::Wait;
        }
        self.counters.refused += 1;
        Taken::Refused(MapError::AllTaken)
    }

    /// Takes flushed slots back, which the ticket of the flush has given out.
    pub(crate) fn make_clean(&mut self, flushed: Spent) {
        for slot in flushed.iter() {
            self.clean.insert(slot);
            self.flushing = self.flushing.saturating_sub(1);
        }
    }

    /// Ends the mapping in a slot.
    pub(crate) fn give(&mut self, slot: usize) {
        let Some(record) = self.records.get_mut(slot).filter(|record| record.is_held) else {
            return impossible!("slot {slot} is held by none" => ());
        };
        record.is_held = false;
        let count = &mut self.counts[count_of(record.owner)];
        *count = count.saturating_sub(1);
        self.counters.held = self.counters.held.saturating_sub(1);
        self.spent.insert(slot);
    }

    pub(crate) fn record(&self, slot: usize) -> Option<Record> {
        self.records.get(slot).filter(|record| record.is_held).copied()
    }

    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn held_by(&self, owner: Owner) -> usize {
        self.counts[count_of(owner)].into()
    }

    pub(crate) fn validate(&self) -> Result<(), Inconsistency> {
        let mut counts = [0; OWNERS];
        let mut unlisted = 0;
        for slot in 0..self.count() {
            let held = self.record(slot);
            let states =
                [self.clean.contains(slot), self.spent.contains(slot), held.is_some()].map(usize::from);
            match states.into_iter().sum::<usize>() {
                0 => unlisted += 1,
                1 => {}
                _ => return Err(Inconsistency::TwoStates { slot }),
            }
            if let Some(record) = held {
                counts[count_of(record.owner)] += 1;
            }
        }
        if unlisted != self.flushing {
            return Err(Inconsistency::Lost { slots: unlisted.abs_diff(self.flushing) });
        }
        if counts != self.counts
            || counts.iter().map(|&count| usize::from(count)).sum::<usize>() != self.counters.held
        {
            return Err(Inconsistency::Counts);
        }
        Ok(())
    }
}

fn count_of(owner: Owner) -> usize {
    usize::from(owner.0).min(OWNERS - 1)
}
