//! [`Map`]: values by key, which programs write and a person reads.
//!
//! | kind | key | value | a key that is new |
//! |---|---|---|---|
//! | array | an index of 4 bytes | words | all are there, and 0 |
//! | hash | 1 to 4 words | words | is added while there is room |
//! | histogram | 1 to 4 words | 65 buckets by powers of two, which programs do not see | is added while there is room |
//!
//! Each kind has one value for a key, or one for each CPU, in cache lines of its own: then counting shares no line.
//!
//! ```text
//!   values:  | CPU 0: slot 0, slot 1, ... | CPU 1: slot 0, slot 1, ... |        each CPU's part begins a cache line
//!   keys:    | slot 0 | slot 1 | ...                                            twice as many slots as keys, or more
//! ```
//!
//! A key is never taken out, so a slot that has a key keeps it: lookups take no lock. A slot's state is stored with
//! release order behind the key's words, and loaded with acquire order before them. Adding a key takes the map's lock,
//! with interrupts off, and looks again.

mod layout;

use alloc::vec::Vec;

use rhumb_machine::{CpuId, IrqOff};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{Acquire, AtomicU32, AtomicU64, Relaxed, Release};

use crate::error::LoadError;
use crate::name::Name;
pub(crate) use layout::{DEFINITION_BYTES, Layout};
pub use layout::{Definition, MapKind, Part};

/// Words of a key, at most.
pub const MAX_KEY_WORDS: usize = 4;
/// Buckets of a histogram: for 0, and for the numbers of each length in bits.
pub const BUCKETS: usize = 65;
/// Slots that a key is looked for in. With half of the slots free, a longer way is unheard of; such a key is dropped.
const PROBES: usize = 64;

/// A key, in words; those that the map's keys do not have are 0.
pub type Key = [u64; MAX_KEY_WORDS];

/// Eight words that share a cache line with nothing else.
#[repr(align(64))]
struct Line([AtomicU64; 8]);

/// Values by key. See the [module](self).
pub struct Map {
    name: Name,
    layout: Layout,
    /// How many keys there are.
    keys_added: Lock<u32>,
    /// Of each slot: whether it has a key.
    states: Vec<AtomicU32>,
    keys: Vec<AtomicU64>,
    values: Vec<Line>,
    /// How often a key was not added, because there was no room.
    dropped: AtomicU64,
}

impl Map {
    /// Makes a map, on a machine of so many CPUs.
    ///
    /// # Errors
    /// [`LoadError::BadMap`], [`LoadError::OutOfMemory`].
    pub(crate) fn new(name: Name, definition: &Definition, cpus: usize) -> Result<Self, LoadError> {
        let layout = Layout::of(definition, cpus).map_err(|refusal| LoadError::BadMap(name, refusal))?;
        let slots = if layout.kind == MapKind::Array { 0 } else { layout.slots };
        Ok(Self {
            name,
            keys_added: Lock::new(0),
            states: filled(slots, || AtomicU32::new(0))?,
            keys: filled(slots * layout.key_words, || AtomicU64::new(0))?,
            values: filled(layout.lines(), || Line(core::array::from_fn(|_| AtomicU64::new(0))))?,
            dropped: AtomicU64::new(0),
            layout,
        })
    }

    /// Returns its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Returns its kind.
    pub const fn kind(&self) -> MapKind {
        self.layout.kind
    }

    /// Tells whether each CPU has values of its own.
    pub const fn is_per_cpu(&self) -> bool {
        self.layout.is_per_cpu
    }

    /// Returns what the words of its keys are.
    pub fn parts(&self) -> &[Part] {
        &self.layout.parts[..self.layout.key_words]
    }

    /// Returns how many keys it has room for.
    pub const fn room(&self) -> u32 {
        self.layout.entries
    }

    /// Returns how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        self.layout.bytes()
    }

    /// Returns how often a key was not added, because there was no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Tells whether programs see its values: not those of a histogram.
    pub(crate) fn is_seen(&self) -> bool {
        self.layout.kind != MapKind::Histogram
    }

    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the slot of a key.
    pub(crate) fn find(&self, key: &Key) -> Option<usize> {
        if self.layout.kind == MapKind::Array {
            return usize::try_from(key[0]).ok().filter(|&index| index < self.layout.slots);
        }
        match self.probe(key) {
            Probe::Found(slot) => Some(slot),
            Probe::Free(_) | Probe::Full => None,
        }
    }

    /// Returns the slot of a key, which is added where it is new; `None` where there is no room.
    pub(crate) fn find_or_add(&self, key: &Key, irq_off: IrqOff<'_>) -> Option<usize> {
        let slot = self.find(key).or_else(|| match self.layout.kind {
            MapKind::Array => None,
            _ => self.add_key(key, irq_off),
        });
        if slot.is_none() {
            self.dropped.fetch_add(1, Relaxed);
        }
        slot
    }

    #[cold]
    fn add_key(&self, key: &Key, irq_off: IrqOff<'_>) -> Option<usize> {
        let mut keys_added = self.keys_added.lock(irq_off);
        match self.probe(key) {
            Probe::Found(slot) => Some(slot),
            Probe::Free(slot) if *keys_added < self.layout.entries => {
                for (word, &value) in self.key_words(slot).iter().zip(key) {
                    word.store(value, Relaxed);
                }
                self.states.get(slot)?.store(1, Release);
                *keys_added += 1;
                Some(slot)
            }
            Probe::Free(_) | Probe::Full => None,
        }
    }

    fn probe(&self, key: &Key) -> Probe {
        let mask = self.layout.slots - 1;
        let first = hash(&key[..self.layout.key_words]);
        for step in 0..PROBES.min(self.layout.slots) {
            let slot = first.wrapping_add(step) & mask;
            let Some(state) = self.states.get(slot) else { return Probe::Full };
            if state.load(Acquire) == 0 {
                return Probe::Free(slot);
            }
            if self.key_words(slot).iter().zip(key).all(|(word, &value)| word.load(Relaxed) == value) {
                return Probe::Found(slot);
            }
        }
        Probe::Full
    }

    fn key_words(&self, slot: usize) -> &[AtomicU64] {
        let words = self.layout.key_words;
        self.keys.get(slot * words..(slot + 1) * words).unwrap_or_default()
    }

    /// Returns the place of a slot's first word among all words of the map, for one CPU. `None` on a CPU that the map
    /// was not made for.
    pub(crate) fn place(&self, slot: usize, cpu: CpuId) -> Option<usize> {
        let copy = if self.layout.is_per_cpu { cpu.index() } else { 0 };
        let is_here = copy < self.layout.copies && slot < self.layout.slots;
        is_here.then(|| copy * self.layout.copy_words() + slot * self.layout.value_words)
    }

    /// Returns a word by its place.
    #[inline]
    pub(crate) fn word(&self, place: usize) -> Option<&AtomicU64> {
        self.values.get(place / 8)?.0.get(place % 8)
    }

    /// Adds to the first word of a key's value, or to the bucket that `number` belongs to. Tells whether there was room.
    pub(crate) fn add(&self, key: &Key, number: u64, irq_off: IrqOff<'_>) -> bool {
        let place = self.find_or_add(key, irq_off).and_then(|slot| self.place(slot, irq_off.cpu()));
        let is_histogram = self.layout.kind == MapKind::Histogram;
        let (at, by) = if is_histogram { (bucket(number), 1) } else { (0, number) };
        let word = place.and_then(|place| self.word(place + at));
        if let Some(word) = word {
            word.fetch_add(by, Relaxed);
        }
        word.is_some()
    }

    /// Returns the keys with their values: of an array those that are not 0, in the order of the index; else in no order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.layout.slots).map(|slot| Entry { map: self, slot }).filter(|entry| match self.layout.kind {
            MapKind::Array => (0..self.layout.value_words).any(|word| entry.value(word) != 0),
            _ => self.states.get(entry.slot).is_some_and(|state| state.load(Acquire) != 0),
        })
    }
}

/// A key and its value.
#[derive(Clone, Copy)]
pub struct Entry<'map> {
    map: &'map Map,
    slot: usize,
}

impl Entry<'_> {
    /// Returns the key; of an array, the index.
    pub fn key(&self) -> Key {
        let mut key = Key::default();
        if self.map.layout.kind == MapKind::Array {
            key[0] = self.slot as u64;
        }
        for (word, value) in key.iter_mut().zip(self.map.key_words(self.slot)) {
            *word = value.load(Relaxed);
        }
        key
    }

    /// Returns how many words the value has.
    pub const fn words(&self) -> usize {
        self.map.layout.value_words
    }

    /// Returns a word of the value, all CPUs together.
    pub fn value(&self, word: usize) -> u64 {
        let copies = (0..self.map.layout.copies).filter_map(CpuId::new);
        copies
            .filter_map(|cpu| self.map.word(self.map.place(self.slot, cpu)? + word))
            .fold(0, |sum, word| sum.wrapping_add(word.load(Relaxed)))
    }

    /// Returns the sum of all words: of a histogram, how often something was counted.
    pub fn total(&self) -> u64 {
        (0..self.words()).fold(0, |sum, word| sum.wrapping_add(self.value(word)))
    }
}

/// Where a key is, or could be.
enum Probe {
    Found(usize),
    Free(usize),
    Full,
}

/// Returns the bucket of a number: its length in bits.
pub(crate) const fn bucket(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

fn hash(words: &[u64]) -> usize {
    let mixed = words.iter().fold(0_u64, |hash, word| {
        (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    });
    (mixed ^ mixed >> 32) as usize
}

/// Makes a list of `count` values, without a panic where there is no memory.
pub(crate) fn filled<T>(count: usize, mut make: impl FnMut() -> T) -> Result<Vec<T>, LoadError> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| LoadError::OutOfMemory)?;
    list.extend((0..count).map(|_| make()));
    Ok(list)
}

impl core::fmt::Debug for Map {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Map").field("name", &self.name).field("layout", &self.layout).finish_non_exhaustive()
    }
}
