//! The [`Machine`] trait: all that Rhumb's memory crates know of the hardware below them.
//!
//! The kernel implements it on bare x86-64; the hosted machine implements it in a Linux process, where threads are
//! CPUs. A crate holds its machine by value: the kernel's is a zero-sized type, a hosted one is a `&'static`, for which
//! the trait is implemented, too.
//!
//! Flushes: an entry of a TLB is dropped on the CPU that holds it. [`Machine::flush_local`] drops on this CPU,
//! [`Machine::flush_remote`] on others, and returns only when each of them has answered (invariant I6). A CPU that
//! waits for answers keeps answering, so two CPUs that flush each other with interrupts off do not deadlock.
//! A CPU that idles need not be interrupted for it: [`Machine::leave_to_lazy`].

use crate::addr::{PhysAddr, VirtAddr};
use crate::cpu::{CpuId, CpuMask, IrqOff, NodeId, Pinned};
use crate::flush::FlushScope;
use crate::range::VirtRange;

/// Whether maskable interrupts were on when [`Machine::irq_save`] turned them off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IrqState {
    /// They were on; restoring turns them on again.
    On,
    /// They were off already; restoring leaves them off.
    Off,
}

/// What directly mapped memory may be used for from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Somebody owns it.
    Allowed,
    /// A frame that is free.
    FreeFrame,
    /// An object that is free.
    FreeObject,
    /// Room around an object that belongs to nobody.
    RedZone,
}

/// The hardware as the memory crates see it.
///
/// # Safety
/// Implementations must hold what the methods promise; the crates above build memory safety on it:
/// [`Machine::direct_map_base`] never changes; [`Machine::preempt_disable`] and [`Machine::irq_save`] return the CPU
/// that goes on running the caller until the matching call; a flush has happened when it returns.
pub unsafe trait Machine: Send + Sync {
    /// Where physical address 0 stands in the direct map. Fixed from boot on.
    fn direct_map_base(&self) -> VirtAddr;

    /// How many CPUs run now; their ids are `0..cpu_count`. It grows as CPUs start, and never shrinks: an allocator that
    /// is built before all of them run is told separately how many there can be.
    fn cpu_count(&self) -> usize;

    /// The node that `cpu` belongs to: exact for a CPU that runs, and any node for one that does not run yet. A caller
    /// that remembers the answer asks again on the CPU itself, once that CPU runs.
    fn node_of(&self, cpu: CpuId) -> NodeId;

    /// Stops preemption and migration of the caller, nestable, and tells the CPU. Use [`Machine::pin`] instead.
    fn preempt_disable(&self) -> CpuId;

    /// Undoes one [`Machine::preempt_disable`].
    ///
    /// # Safety
    /// Called once for each `preempt_disable`, on the same CPU, with no token of that call alive.
    unsafe fn preempt_enable(&self);

    /// Turns maskable interrupts off on this CPU and tells the CPU and how they were. Use [`Machine::irq_off`] instead.
    fn irq_save(&self) -> (CpuId, IrqState);

    /// Undoes one [`Machine::irq_save`].
    ///
    /// # Safety
    /// Called once for each `irq_save`, innermost first, on the same CPU, with no token of that call alive.
    unsafe fn irq_restore(&self, state: IrqState);

    /// Drops translations on this CPU. Cost: one `invlpg` a page, or one instruction that drops all.
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>);

    /// Drops translations on each CPU of `targets` (this one is skipped) and returns when all have answered.
    /// Cost: one interrupt per target.
    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuMask, scope: FlushScope<'_>);

    /// Leaves a full flush to those of `targets` that are lazy (they idle, and use none of the mappings that change),
    /// and says which they are: each of them flushes before it uses any mapping again. The tables have been changed by
    /// then. A machine that knows no lazy CPU leaves it to none. Cost: one locked operation per lazy CPU, no interrupt.
    ///
    /// A lazy CPU may still *walk* tables on speculation: not for tables that will be reused.
    fn leave_to_lazy(&self, targets: &CpuMask) -> CpuMask {
        let _ = targets;
        CpuMask::EMPTY
    }

    /// Nanoseconds since boot; never goes back on one CPU.
    fn now_ns(&self) -> u64;

    /// Whether there is a checker that [`Machine::set_access`] tells. Where there is none, callers need not even work
    /// out what they would tell it.
    const CHECKS_ACCESSES: bool = false;

    /// Tells a checker of memory accesses what `range` may be used for. Allocators say so of all that they take and
    /// give; a machine without a checker does nothing, and the call is no instruction.
    #[inline(always)]
    fn set_access(&self, range: VirtRange, access: Access) {
        let _ = (range, access);
    }

    /// Where the direct map shows `phys` (invariant I1). Whether that address may be touched is the caller's argument:
    /// the frame must be in the map.
    #[inline(always)]
    fn direct(&self, phys: PhysAddr) -> VirtAddr {
        self.direct_map_base().plus(phys.get())
    }

    /// Holds the caller on this CPU until the guard is dropped.
    #[inline(always)]
    fn pin(&self) -> PinGuard<'_, Self>
    where
        Self: Sized,
    {
        PinGuard { cpu: self.preempt_disable(), machine: self }
    }

    /// Keeps maskable interrupts off on this CPU until the guard is dropped.
    #[inline(always)]
    fn irq_off(&self) -> IrqGuard<'_, Self>
    where
        Self: Sized,
    {
        let (cpu, state) = self.irq_save();
        IrqGuard { cpu, state, machine: self, _this_cpu: core::marker::PhantomData }
    }
}

/// While it lives, the code stays on one CPU.
#[must_use = "dropping the guard lets the code move to another CPU"]
pub struct PinGuard<'machine, M: Machine> {
    cpu: CpuId,
    machine: &'machine M,
}

impl<M: Machine> PinGuard<'_, M> {
    /// The proof.
    #[inline(always)]
    pub fn pinned(&self) -> Pinned<'_> {
        // SAFETY: preemption is off since the guard was made, and the token cannot outlive the guard.
        unsafe { Pinned::assume(self.cpu) }
    }
}

impl<M: Machine> Drop for PinGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: made by one `preempt_disable`, and every token borrowed the guard.
        unsafe { self.machine.preempt_enable() }
    }
}

/// While it lives, the CPU takes no maskable interrupt.
#[must_use = "dropping the guard turns interrupts back on"]
pub struct IrqGuard<'machine, M: Machine> {
    cpu: CpuId,
    state: IrqState,
    machine: &'machine M,
    // An interrupt flag belongs to a CPU: the guard stays where it was made.
    _this_cpu: core::marker::PhantomData<*mut ()>,
}

impl<M: Machine> IrqGuard<'_, M> {
    /// The proof.
    #[inline(always)]
    pub fn irq_off(&self) -> IrqOff<'_> {
        // SAFETY: interrupts are off since the guard was made, and the token cannot outlive the guard.
        unsafe { IrqOff::assume(self.cpu) }
    }
}

impl<M: Machine> Drop for IrqGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: made by one `irq_save`, and every token borrowed the guard.
        unsafe { self.machine.irq_restore(self.state) }
    }
}

// SAFETY: every promise is the referent's.
unsafe impl<M: Machine> Machine for &M {
    const CHECKS_ACCESSES: bool = M::CHECKS_ACCESSES;

    #[inline(always)]
    fn direct_map_base(&self) -> VirtAddr {
        (**self).direct_map_base()
    }
    #[inline(always)]
    fn cpu_count(&self) -> usize {
        (**self).cpu_count()
    }
    #[inline(always)]
    fn node_of(&self, cpu: CpuId) -> NodeId {
        (**self).node_of(cpu)
    }
    #[inline(always)]
    fn preempt_disable(&self) -> CpuId {
        (**self).preempt_disable()
    }
    #[inline(always)]
    unsafe fn preempt_enable(&self) {
        // SAFETY: the caller's promise is passed on.
        unsafe { (**self).preempt_enable() }
    }
    #[inline(always)]
    fn irq_save(&self) -> (CpuId, IrqState) {
        (**self).irq_save()
    }
    #[inline(always)]
    unsafe fn irq_restore(&self, state: IrqState) {
        // SAFETY: the caller's promise is passed on.
        unsafe { (**self).irq_restore(state) }
    }
    #[inline(always)]
    fn flush_local(&self, pinned: Pinned<'_>, scope: FlushScope<'_>) {
        (**self).flush_local(pinned, scope);
    }
    #[inline(always)]
    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuMask, scope: FlushScope<'_>) {
        (**self).flush_remote(pinned, targets, scope);
    }
    #[inline(always)]
    fn leave_to_lazy(&self, targets: &CpuMask) -> CpuMask {
        (**self).leave_to_lazy(targets)
    }
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }
    #[inline(always)]
    fn set_access(&self, range: VirtRange, access: Access) {
        (**self).set_access(range, access);
    }
}
