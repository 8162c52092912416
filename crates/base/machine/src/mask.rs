//! Sets of CPUs: [`CpuSet`] by reference, [`CpuMask`] by value.
//!
//! ```text
//!   the words of a set:   | CPUs 0..64 | CPUs 64..128 | ...        as many as the machine's CPUs need
//! ```
//!
//! A set by reference is a slice of words, and each operation on it costs a step for each of its words. Hot paths (a
//! flush, a call) keep the words of their sets on the stack: in an array of one word on machines of up to 64 CPUs, and
//! in an array of [`WORDS`] words past that. So a flush on a small machine handles one word in a register, whatever
//! [`MAX_CPUS`] is. A [`CpuMask`] has room for all CPUs and takes 136 bytes. It is for code that keeps or builds sets,
//! and does so rarely.
//!
//! Why not in memory whose size boot decides: every flush and every call makes a set, also before there is an allocator
//! and where the allocator may not be called.

use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::cpu::{CpuId, MAX_CPUS};

/// How many CPUs one word names.
pub const WORD_CPUS: usize = u64::BITS as usize;
/// The words that a set of all CPUs takes: each bit of theirs is a CPU.
pub const WORDS: usize = MAX_CPUS / WORD_CPUS;

const _: () = assert!(MAX_CPUS.is_multiple_of(WORD_CPUS));

/// Returns how many words the sets of `cpus` CPUs take.
#[inline]
pub const fn words_for(cpus: usize) -> usize {
    cpus.div_ceil(WORD_CPUS)
}

/// Returns how many of the first `words` words name CPUs.
#[inline]
const fn words_of_cpus(words: usize) -> usize {
    if words < WORDS { words } else { WORDS }
}

/// CPUs that can be read as words: those of a set, or all below a number.
pub trait CpuWords {
    /// Returns the word of CPUs `64 * index..64 * (index + 1)`.
    fn word(&self, index: usize) -> u64;
}

/// CPUs `0..n`. CPUs are numbered as they come online, so these are the CPUs that are online once `n` of them are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirstCpus(pub usize);

impl CpuWords for FirstCpus {
    #[inline]
    fn word(&self, index: usize) -> u64 {
        match self.0.saturating_sub(index * WORD_CPUS) {
            bits @ 0..WORD_CPUS => (1 << bits) - 1,
            _ => u64::MAX,
        }
    }
}

impl CpuWords for CpuSet {
    #[inline]
    fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }
}

impl CpuWords for CpuMask {
    #[inline]
    fn word(&self, index: usize) -> u64 {
        (**self).word(index)
    }
}

/// A set of CPUs, by its words: CPU n is bit n % 64 of word n / 64, and a CPU past the last word is not in the set.
///
/// It has [`WORDS`] words at most, so that each bit is a CPU below [`MAX_CPUS`].
#[repr(transparent)]
pub struct CpuSet([u64]);

impl CpuSet {
    /// Returns the set that `words` name. Words past the last CPU's are ignored.
    #[inline]
    pub const fn of(words: &[u64]) -> &Self {
        let (words, _) = words.split_at(words_of_cpus(words.len()));
        // SAFETY: the set has the layout of its words, and every word is a set.
        unsafe { &*(core::ptr::from_ref(words) as *const Self) }
    }

    /// Returns the set that `words` name, for changes. Words past the last CPU's are ignored.
    #[inline]
    pub const fn of_mut(words: &mut [u64]) -> &mut Self {
        let (words, _) = words.split_at_mut(words_of_cpus(words.len()));
        // SAFETY: the set has the layout of its words, every word is a set, and the words are borrowed for it.
        unsafe { &mut *(core::ptr::from_mut(words) as *mut Self) }
    }

    /// Returns its words.
    #[inline]
    pub const fn words(&self) -> &[u64] {
        &self.0
    }

    /// Takes `cpu` out.
    #[inline]
    pub fn remove(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut(cpu.word()) {
            *word &= !cpu.bit();
        }
    }

    /// Takes out the CPUs that `is_taken` picks, and returns their number.
    #[inline]
    pub fn take_out(&mut self, mut is_taken: impl FnMut(CpuId) -> bool) -> u32 {
        let mut taken = 0;
        for (index, word) in self.0.iter_mut().enumerate() {
            for bit in Bits(*word) {
                if is_taken(CpuId::from_word(index, bit)) {
                    *word &= !(1 << bit);
                    taken += 1;
                }
            }
        }
        taken
    }

    /// Tells whether `cpu` is in the set.
    #[inline]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.word(cpu.word()) & cpu.bit() != 0
    }

    /// Returns how many CPUs are in the set. To ask whether there are any, use [`CpuSet::is_empty`].
    ///
    /// Cost: some 20 instructions for each word that is not zero, because kernels are built without POPCNT.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.iter().filter(|&&word| word != 0).map(|word| word.count_ones() as usize).sum()
    }

    /// Tells whether no CPU is in the set.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Returns its CPUs in ascending order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + Clone + '_ {
        let cpus = |(word, &bits): (usize, &u64)| Bits(bits).map(move |bit| CpuId::from_word(word, bit));
        self.0.iter().enumerate().flat_map(cpus)
    }

    /// Returns a copy of the set, with room for all CPUs.
    #[must_use]
    pub fn to_mask(&self) -> CpuMask {
        CpuMask::from_words(self.0.iter().copied())
    }

    /// Returns this set without `cpu`.
    #[must_use]
    pub fn without(&self, cpu: CpuId) -> CpuMask {
        let mut mask = self.to_mask();
        mask.remove(cpu);
        mask
    }

    /// Returns the CPUs that are in both sets.
    #[must_use]
    pub fn and(&self, other: &Self) -> CpuMask {
        CpuMask::from_words(self.0.iter().zip(&other.0).map(|(mine, others)| mine & others))
    }

    /// Returns the CPUs of this set that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> CpuMask {
        CpuMask::from_words(self.0.iter().enumerate().map(|(index, word)| word & !other.word(index)))
    }
}

/// Sets are equal where they have the same CPUs, however many words they take.
impl PartialEq for CpuSet {
    fn eq(&self, other: &Self) -> bool {
        (0..self.0.len().max(other.0.len())).all(|index| self.word(index) == other.word(index))
    }
}

impl Eq for CpuSet {}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|cpu| cpu.index())).finish()
    }
}

/// A set of CPUs with room for all.
#[derive(Clone, Copy)]
pub struct CpuMask {
    words: [u64; WORDS],
    /// At most [`WORDS`]. The words from here on are zero.
    length: usize,
}

impl CpuMask {
    /// No CPU.
    pub const EMPTY: Self = Self { words: [0; WORDS], length: 0 };

    /// Returns CPUs 0..`count`; all CPUs where `count` is past [`MAX_CPUS`].
    pub fn first(count: usize) -> Self {
        Self::from_words((0..words_for(count.min(MAX_CPUS))).map(|word| FirstCpus(count).word(word)))
    }

    /// Returns the CPUs whose bits are set: CPU n is bit n % 64 of word n / 64. Words past the last CPU's are ignored.
    pub fn from_words(words: impl IntoIterator<Item = u64>) -> Self {
        let mut mask = Self::EMPTY;
        for (place, word) in mask.words.iter_mut().zip(words) {
            *place = word;
            mask.length += 1;
        }
        mask
    }

    /// Returns the set of `cpu` alone.
    pub fn only(cpu: CpuId) -> Self {
        let mut mask = Self::EMPTY;
        mask.insert(cpu);
        mask
    }

    /// Adds `cpu`.
    pub const fn insert(&mut self, cpu: CpuId) {
        self.words[cpu.word()] |= cpu.bit();
        if self.length <= cpu.word() {
            self.length = cpu.word() + 1;
        }
    }
}

impl Deref for CpuMask {
    type Target = CpuSet;
    #[inline]
    fn deref(&self) -> &CpuSet {
        CpuSet::of(&self.words[..self.length])
    }
}

impl DerefMut for CpuMask {
    #[inline]
    fn deref_mut(&mut self) -> &mut CpuSet {
        CpuSet::of_mut(&mut self.words[..self.length])
    }
}

impl Default for CpuMask {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for CpuMask {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for CpuMask {}

impl FromIterator<CpuId> for CpuMask {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut mask = Self::EMPTY;
        cpus.into_iter().for_each(|cpu| mask.insert(cpu));
        mask
    }
}

impl fmt::Debug for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The numbers of the set bits of a word, lowest first.
#[derive(Clone)]
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
