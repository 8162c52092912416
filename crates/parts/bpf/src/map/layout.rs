//! How a map is defined in a file, and how its memory is laid out.

use rhumb_machine::MAX_CPUS;

use super::{BUCKETS, MAX_KEY_WORDS};
use crate::error::MapRefusal;

/// Bytes of a definition: five numbers of 32 bits, as `struct bpf_map_def` of libbpf's section `maps`.
pub(crate) const DEFINITION_BYTES: usize = 20;
/// Keys that a map has room for, at most.
const MAX_ENTRIES: u32 = 65_536;
/// Bytes of a value, at most.
const MAX_VALUE_BYTES: u32 = 512;

/// The definition of a map, as it is in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Definition {
    /// The number of the kind: [`MapKind::number`].
    pub kind: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// The most keys.
    pub entries: u32,
    /// Four bits for each word of the key: what it is ([`Part`]). Linux has flags here, all of which are 0 for the kinds
    /// that both have.
    pub parts: u32,
}

impl Definition {
    /// Reads one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; DEFINITION_BYTES] = bytes.try_into().ok()?;
        let mut numbers = [0; DEFINITION_BYTES / 4];
        let (chunks, _) = bytes.as_chunks::<4>();
        for (number, &chunk) in numbers.iter_mut().zip(chunks) {
            *number = u32::from_le_bytes(chunk);
        }
        let [kind, key_bytes, value_bytes, entries, parts] = numbers;
        Some(Self { kind, key_bytes, value_bytes, entries, parts })
    }

    /// Returns its bytes.
    pub fn to_bytes(self) -> [u8; DEFINITION_BYTES] {
        let mut bytes = [0; DEFINITION_BYTES];
        let numbers = [self.kind, self.key_bytes, self.value_bytes, self.entries, self.parts];
        let (chunks, _) = bytes.as_chunks_mut::<4>();
        for (chunk, number) in chunks.iter_mut().zip(numbers) {
            *chunk = number.to_le_bytes();
        }
        bytes
    }
}

/// The kind of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the table of `map` says it")]
pub enum MapKind {
    Array,
    Hash,
    Histogram,
}

/// The kinds by their numbers. Where Linux has the kind, the number is Linux's.
const KINDS: [(u32, &str, MapKind, bool); 6] = [
    (1, "hash", MapKind::Hash, false),
    (2, "array", MapKind::Array, false),
    (5, "percpu_hash", MapKind::Hash, true),
    (6, "percpu_array", MapKind::Array, true),
    (0x1000, "histogram", MapKind::Histogram, false),
    (0x1001, "percpu_histogram", MapKind::Histogram, true),
];

impl MapKind {
    /// Returns the number of the kind of this name.
    pub fn number(name: &str) -> Option<u32> {
        KINDS.into_iter().find(|kind| kind.1 == name).map(|kind| kind.0)
    }

    /// Returns the name of this kind.
    pub fn name(self, is_per_cpu: bool) -> &'static str {
        KINDS.into_iter().find(|kind| kind.2 == self && kind.3 == is_per_cpu).map_or("", |kind| kind.1)
    }
}

/// The meaning of a word of a key, by which it is shown as a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A number.
    Number,
    /// An owner of memory.
    Owner,
    /// A reason, or the cause of a flush.
    Reason,
    /// An address of the kernel's code.
    Code,
    /// An address, or the number of a frame.
    Address,
    /// An event.
    Event,
    /// A cache of objects.
    Cache,
}

impl Part {
    /// All, with their names in programs.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Number, "number"),
        (Self::Owner, "owner"),
        (Self::Reason, "reason"),
        (Self::Code, "code"),
        (Self::Address, "address"),
        (Self::Event, "event"),
        (Self::Cache, "cache"),
    ];

    /// Returns the part of this number, which is a number where it is not known.
    fn numbered(number: u32) -> Self {
        Self::ALL.get(number as usize).map_or(Self::Number, |part| part.0)
    }
}

/// How a map's memory is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) kind: MapKind,
    pub(crate) is_per_cpu: bool,
    /// Sets of values: one, or one for each CPU.
    pub(crate) copies: usize,
    /// Bytes of a key as programs have it.
    pub(crate) key_bytes: usize,
    pub(crate) key_words: usize,
    pub(crate) value_words: usize,
    /// The most keys.
    pub(crate) entries: u32,
    /// Places for keys: of an array the keys themselves, else a power of two of at least twice as many.
    pub(crate) slots: usize,
    pub(crate) parts: [Part; MAX_KEY_WORDS],
}

impl Layout {
    /// Checks a definition.
    pub(crate) fn of(definition: &Definition, cpus: usize) -> Result<Self, MapRefusal> {
        let Definition { kind, key_bytes, value_bytes, entries, parts } = *definition;
        let known = KINDS.into_iter().find(|known| known.0 == kind).ok_or(MapRefusal::Kind(kind))?;
        let (_, _, kind, is_per_cpu) = known;
        let key_fits = match kind {
            MapKind::Array => key_bytes == 4,
            _ => key_bytes.is_multiple_of(8) && (1..=MAX_KEY_WORDS as u32).contains(&(key_bytes / 8)),
        };
        if !key_fits {
            return Err(MapRefusal::KeySize(key_bytes));
        }
        let value_fits = match kind {
            MapKind::Histogram => value_bytes == 8,
            _ => value_bytes.is_multiple_of(8) && (8..=MAX_VALUE_BYTES).contains(&value_bytes),
        };
        if !value_fits {
            return Err(MapRefusal::ValueSize(value_bytes));
        }
        if !(1..=MAX_ENTRIES).contains(&entries) {
            return Err(MapRefusal::Entries(entries));
        }
        Ok(Self {
            kind,
            is_per_cpu,
            copies: if is_per_cpu { cpus.clamp(1, MAX_CPUS) } else { 1 },
            key_bytes: key_bytes as usize,
            key_words: (key_bytes as usize).div_ceil(8),
            value_words: if kind == MapKind::Histogram { BUCKETS } else { value_bytes as usize / 8 },
            entries,
            slots: match kind {
                MapKind::Array => entries as usize,
                _ => (2 * entries as usize).next_power_of_two(),
            },
            parts: core::array::from_fn(|word| Part::numbered(parts >> (4 * word) & 0xf)),
        })
    }

    /// Returns the words of one set of values, whole cache lines.
    pub(crate) const fn copy_words(&self) -> usize {
        (self.slots * self.value_words).next_multiple_of(8)
    }

    /// Returns the cache lines of all values.
    pub(crate) const fn lines(&self) -> usize {
        self.copies * self.copy_words() / 8
    }

    /// Returns how many bytes of memory the map takes.
    pub(crate) const fn bytes(&self) -> usize {
        let keys = match self.kind {
            MapKind::Array => 0,
            _ => self.slots * (8 * self.key_words + 4),
        };
        64 * self.lines() + keys
    }

    /// Returns how many bytes a value has that programs see.
    pub(crate) const fn value_bytes(&self) -> u64 {
        8 * self.value_words as u64
    }
}
