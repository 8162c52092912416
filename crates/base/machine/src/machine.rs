//! The [`Machine`] trait: what Rhumb's memory crates know of the CPUs below them, and where memory is mapped.
//!
//! The kernel implements it on bare x86-64; the hosted machine implements it in a Linux process, where threads are
//! CPUs. A crate holds its machine by value: the kernel's is a zero-sized type, a hosted one is a `&'static`, for which
//! the trait is implemented, too. Code that also changes mappings asks for a [`Tlb`](crate::Tlb).

use core::marker::PhantomData;

use crate::addr::{PhysAddr, VirtAddr};
use crate::cpu::{CpuId, IrqOff, NodeId, Pinned};
use crate::event::MemoryEvent;
use crate::range::VirtRange;

/// A use of directly mapped memory that a checker of accesses allows from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryUse {
    /// It has an owner.
    Allowed,
    /// A frame that is free.
    FreeFrame,
    /// An object that is free.
    FreeObject,
    /// Room around an object; it has no owner.
    RedZone,
}

/// CPUs, interrupts, nodes and the direct map's base, as the memory crates see them.
///
/// # Safety
/// The crates above build memory safety on each contract below, so an implementation must keep all of them:
/// 1. [`Machine::direct_map_base`] returns the same address in each call.
/// 2. [`Machine::preempt_disable`] and [`Machine::irq_save`] return the CPU that runs the caller, and this CPU goes on
///    running the caller until the matching call that ends it. No two threads of execution are the same CPU at a time,
///    except that an interrupt handler runs on top of the code that it interrupts.
/// 3. From `irq_save` to the matching [`Machine::irq_restore`] the CPU takes no maskable interrupt, in whatever order
///    the matching calls come.
/// 4. Machines that live at the same time, of whichever types, have different [`Machine::identity`] numbers, and their
///    types have [`Machine::CHECKS_TOKENS`]: otherwise a token of one is taken for a proof of another one's CPU, and
///    memory that waits for a flush of one comes out by another's. Or else no two of these machines have a CPU of one
///    number at the same time, nor memory in common.
pub unsafe trait Machine: Send + Sync {
    /// Returns where physical address 0 lies in the direct map. Fixed from boot on; a multiple of 1 GiB.
    fn direct_map_base(&self) -> VirtAddr;

    /// Returns how many CPUs are *online*: their ids are `0..cpu_count()`, and a CPU that comes online gets the next
    /// id. The count grows while a kernel starts its CPUs and never shrinks; it can be 1 when an allocator is built.
    /// A table with an entry for each CPU is sized by the caller's own bound on *possible* CPUs (at most
    /// [`MAX_CPUS`](crate::MAX_CPUS)), never by this count.
    fn cpu_count(&self) -> usize;

    /// Returns the node that `cpu` belongs to; [`NodeId::FIRST`] for a CPU that is not known (yet). The answer for a
    /// CPU is final once that CPU is online; before, it may change from `FIRST` to the true node. So ask on behalf of
    /// a CPU that runs, not in advance. May be called anywhere, with interrupts off too. Cost: a load or two.
    fn node_of(&self, cpu: CpuId) -> NodeId;

    /// Stops preemption and migration of the caller, nestable, and returns the CPU. Use [`Machine::pin`] instead.
    fn preempt_disable(&self) -> CpuId;

    /// Undoes one [`Machine::preempt_disable`].
    ///
    /// # Safety
    /// Called once for each `preempt_disable`, on the same CPU, with no token of that call alive. Calls may come in any
    /// order.
    unsafe fn preempt_enable(&self);

    /// Turns maskable interrupts off on this CPU, nestable, and returns the CPU. Use [`Machine::irq_off`] instead.
    /// [`IrqDepth`](crate::IrqDepth) is the count that an implementation needs. A machine that traces stretches with
    /// interrupts off has the caller's place by [`Location::caller`](core::panic::Location::caller).
    #[track_caller]
    fn irq_save(&self) -> CpuId;

    /// Undoes one [`Machine::irq_save`]. Interrupts are on again, if they were on before the first, when each has been
    /// undone.
    ///
    /// # Safety
    /// Called once for each `irq_save`, on the same CPU, with no token of that call alive. Calls may come in any order.
    unsafe fn irq_restore(&self);

    /// Returns nanoseconds since boot, for records and reports: no decision rests on it. Never goes back on one CPU. A
    /// machine without a clock (or before it has one) returns 0.
    fn now_ns(&self) -> u64;

    /// Whether tokens carry the identity of their machine and [`Machine::cpu_of`] compares it. Where a type has one
    /// value in a whole program, as in a kernel, there is nothing to compare, and the check is no instruction.
    const CHECKS_TOKENS: bool = false;

    /// Returns the number that tells this machine from others that live at the same time.
    #[inline(always)]
    fn identity(&self) -> u32 {
        0
    }

    /// Returns the CPU that a token of this machine names. Code that reaches a CPU's own data by a caller's token asks
    /// here: a token of another machine proves nothing of this machine's CPU.
    ///
    /// # Panics
    /// If the token is another machine's (with [`Machine::CHECKS_TOKENS`]).
    #[inline(always)]
    #[track_caller]
    fn cpu_of(&self, pinned: Pinned<'_>) -> CpuId {
        if Self::CHECKS_TOKENS && pinned.machine() != self.identity() {
            token_of_another_machine();
        }
        pinned.cpu()
    }

    /// Whether there is a checker that [`Machine::set_memory_use`] tells. Where there is none, callers need not even
    /// work out what they would tell it.
    const CHECKS_ACCESSES: bool = false;

    /// Tells a checker of memory accesses what `range` may be used for. Allocators say so of all that they take and
    /// give; a machine without a checker does nothing, and the call is no instruction.
    #[inline(always)]
    fn set_memory_use(&self, range: VirtRange, memory_use: MemoryUse) {
        let _ = (range, memory_use);
    }

    /// Is told what an allocator has done, while the allocator is asked to tell. With interrupts on or off, and with no
    /// lock of the allocator held. A machine whose kernel traces nothing does nothing.
    fn trace(&self, event: &MemoryEvent) {
        let _ = event;
    }

    /// Returns where the direct map shows `phys` (invariant I1). Whether that address may be touched is the caller's
    /// argument: the frame must be in the map.
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
        PinGuard { cpu: self.preempt_disable(), machine: self, _this_cpu: PhantomData }
    }

    /// Keeps maskable interrupts off on this CPU until the guard is dropped. Guards may be dropped in any order:
    /// interrupts come back with the last.
    #[inline(always)]
    #[track_caller]
    fn irq_off(&self) -> IrqGuard<'_, Self>
    where
        Self: Sized,
    {
        IrqGuard { cpu: self.irq_save(), machine: self, _this_cpu: PhantomData }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn token_of_another_machine() -> ! {
    panic!("a token of another machine: it proves nothing of this machine's CPUs");
}

/// A CPU that the code stays on while the guard lives.
///
/// The guard is true of one CPU, so it stays there: it is neither `Send` nor `Sync`.
///
/// ```
/// use rhumb_machine::Machine;
/// fn here<M: Machine>(machine: &M) -> usize {
///     machine.pin().pinned().cpu().index()
/// }
/// ```
/// ```compile_fail
/// use rhumb_machine::Machine;
/// fn elsewhere<M: Machine>(machine: &M) {
///     let pin = machine.pin();
///     std::thread::scope(|scope| { scope.spawn(|| pin.pinned().cpu()); });
/// }
/// ```
/// ```compile_fail
/// use rhumb_machine::Machine;
/// fn elsewhere<M: Machine>(machine: &M) {
///     let pin = machine.pin();
///     std::thread::scope(|scope| { scope.spawn(move || drop(pin)); });
/// }
/// ```
/// Nor does a token outlive the guard:
/// ```compile_fail
/// use rhumb_machine::{Machine, Pinned};
/// fn later<M: Machine>(machine: &M) -> Pinned<'_> {
///     machine.pin().pinned()
/// }
/// ```
#[must_use = "dropping the guard lets the code move to another CPU"]
pub struct PinGuard<'machine, M: Machine> {
    cpu: CpuId,
    machine: &'machine M,
    _this_cpu: PhantomData<*mut ()>,
}

impl<M: Machine> PinGuard<'_, M> {
    /// Returns the proof.
    #[inline(always)]
    pub fn pinned(&self) -> Pinned<'_> {
        // SAFETY: preemption is off since the guard was made, and the token cannot outlive the guard.
        unsafe { Pinned::assume_on(self.cpu, self.machine.identity()) }
    }
}

impl<M: Machine> Drop for PinGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: made by one `preempt_disable`, and every token borrowed the guard.
        unsafe { self.machine.preempt_enable() }
    }
}

/// A CPU that takes no maskable interrupt while the guard lives.
///
/// An interrupt flag belongs to a CPU, so the guard stays where it was made: it is neither `Send` nor `Sync`.
///
/// ```compile_fail
/// use rhumb_machine::Machine;
/// fn elsewhere<M: Machine>(machine: &M) {
///     let guard = machine.irq_off();
///     std::thread::scope(|scope| { scope.spawn(|| guard.irq_off().cpu()); });
/// }
/// ```
/// ```compile_fail
/// use rhumb_machine::Machine;
/// fn elsewhere<M: Machine>(machine: &M) {
///     let guard = machine.irq_off();
///     std::thread::scope(|scope| { scope.spawn(move || drop(guard)); });
/// }
/// ```
#[must_use = "dropping the guard turns interrupts back on"]
pub struct IrqGuard<'machine, M: Machine> {
    cpu: CpuId,
    machine: &'machine M,
    _this_cpu: PhantomData<*mut ()>,
}

impl<M: Machine> IrqGuard<'_, M> {
    /// Returns the proof.
    #[inline(always)]
    pub fn irq_off(&self) -> IrqOff<'_> {
        // SAFETY: interrupts are off since the guard was made, and the token cannot outlive the guard.
        unsafe { IrqOff::assume_on(self.cpu, self.machine.identity()) }
    }
}

impl<M: Machine> Drop for IrqGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: made by one `irq_save`, and every token borrowed the guard.
        unsafe { self.machine.irq_restore() }
    }
}

// SAFETY: every promise is the referent's.
unsafe impl<M: Machine> Machine for &M {
    const CHECKS_ACCESSES: bool = M::CHECKS_ACCESSES;
    const CHECKS_TOKENS: bool = M::CHECKS_TOKENS;

    #[inline(always)]
    fn identity(&self) -> u32 {
        (**self).identity()
    }

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
        // SAFETY: the caller promises what the machine behind the reference asks, the end of its own `preempt_disable`.
        unsafe { (**self).preempt_enable() }
    }
    #[inline(always)]
    #[track_caller]
    fn irq_save(&self) -> CpuId {
        (**self).irq_save()
    }
    #[inline(always)]
    unsafe fn irq_restore(&self) {
        // SAFETY: the caller promises what the machine behind the reference asks, the end of its own `irq_save`.
        unsafe { (**self).irq_restore() }
    }
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }
    #[inline(always)]
    fn set_memory_use(&self, range: VirtRange, memory_use: MemoryUse) {
        (**self).set_memory_use(range, memory_use);
    }
    fn trace(&self, event: &MemoryEvent) {
        (**self).trace(event);
    }
}
