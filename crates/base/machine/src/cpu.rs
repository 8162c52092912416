//! CPUs, nodes, and the tokens that prove on which CPU the code runs.
//!
//! Tokens borrow from the guard that made them true ([`crate::PinGuard`], [`crate::IrqGuard`]), so a token cannot
//! outlive its guard, and they are neither `Send` nor `Sync`, so it cannot be shown to another CPU.

use core::fmt;
use core::marker::PhantomData;

/// The most CPUs that one machine can have: machines of 8 sockets have 768 and more. It bounds dense ids and tables of
/// words, not APIC ids; larger tables are sized by the CPUs that there are, and a [`CpuSet`](crate::CpuSet) costs what
/// those cost.
pub const MAX_CPUS: usize = 1024;

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
    #[inline(always)]
    pub const fn index(self) -> usize {
        // SAFETY: `new` makes no other, and a set of CPUs has no word past the last CPU's.
        unsafe { core::hint::assert_unchecked((self.0 as usize) < MAX_CPUS) };
        self.0 as usize
    }

    /// Returns the CPU of a bit of a word of a [`CpuSet`](crate::CpuSet).
    #[inline]
    pub(crate) const fn from_word(word: usize, bit: usize) -> Self {
        Self((word * u64::BITS as usize + bit) as u16)
    }

    /// Returns the index of the word of a [`CpuSet`](crate::CpuSet) that has its bit.
    #[inline]
    pub const fn word(self) -> usize {
        self.index() / u64::BITS as usize
    }

    /// Returns its bit in that word.
    #[inline]
    pub const fn bit(self) -> u64 {
        1 << (self.index() % u64::BITS as usize)
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
    #[inline(always)]
    pub const fn index(self) -> usize {
        // SAFETY: `new` makes no other, and a set of CPUs has no word past the last CPU's.
        unsafe { core::hint::assert_unchecked((self.0 as usize) < MAX_CPUS) };
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
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
