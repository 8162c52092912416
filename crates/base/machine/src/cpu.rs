//! CPUs, nodes, sets of CPUs, and the tokens that prove on which CPU the code runs.
//!
//! Tokens borrow from the guard that made them true ([`crate::PinGuard`], [`crate::IrqGuard`]), so a token cannot
//! outlive its guard, and they are neither `Send` nor `Sync`, so it cannot be shown to another CPU.

use core::fmt;
use core::marker::PhantomData;

/// The most CPUs that one machine can have. 256 is what one byte of a dense id holds, and a [`CpuMask`] of four words
/// still fits in half a cache line; it bounds sets and tables, not APIC ids.
pub const MAX_CPUS: usize = 256;

/// The most NUMA nodes that one machine can have.
pub const MAX_NODES: usize = 64;

/// A CPU, numbered densely from 0 (the boot CPU) in the order in which they started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CpuId(u16);

impl CpuId {
    /// The boot CPU.
    pub const BOOT: Self = Self(0);

    /// Returns the CPU with this index, or `None` at or above [`MAX_CPUS`].
    pub const fn new(index: usize) -> Option<Self> {
        if index < MAX_CPUS { Some(Self(index as u16)) } else { None }
    }

    /// Returns its index: below [`MAX_CPUS`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A NUMA node, numbered densely from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(u8);

impl NodeId {
    /// The first node: the only one where the firmware names none.
    pub const FIRST: Self = Self(0);

    /// Returns the node with this index, or `None` at or above [`MAX_NODES`].
    pub const fn new(index: usize) -> Option<Self> {
        if index < MAX_NODES { Some(Self(index as u8)) } else { None }
    }

    /// Returns its index: below [`MAX_NODES`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A set of CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuMask([u64; MAX_CPUS / 64]);

impl CpuMask {
    /// No CPU.
    pub const EMPTY: Self = Self([0; MAX_CPUS / 64]);

    /// Returns CPUs 0..`count`; all CPUs where `count` is past [`MAX_CPUS`].
    pub fn first(count: usize) -> Self {
        Self(core::array::from_fn(|word| match count.saturating_sub(word * 64) {
            bits @ 0..64 => (1 << bits) - 1,
            _ => u64::MAX,
        }))
    }

    /// Returns the CPUs whose bits are set: CPU n is bit n % 64 of word n / 64.
    pub const fn from_words(words: [u64; MAX_CPUS / 64]) -> Self {
        Self(words)
    }

    /// Returns the set of `cpu` alone.
    pub fn only(cpu: CpuId) -> Self {
        let mut mask = Self::EMPTY;
        mask.insert(cpu);
        mask
    }

    /// Adds `cpu`.
    pub const fn insert(&mut self, cpu: CpuId) {
        self.0[cpu.index() / 64] |= 1 << (cpu.index() % 64);
    }

    /// Takes `cpu` out.
    pub const fn remove(&mut self, cpu: CpuId) {
        self.0[cpu.index() / 64] &= !(1 << (cpu.index() % 64));
    }

    /// Returns this set without `cpu`.
    #[must_use]
    pub const fn without(mut self, cpu: CpuId) -> Self {
        self.remove(cpu);
        self
    }

    /// Returns the CPUs that are in both sets.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// Returns the CPUs of this set that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// Tells whether `cpu` is in the set.
    pub const fn contains(&self, cpu: CpuId) -> bool {
        self.0[cpu.index() / 64] & (1 << (cpu.index() % 64)) != 0
    }

    /// Returns how many CPUs are in the set. To ask whether there are any, use [`CpuMask::is_empty`].
    ///
    /// Cost: some 20 instructions for each 64 CPUs, of which one is in the set: kernels are built without POPCNT.
    pub fn len(&self) -> usize {
        self.0.iter().filter(|&&word| word != 0).map(|word| word.count_ones() as usize).sum()
    }

    /// Tells whether no CPU is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Returns its CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + use<> {
        let words = self.0;
        words
            .into_iter()
            .enumerate()
            .flat_map(|(index, word)| Bits(word).map(move |bit| CpuId((index * 64 + bit) as u16)))
    }
}

impl FromIterator<CpuId> for CpuMask {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut mask = Self::EMPTY;
        cpus.into_iter().for_each(|cpu| mask.insert(cpu));
        mask
    }
}

impl fmt::Debug for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|cpu| cpu.index())).finish()
    }
}

/// The numbers of the set bits of a word, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

/// Proof that the code stays on one CPU while the token lives: it is not preempted and not moved.
///
/// It does *not* prove that no interrupt handler runs on the same CPU in between; [`IrqOff`] does. And it says nothing
/// of another machine's CPU with the same number: [`crate::Machine::cpu_of`] compares, where there can be another.
///
/// ```compile_fail
/// fn elsewhere(pinned: rhumb_machine::Pinned<'_>) {
///     std::thread::scope(|scope| { scope.spawn(|| pinned.cpu()); });
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pinned<'guard> {
    cpu: CpuId,
    machine: u32,
    // Neither Send nor Sync: another CPU's token says nothing here.
    _guard: PhantomData<(&'guard (), *mut ())>,
}

impl Pinned<'_> {
    /// Makes the token out of nothing, for a machine of which there is one.
    ///
    /// # Safety
    /// For as long as the token (or a copy) lives, the calling code runs on `cpu` and is not preempted.
    #[inline(always)]
    pub const unsafe fn assume(cpu: CpuId) -> Self {
        // SAFETY: the caller promises that the code stays on `cpu`, and the one machine has identity 0.
        unsafe { Self::assume_on(cpu, 0) }
    }

    /// Makes the token out of nothing, for the machine of this [identity](crate::Machine::identity).
    ///
    /// # Safety
    /// For as long as the token (or a copy) lives, the calling code runs on `cpu` of that machine and is not preempted.
    #[inline(always)]
    pub const unsafe fn assume_on(cpu: CpuId, machine: u32) -> Self {
        Self { cpu, machine, _guard: PhantomData }
    }

    /// Returns the CPU on which the code runs.
    #[inline(always)]
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Returns the [identity](crate::Machine::identity) of the machine whose CPU it is.
    #[inline(always)]
    pub const fn machine(&self) -> u32 {
        self.machine
    }
}

/// Proof that the code stays on one CPU and that this CPU takes no maskable interrupt while the token lives.
///
/// ```compile_fail
/// fn elsewhere(irq_off: rhumb_machine::IrqOff<'_>) {
///     std::thread::scope(|scope| { scope.spawn(|| irq_off.cpu()); });
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IrqOff<'guard>(Pinned<'guard>);

impl<'guard> IrqOff<'guard> {
    /// Makes the token out of nothing, for a machine of which there is one.
    ///
    /// # Safety
    /// As for [`Pinned::assume`], and maskable interrupts stay off on `cpu` for as long as the token lives.
    #[inline(always)]
    pub const unsafe fn assume(cpu: CpuId) -> Self {
        // SAFETY: the caller promises that the code stays on `cpu` with interrupts off, and the one machine has
        // identity 0.
        unsafe { Self::assume_on(cpu, 0) }
    }

    /// Makes the token out of nothing, for the machine of this [identity](crate::Machine::identity).
    ///
    /// # Safety
    /// As for [`Pinned::assume_on`], and maskable interrupts stay off on `cpu` for as long as the token lives.
    #[inline(always)]
    pub const unsafe fn assume_on(cpu: CpuId, machine: u32) -> Self {
        // SAFETY: with interrupts off nothing preempts; the caller promised the rest.
        Self(unsafe { Pinned::assume_on(cpu, machine) })
    }

    /// Returns the weaker proof: code that takes no interrupt is not preempted either.
    #[inline(always)]
    pub const fn pinned(&self) -> Pinned<'guard> {
        self.0
    }

    /// Returns the CPU on which the code runs.
    #[inline(always)]
    pub const fn cpu(&self) -> CpuId {
        self.0.cpu
    }
}
