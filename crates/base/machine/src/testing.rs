//! [`TestMachine`]: a machine for tests, in which a thread says which CPU it is.
//!
//! | a test wants | it has |
//! |---|---|
//! | many CPUs on one thread, one at a time | [`be_cpu`], [`pinned`] |
//! | threads of a model checker as CPUs | its own [`TestMachine::this_cpu`] |
//! | several nodes | CPU *n* is on node *n* mod [`TestMachine::nodes`] |
//! | memory where the direct map shows it | [`TestMachine::base`] |
//! | what an allocator tells a checker of accesses | [`TestMachine::told`] |
//! | TLBs, or a record of flushes | a [`TestTlb`] of its own as [`TestMachine::tlb`] |
//! | stretches with interrupts off, counted | [`irqs_off`] |
//!
//! A machine without TLBs is no [`Tlb`]: code that is tested on it flushes nothing (I2). Tests that need real threads
//! and interrupts between any two instructions take the hosted machine instead.
//!
//! [`be_cpu`] and [`pinned`] are unsafe, because [`Machine`] promises (its contracts 2 and 4) that code stays on its CPU
//! while it has a guard or a token. A crate whose tests use them often has one safe function of its own for each, which
//! says why its tests keep the promise.
//!
//! For tests alone, and still not sound by itself. A test that uses a machine promises, and nothing checks:
//! - While several threads use one machine, no two of them are the same CPU. A thread that has called neither [`be_cpu`]
//!   nor set [`TestMachine::this_cpu`] is the boot CPU.
//! - Machines that are used at the same time, over the same memory or with each other's tokens, have an
//!   [identity](TestMachine::identity) each. [`pinned`] is of identity 0.

extern crate std;

use core::cell::Cell;

use crate::addr::VirtAddr;
use crate::cpu::{CpuId, NodeId, Pinned};
use crate::event::MemoryEvent;
use crate::flush::FlushScope;
use crate::machine::{Machine, MemoryUse};
use crate::mask::{CpuSet, FirstCpus};
use crate::nesting::{IrqDepth, IrqState};
use crate::range::VirtRange;
use crate::tlb::Tlb;

std::thread_local! {
    static CPU: Cell<CpuId> = const { Cell::new(CpuId::BOOT) };
    static IRQS: Cell<(IrqState, IrqDepth)> = const { Cell::new((IrqState::On, IrqDepth::NONE)) };
    static STRETCHES: Cell<u64> = const { Cell::new(0) };
}

/// Says which CPU this thread is from now on.
///
/// # Safety
/// This thread has no guard of a machine, and no token that it uses afterwards. No other thread that uses the same
/// machine now is that CPU.
///
/// # Panics
/// If there is no CPU of this number.
pub unsafe fn be_cpu(cpu: usize) {
    CPU.set(CpuId::new(cpu).expect("a CPU's number"));
}

/// Returns the CPU that this thread said it is; the boot CPU, if it said nothing.
pub fn this_cpu() -> CpuId {
    CPU.get()
}

/// Returns a token for the CPU that this thread is.
///
/// # Safety
/// The token is not used after the next [`be_cpu`] on this thread, although its lifetime does not say so. No other
/// thread that uses the same machine meanwhile is the same CPU.
pub unsafe fn pinned() -> Pinned<'static> {
    // SAFETY: the thread stays that CPU while it uses the token, alone, by the caller's promise.
    unsafe { Pinned::assume(this_cpu()) }
}

/// Does `work`, and returns how many stretches with interrupts off that took on this thread.
pub fn irqs_off(work: impl FnOnce()) -> u64 {
    let before = STRETCHES.get();
    work();
    STRETCHES.get() - before
}

/// Returns whether this thread's CPU takes interrupts, and how many guards keep them off.
pub fn irqs() -> (IrqState, u64) {
    let (state, depth) = IRQS.get();
    (state, depth.guards())
}

/// Turns interrupts on or off on this thread's CPU, as code does that knows no guard. No guard is alive.
pub fn set_irqs(state: IrqState) {
    IRQS.set((state, IrqDepth::NONE));
}

/// A machine for tests.
#[derive(Clone, Copy, Debug)]
pub struct TestMachine<T = ()> {
    /// How many CPUs are online.
    pub cpus: usize,
    /// How many nodes the CPUs are on, in turn.
    pub nodes: usize,
    /// Where the direct map begins.
    pub base: VirtAddr,
    /// The number that tells it from other machines of the test.
    pub identity: u32,
    /// Returns the CPU that the caller is.
    pub this_cpu: fn() -> CpuId,
    /// Returns the time.
    pub now_ns: fn() -> u64,
    /// Is told what memory may be used for.
    pub told: fn(VirtRange, MemoryUse),
    /// Is told what a traced allocator has done.
    pub traced: fn(&MemoryEvent),
    /// The TLBs of its CPUs.
    pub tlb: T,
}

impl TestMachine {
    /// Makes a machine of so many CPUs on so many nodes. Its direct map begins at 0, its clock does not run, and it has
    /// no TLB.
    pub const fn new(cpus: usize, nodes: usize) -> Self {
        Self::with_tlb(cpus, nodes, ())
    }
}

impl<T> TestMachine<T> {
    /// Makes a machine as [`TestMachine::new`] does, with these TLBs.
    pub const fn with_tlb(cpus: usize, nodes: usize, tlb: T) -> Self {
        let (now_ns, told, traced): (_, _, fn(&MemoryEvent)) = (|| 0, |_, _| {}, |_| {});
        Self { cpus, nodes, base: VirtAddr::ZERO, identity: 0, this_cpu, now_ns, told, traced, tlb }
    }
}

// SAFETY: a thread stays the CPU that it said it is while the code under test runs, and no two say the same number: the
// tests' promise. A thread is interrupted by nothing.
unsafe impl<T: Send + Sync> Machine for TestMachine<T> {
    const CHECKS_TOKENS: bool = true;
    const CHECKS_ACCESSES: bool = true;

    fn identity(&self) -> u32 {
        self.identity
    }
    fn direct_map_base(&self) -> VirtAddr {
        self.base
    }
    fn cpu_count(&self) -> usize {
        self.cpus
    }
    fn node_of(&self, cpu: CpuId) -> NodeId {
        NodeId::new(cpu.index() % self.nodes).expect("a node's number")
    }
    fn preempt_disable(&self) -> CpuId {
        (self.this_cpu)()
    }
    unsafe fn preempt_enable(&self) {}
    fn irq_save(&self) -> CpuId {
        let (state, depth) = IRQS.get();
        STRETCHES.set(STRETCHES.get() + u64::from(depth == IrqDepth::NONE));
        IRQS.set((IrqState::Off, depth.enter(state)));
        (self.this_cpu)()
    }
    unsafe fn irq_restore(&self) {
        let (depth, state) = IRQS.get().1.leave();
        IRQS.set((state, depth));
    }
    fn now_ns(&self) -> u64 {
        (self.now_ns)()
    }
    fn set_memory_use(&self, range: VirtRange, memory_use: MemoryUse) {
        (self.told)(range, memory_use);
    }
    fn trace(&self, event: &MemoryEvent) {
        (self.traced)(event);
    }
}

/// The TLBs of a [`TestMachine`]: what a test does where the code under test flushes.
pub trait TestTlb: Send + Sync {
    /// Drops translations on the caller's CPU.
    fn flush_local(&self, scope: FlushScope<'_>) {
        let _ = scope;
    }

    /// Drops translations on each of `targets`.
    fn flush_remote(&self, targets: &CpuSet, scope: FlushScope<'_>) {
        let _ = (targets, scope);
    }

    /// Returns those of the CPUs that are `online` that may hold a translation.
    fn flush_targets(&self, online: FirstCpus) -> FirstCpus {
        online
    }

    /// Leaves a full flush to those of `targets` that are lazy, takes them out, and returns how many they are.
    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        let _ = targets;
        0
    }
}

impl<T: TestTlb> TestTlb for &T {
    fn flush_local(&self, scope: FlushScope<'_>) {
        (**self).flush_local(scope);
    }
    fn flush_remote(&self, targets: &CpuSet, scope: FlushScope<'_>) {
        (**self).flush_remote(targets, scope);
    }
    fn flush_targets(&self, online: FirstCpus) -> FirstCpus {
        (**self).flush_targets(online)
    }
    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        (**self).leave_to_lazy(targets)
    }
}

/// TLBs that hold nothing: each flush has been done before it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct EmptyTlb;

impl TestTlb for EmptyTlb {}

// SAFETY: no CPU has a translation but those that the test's TLBs hold, of which the test sees to itself.
unsafe impl<T: TestTlb> Tlb for TestMachine<T> {
    fn flush_local(&self, _: Pinned<'_>, scope: FlushScope<'_>) {
        self.tlb.flush_local(scope);
    }
    fn flush_remote(&self, _: Pinned<'_>, targets: &CpuSet, scope: FlushScope<'_>) {
        self.tlb.flush_remote(targets, scope);
    }
    fn flush_targets(&self) -> FirstCpus {
        self.tlb.flush_targets(FirstCpus(self.cpus))
    }
    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        self.tlb.leave_to_lazy(targets)
    }
}
