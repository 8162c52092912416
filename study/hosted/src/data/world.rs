//! All data of one arm: the same in each, at the same physical addresses.
//!
//! | data | share | shape |
//! |---|---|---|
//! | a file's pages | 3/8 | frames under a radix tree |
//! | pipes' pages | 1/8 | frames under a radix tree, whose contents do not matter |
//! | objects | 1/4 | 256 bytes each, in a ring of random order, and under a radix tree by number |
//! | names | 1/8 | hash nodes of 128 bytes |
//! | a store | 1/8 | hash nodes of 64 bytes, values of 64 to 1,024 bytes |
//!
//! The parts grow together, a little of each at a time, so that their slabs are mixed in memory as those of a kernel
//! are. With [`Placement::Spread`] the memory was used up before, and frames are free here and there in all of it. With
//! [`Placement::Dense`] it was empty, and the data lie together.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_machine::{Order, Pinned};

use super::hash::{Hash, OWNED};
use super::radix::Radix;
use crate::backing::Backing;
use crate::error::Error;
use crate::memory::{Memory, Resident, on_cpu};
use crate::size::PAGE;

/// The bytes of an object of the ring.
const OBJECT_BYTES: usize = 256;
const NAME_BYTES: usize = 128;
const ENTRY_BYTES: usize = 64;
/// The mean size of a value: sizes are 64, 128, 256, 512 and 1,024 bytes, each as often.
const VALUE_BYTES: u64 = (64 + 128 + 256 + 512 + 1024) / 5;
const VALUE_BYTES_AT_MOST: usize = 1024;
const LINE: u64 = 64;

/// How many pieces each part is built in.
const STEPS: u64 = 256;

/// Where the data lie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Placement {
    /// In frames all over the memory, as after years of use.
    Spread,
    /// Side by side, as after boot.
    Dense,
}

/// All data of one arm.
pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) counts: Counts,
    pub(crate) pages: Radix,
    pub(crate) pipes: Radix,
    pub(crate) objects: Radix,
    /// An object of the ring.
    pub(crate) ring: u64,
    pub(crate) names: Hash,
    pub(crate) store: Hash,
}

/// How many there are of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) pages: u64,
    pub(crate) pipes: u64,
    pub(crate) objects: u64,
    pub(crate) names: u64,
    pub(crate) entries: u64,
}

impl Counts {
    /// Returns the counts for `bytes` of data.
    pub(crate) const fn of(bytes: u64) -> Self {
        Self {
            pages: bytes * 3 / 8 / PAGE,
            pipes: bytes / 8 / PAGE,
            objects: bytes / 4 / OBJECT_BYTES as u64,
            names: bytes / 8 / NAME_BYTES as u64,
            entries: bytes / 8 / (ENTRY_BYTES as u64 + VALUE_BYTES),
        }
    }
}

impl Resident for World {
    fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Resident for Memory {
    fn memory(&self) -> &Memory {
        self
    }
}

impl World {
    /// Builds the data in half of the backing. `seed` draws the places.
    ///
    /// # Errors
    /// The backing is too small.
    pub(crate) fn new(backing: Backing, placement: Placement, seed: u64) -> Result<Self, Error> {
        let bytes = backing.range().bytes();
        let counts = Counts::of(bytes / 2);
        // SAFETY: this module and its neighbours write to frames and objects that they took, and never give one back
        // but for values of the store, each once and with the size that its node says. `validate` is among their tests.
        #[allow(unsafe_code)]
        let mut memory = unsafe { Memory::new(backing) }?;
        on_cpu(&mut memory, |memory, pinned| build(memory, pinned, counts, placement, bytes, seed))?
            .map(|parts| parts.with(memory))
    }
}

/// A world without its memory.
struct Parts {
    counts: Counts,
    pages: Radix,
    pipes: Radix,
    objects: Radix,
    ring: u64,
    names: Hash,
    store: Hash,
}

impl Parts {
    fn with(self, memory: Memory) -> World {
        let Self { counts, pages, pipes, objects, ring, names, store } = self;
        World { memory, counts, pages, pipes, objects, ring, names, store }
    }
}

fn build(
    memory: &mut Memory,
    pinned: Pinned<'_>,
    counts: Counts,
    placement: Placement,
    bytes: u64,
    seed: u64,
) -> Result<Parts, Error> {
    // Large blocks are to be had in an empty memory only, as in a kernel, which takes its tables at boot.
    let names = Hash::new(memory, pinned, counts.names, NAME_BYTES)?;
    let store = Hash::new(memory, pinned, counts.entries, ENTRY_BYTES)?;
    if placement == Placement::Spread {
        // Half of it is for the data, and a 32nd for what slabs lose and trees take.
        memory.age(pinned, bytes / 2 + bytes / 32, seed);
    }
    let mut parts = Parts {
        counts,
        pages: Radix::default(),
        pipes: Radix::default(),
        objects: Radix::default(),
        ring: 0,
        names,
        store,
    };
    let mut objects = Vec::with_capacity(counts.objects as usize);
    for step in 0..STEPS {
        let some = |count: u64| count * step / STEPS..count * (step + 1) / STEPS;
        for index in some(counts.pages) {
            let at = memory.frames(pinned, Order::BASE)?;
            parts.pages.insert(memory, pinned, index, at)?;
            for line in (0..PAGE).step_by(LINE as usize) {
                memory.ram_mut().set_word(at + line, page_word(index, line));
            }
        }
        for index in some(counts.pipes) {
            let at = memory.frames(pinned, Order::BASE)?;
            parts.pipes.insert(memory, pinned, index, at)?;
        }
        for index in some(counts.objects) {
            let at = memory.object(pinned, OBJECT_BYTES)?;
            parts.objects.insert(memory, pinned, index, at)?;
            memory.ram_mut().set_word(at + OBJECT_NUMBER, index);
            objects.push(at);
        }
        for key in some(counts.names) {
            let node = names.insert(memory, pinned, name_key(key))?;
            memory.ram_mut().set_word(node + NAME_INODE, key);
        }
        for key in some(counts.entries) {
            let node = store.insert(memory, pinned, key)?;
            put_value(memory, pinned, node, key, 0)?;
        }
    }
    objects.shuffle(&mut Pcg64Mcg::seed_from_u64(seed ^ 1));
    parts.ring = objects.first().copied().ok_or(Error::NoMemory)?;
    for (index, at) in objects.iter().enumerate() {
        memory.ram_mut().set_word(at + OBJECT_NEXT, objects[(index + 1) % objects.len()]);
    }
    Ok(parts)
}

/// The place of an object's link to the next.
pub(crate) const OBJECT_NEXT: u64 = 0;
/// The place of an object's number: in another line than its link, as fields of a kernel's objects are.
pub(crate) const OBJECT_NUMBER: u64 = 192;
/// The place of the number of the inode that a name leads to.
pub(crate) const NAME_INODE: u64 = 64;

/// Returns the key of a name: spread over all numbers, as hashes of strings are.
#[inline(always)]
pub(crate) const fn name_key(index: u64) -> u64 {
    index.wrapping_mul(0xd605_1d4c_8f1c_2b47).rotate_left(29)
}

/// Returns the first word of a line of a page.
#[inline(always)]
pub(crate) const fn page_word(index: u64, line: u64) -> u64 {
    (index ^ line.rotate_left(40)).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1
}

/// Returns the size of the value of an entry in its `version`.
pub(crate) const fn value_bytes(key: u64, version: u64) -> usize {
    64 << ((key ^ version.wrapping_mul(3)) % 5)
}

/// Returns each word of that value.
pub(crate) const fn value_word(key: u64, version: u64) -> u64 {
    key ^ version.rotate_left(32)
}

/// Gives the entry `node` a value, and frees the one that it had.
///
/// # Errors
/// No memory for the value. The entry is as it was.
pub(crate) fn put_value(
    memory: &mut Memory,
    pinned: Pinned<'_>,
    node: u64,
    key: u64,
    version: u64,
) -> Result<(), Error> {
    let bytes = value_bytes(key, version);
    let fresh = memory.object(pinned, bytes)?;
    let mut value = [0; VALUE_BYTES_AT_MOST];
    let word = value_word(key, version).to_le_bytes();
    value[..bytes].as_chunks_mut::<8>().0.fill(word);
    let (old, old_bytes) = (memory.ram().word(node + OWNED), memory.ram().word(node + OWNED + 8));
    let ram = memory.ram_mut();
    ram.copy_in(fresh, &value[..bytes]);
    ram.set_word(node + OWNED, fresh);
    ram.set_word(node + OWNED + 8, bytes as u64);
    if old != 0 {
        memory.free(pinned, old, old_bytes as usize)?;
    }
    Ok(())
}
