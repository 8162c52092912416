//! The workloads: what a kernel does with its data, in the same order in each arm.
//!
//! Each operation draws its place from a [`Chain`], into which the words that were read before go, too: it cannot begin
//! before the one before it has its data, as system calls cannot. Otherwise a CPU would work at ten operations at once,
//! and hide most of what a missed translation costs.

use std::hint::black_box;

use rhumb_machine::Pinned;

use crate::data::hash::OWNED;
use crate::data::world::{NAME_INODE, OBJECT_NEXT, OBJECT_NUMBER, World, name_key, put_value};
use crate::error::Error;
use crate::size::PAGE;

/// A kind of access to a kernel's data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Workload {
    /// Reads of 64 bytes from random pages of a file.
    Page64,
    /// Reads of whole random pages of a file.
    Page4k,
    /// A walk from object to object.
    Objects,
    /// Look-ups of names in a hash table.
    Names,
    /// Look-ups of objects by number in a radix tree.
    Numbers,
    /// Copies from a file's pages to pages of pipes.
    Pipes,
    /// Zeroing of frames.
    Zero,
    /// Reads and writes of a key-value store.
    Store,
}

impl Workload {
    pub(crate) const ALL: [Self; 8] = [
        Self::Page64,
        Self::Page4k,
        Self::Objects,
        Self::Names,
        Self::Numbers,
        Self::Pipes,
        Self::Zero,
        Self::Store,
    ];

    /// Returns the name that is the same on every machine.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Page64 => "page-read-64b",
            Self::Page4k => "page-read-4k",
            Self::Objects => "object-walk",
            Self::Names => "hash-lookup",
            Self::Numbers => "radix-lookup",
            Self::Pipes => "pipe-copy",
            Self::Zero => "zero-frames",
            Self::Store => "key-value",
        }
    }

    /// Returns what an operation does, in a few words.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Page64 => "read of 64 B from a random cached page",
            Self::Page4k => "read of a random cached page of 4 KiB",
            Self::Objects => "step to the next of linked slab objects",
            Self::Names => "look-up of a name in a hash table",
            Self::Numbers => "look-up of an object by number in a radix tree",
            Self::Pipes => "copy of a random cached page to a pipe's page",
            Self::Zero => "zeroing of a random frame",
            Self::Store => "operation of a key-value store, 1 in 10 a write",
        }
    }

    /// Tells whether a quick study has it: few comparisons need few memories, so each of them gets more time. The others
    /// are much like one that is there, with fewer translations for each byte.
    pub(crate) const fn is_quick(self) -> bool {
        !matches!(self, Self::Page4k | Self::Zero)
    }

    /// Runs `operations` operations.
    ///
    /// # Errors
    /// No memory for a value of the store.
    pub(crate) fn run(
        self,
        world: &mut World,
        pinned: Pinned<'_>,
        chain: &mut Chain,
        operations: u64,
    ) -> Result<(), Error> {
        match self {
            Self::Page64 => (0..operations).for_each(|_| page_64(world, chain)),
            Self::Page4k => (0..operations).for_each(|_| page_4k(world, chain)),
            Self::Objects => (0..operations).for_each(|_| object(world, chain)),
            Self::Names => (0..operations).for_each(|_| name(world, chain)),
            Self::Numbers => (0..operations).for_each(|_| number(world, chain)),
            Self::Pipes => (0..operations).for_each(|_| pipe(world, chain)),
            Self::Zero => (0..operations).for_each(|_| zero(world, chain)),
            Self::Store => {
                for _ in 0..operations {
                    store(world, pinned, chain)?;
                }
            }
        }
        black_box(chain);
        Ok(())
    }
}

/// Random numbers, each of which depends on the words that were read before.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    state: u64,
    seen: u64,
    /// How often a value was written.
    writes: u64,
    /// The process's own page, into which reads of a file go.
    buffer: Box<[u8; PAGE as usize]>,
}

impl Chain {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, seen: 0, writes: 0, buffer: Box::new([0; PAGE as usize]) }
    }

    /// Copies `bytes` bytes of the world to the process's page, and sees the first word.
    #[inline(always)]
    fn read(&mut self, world: &World, at: u64, bytes: usize) {
        let to = self.buffer.get_mut(..bytes).unwrap_or_default();
        world.memory.ram().copy_out(at, to);
        black_box(&mut *to);
        self.seen ^= to.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    }

    /// Adds a word that was read.
    #[inline(always)]
    fn see(&mut self, word: u64) {
        self.seen ^= word;
    }

    /// Returns the next number below `end`.
    #[inline(always)]
    fn below(&mut self, end: u64) -> u64 {
        // SplitMix64 (Steele, Lea and Flood 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state ^ self.seen;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(end)) >> 64) as u64
    }
}

#[inline(always)]
fn page_64(world: &World, chain: &mut Chain) {
    let at = world.pages.get(&world.memory, chain.below(world.counts.pages)) + chain.below(PAGE / 64) * 64;
    chain.read(world, at, 64);
}

#[inline(always)]
fn page_4k(world: &World, chain: &mut Chain) {
    let at = world.pages.get(&world.memory, chain.below(world.counts.pages));
    chain.read(world, at, PAGE as usize);
}

#[inline(always)]
fn object(world: &mut World, chain: &mut Chain) {
    let ram = world.memory.ram();
    world.ring = ram.word(world.ring + OBJECT_NEXT);
    chain.see(ram.word(world.ring + OBJECT_NUMBER));
}

#[inline(always)]
fn name(world: &World, chain: &mut Chain) {
    let node = world.names.find(&world.memory, name_key(chain.below(world.counts.names)));
    chain.see(world.memory.ram().word(node + NAME_INODE));
}

#[inline(always)]
fn number(world: &World, chain: &mut Chain) {
    let object = world.objects.get(&world.memory, chain.below(world.counts.objects));
    chain.see(world.memory.ram().word(object + OBJECT_NUMBER));
}

#[inline(always)]
fn pipe(world: &mut World, chain: &mut Chain) {
    let from = world.pages.get(&world.memory, chain.below(world.counts.pages));
    let to = world.pipes.get(&world.memory, chain.below(world.counts.pipes));
    world.memory.ram_mut().copy(from, to, PAGE);
    chain.see(world.memory.ram().word(to));
}

#[inline(always)]
fn zero(world: &mut World, chain: &mut Chain) {
    let at = world.pipes.get(&world.memory, chain.below(world.counts.pipes));
    world.memory.ram_mut().zero(at, PAGE);
    chain.see(world.memory.ram().word(at));
}

#[inline(always)]
fn store(world: &mut World, pinned: Pinned<'_>, chain: &mut Chain) -> Result<(), Error> {
    let key = chain.below(world.counts.entries);
    let node = world.store.find(&world.memory, key);
    if chain.below(10) == 0 {
        chain.writes += 1;
        return put_value(&mut world.memory, pinned, node, key, chain.writes);
    }
    let ram = world.memory.ram();
    let (value, bytes) = (ram.word(node + OWNED), ram.word(node + OWNED + 8));
    chain.read(world, value, bytes as usize);
    Ok(())
}

#[cfg(test)]
mod tests;
