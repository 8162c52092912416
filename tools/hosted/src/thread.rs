//! The calling thread as a CPU: which one it is, and how deep preemption and interrupts are off on it.
//!
//! All of it lies in one thread-local of plain cells, so that [`Machine::pin`] is two loads and two comparisons (and
//! an increment in checked builds).
//!
//! The handler, observer and tracer of a thread lie on its stack, and their addresses here, so that one look at one
//! thread-local finds them all. Each address has a module of its own, which alone knows the type behind it.
//!
//! Why preemption is only a depth: the host may preempt the thread, but no other thread ever runs *as the same CPU*,
//! and that is all that a [`Pinned`] token promises.

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};

use rhumb_machine::{CpuId, IrqDepth, IrqState};
#[cfg(doc)]
use rhumb_machine::{Machine, Pinned};

/// Whether guards are counted: in checked builds. A count that goes up and down in memory is a chain through the
/// store buffer, 3 ns for a pair of guards, which would be part of every benchmark that pins.
const DEPTH_COUNTED: bool = cfg!(debug_assertions);

/// The address of a value on the thread's stack, its type and its lifetime erased.
pub(crate) type OnStack = NonNull<()>;

/// The CPU that a thread is, and how deep preemption and interrupts are off on it. Machine 0 is no machine.
#[derive(Debug)]
pub(crate) struct ThisThread {
    machine: Cell<u32>,
    cpu: Cell<CpuId>,
    preempt_depth: Cell<u32>,
    irq_depth: Cell<IrqDepth>,
    /// The handler that is armed ([`crate::interrupt`]).
    pub(crate) armed: Cell<Option<OnStack>>,
    /// The storm that rages ([`crate::storm`]).
    pub(crate) storm: Cell<Option<OnStack>>,
    /// The observer of stores to tables ([`crate::observer`]).
    pub(crate) observer: Cell<Option<OnStack>>,
    /// The trace of stretches with interrupts off ([`crate::irqsoff`]).
    pub(crate) tracer: Cell<Option<OnStack>>,
}

thread_local! {
    pub(crate) static THIS: ThisThread = const {
        ThisThread {
            machine: Cell::new(0),
            cpu: Cell::new(CpuId::BOOT),
            preempt_depth: Cell::new(0),
            irq_depth: Cell::new(IrqDepth::NONE),
            armed: Cell::new(None),
            storm: Cell::new(None),
            observer: Cell::new(None),
            tracer: Cell::new(None),
        }
    };
}

impl ThisThread {
    /// Returns which CPU of `machine` this thread is.
    ///
    /// # Panics
    /// If it is none: there is no CPU that the caller could be told.
    #[inline(always)]
    pub(crate) fn cpu_of(&self, machine: u32) -> CpuId {
        if self.machine.get() != machine {
            not_a_cpu();
        }
        self.cpu.get()
    }

    /// Tells whether it is a CPU of any machine.
    pub(crate) fn is_cpu(&self) -> bool {
        self.machine.get() != 0
    }

    /// Makes the thread this CPU.
    pub(crate) fn become_cpu(&self, machine: u32, cpu: CpuId) {
        self.machine.set(machine);
        self.cpu.set(cpu);
    }

    /// Ends the thread's time as a CPU: nothing that runs on it from now on can pin.
    pub(crate) fn leave(&self) {
        self.machine.set(0);
    }

    /// Counts a guard that holds the caller on its CPU.
    #[inline(always)]
    pub(crate) fn pin(&self) {
        if DEPTH_COUNTED {
            self.preempt_depth.set(self.preempt_depth.get() + 1);
        }
    }

    /// Counts the end of such a guard.
    #[inline(always)]
    pub(crate) fn unpin(&self) {
        if DEPTH_COUNTED {
            debug_assert!(self.preempt_depth.get() > 0, "preemption enabled more often than disabled");
            self.preempt_depth.set(self.preempt_depth.get().wrapping_sub(1));
        }
    }

    /// Returns how many guards hold the caller on its CPU; `None` in builds that do not count.
    pub(crate) fn preempt_depth(&self) -> Option<u32> {
        DEPTH_COUNTED.then(|| self.preempt_depth.get())
    }

    /// Keeps interrupts off until the matching [`ThisThread::release_irqs`], without an interrupt point.
    #[inline(always)]
    pub(crate) fn hold_irqs(&self) {
        // Only guards turn interrupts off here: the first one has found them on.
        self.set_irq_depth(self.irq_depth.get().enter(IrqState::On));
    }

    /// Undoes one [`ThisThread::hold_irqs`].
    #[inline(always)]
    pub(crate) fn release_irqs(&self) {
        self.set_irq_depth(self.irq_depth.get().leave().0);
    }

    /// Keeps interrupts off until the value is dropped, without an interrupt point.
    pub(crate) fn held(&self) -> Held<'_> {
        self.hold_irqs();
        Held(self)
    }

    /// Code before the change stays before, code after it stays after, for the compiler as for the instructions of a
    /// CPU: a signal must find it so.
    #[inline(always)]
    fn set_irq_depth(&self, depth: IrqDepth) {
        compiler_fence(Ordering::SeqCst);
        self.irq_depth.set(depth);
        compiler_fence(Ordering::SeqCst);
    }

    /// Returns whether the CPU takes interrupts.
    #[inline(always)]
    pub(crate) fn irq(&self) -> IrqState {
        if self.irq_depth.get() == IrqDepth::NONE { IrqState::On } else { IrqState::Off }
    }
}

/// A stretch without interrupts. A guard that the code inside has left behind keeps them off.
#[derive(Debug)]
pub(crate) struct Held<'this>(&'this ThisThread);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release_irqs();
    }
}

#[cold]
#[inline(never)]
fn not_a_cpu() -> ! {
    panic!("this thread is no CPU of this machine: call from within HostedMachine::run_on or enter");
}
