//! A thread as a CPU: who it is, and how deep preemption and interrupts are off on it.
//!
//! All of it lies in one thread-local of plain cells, so that [`Machine::pin`] is two loads and two comparisons (and an
//! increment in checked builds). [`HostedMachine::run_on`] and [`HostedMachine::enter`] give each CPU a thread of its
//! own, and the CPU is free again only when that thread has ended. A guard is not `Send`, so a guard cannot leave its
//! thread: no guard and no token can outlive the time in which the thread is the CPU, thread-locals and leaks included.
//!
//! Why preemption is only a depth: the host may preempt the thread, but no other thread ever runs *as the same CPU*,
//! and that is all that a [`Pinned`] token promises.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::panic::Location;
use core::sync::atomic::{Ordering, compiler_fence};
use std::io;

#[cfg(doc)]
use rhumb_machine::Machine;
use rhumb_machine::{CpuId, IrqDepth, IrqState, NodeId, Pinned};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::config::CorePinning;
use crate::interrupt::{self, Armed, Strike};
use crate::irqsoff::{self, IrqsOff, Stretch, Tracing};
use crate::machine::HostedMachine;
use crate::observer::{self, Store, Watching};
use crate::storm::{self, Raging};

/// Why a thread cannot become a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EnterError {
    /// The machine has no such CPU.
    NoSuchCpu {
        /// The CPU that was named.
        cpu: CpuId,
        /// How many there are.
        cpus: usize,
    },
    /// Another thread is that CPU now.
    CpuTaken {
        /// The CPU that was named.
        cpu: CpuId,
    },
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSuchCpu { cpu, cpus } => write!(f, "CPU {cpu} named, but CPUs are 0..{cpus}"),
            Self::CpuTaken { cpu } => write!(f, "another thread is CPU {cpu}"),
        }
    }
}

impl std::error::Error for EnterError {}

/// Whether guards are counted: in checked builds. A count that goes up and down in memory is a chain through the
/// store buffer, 3 ns for a pair of guards, which would be part of every benchmark that pins.
const DEPTH_COUNTED: bool = cfg!(debug_assertions);

/// A thread's knowledge of itself. Machine 0 is no machine.
#[derive(Debug)]
pub(crate) struct ThisThread {
    machine: Cell<u32>,
    cpu: Cell<CpuId>,
    preempt_depth: Cell<u32>,
    irq_depth: Cell<IrqDepth>,
    pub(crate) armed: Cell<Option<Armed>>,
    pub(crate) storm: Cell<Option<Raging>>,
    pub(crate) observer: Cell<Option<Watching>>,
    pub(crate) tracer: Cell<Option<Tracing>>,
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

    #[inline(always)]
    pub(crate) fn preempt_disable(&self) {
        if DEPTH_COUNTED {
            self.preempt_depth.set(self.preempt_depth.get() + 1);
        }
        interrupt::point(self);
    }

    #[inline(always)]
    pub(crate) fn preempt_enable(&self) {
        interrupt::point(self);
        if DEPTH_COUNTED {
            debug_assert!(self.preempt_depth.get() > 0, "preemption enabled more often than disabled");
            self.preempt_depth.set(self.preempt_depth.get().wrapping_sub(1));
        }
    }

    #[inline(always)]
    pub(crate) fn irq_save(&self, place: &'static Location<'static>) {
        interrupt::point(self);
        if cfg!(feature = "interrupts") && self.irq() == IrqState::On {
            irqsoff::begin(self, place);
        }
        self.hold_irqs();
    }

    #[inline(always)]
    pub(crate) fn irq_restore(&self) {
        self.release_irqs();
        if cfg!(feature = "interrupts") && self.irq() == IrqState::On {
            irqsoff::end(self);
        }
        interrupt::point(self);
    }

    /// Keeps interrupts off until the matching [`ThisThread::release_irqs`], without an interrupt point.
    #[inline(always)]
    pub(crate) fn hold_irqs(&self) {
        // Only guards turn interrupts off here: the first one has found them on.
        self.set_irq_depth(self.irq_depth.get().enter(IrqState::On));
    }

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

/// A CPU, as its thread holds it. It stays on its thread.
///
/// ```compile_fail
/// fn elsewhere(cpu: &rhumb_hosted::Cpu<'_>) {
///     std::thread::scope(|scope| { scope.spawn(|| cpu.pinned()); });
/// }
/// ```
#[derive(Debug)]
pub struct Cpu<'machine> {
    machine: &'machine HostedMachine,
    id: CpuId,
    core: Option<usize>,
    _this_thread: PhantomData<*mut ()>,
}

impl<'machine> Cpu<'machine> {
    /// Returns its number.
    pub fn id(&self) -> CpuId {
        self.id
    }

    /// Returns its node.
    pub fn node(&self) -> NodeId {
        self.machine.cpu_node(self.id)
    }

    /// Returns the machine that it belongs to.
    pub fn machine(&self) -> &'machine HostedMachine {
        self.machine
    }

    /// Returns the core of the host that it is bound to; `None` where it is not bound or the host refused.
    pub fn core(&self) -> Option<usize> {
        self.core
    }

    /// Returns the proof that the code runs on this CPU, free of charge: no other thread is this CPU while the closure
    /// runs.
    #[inline(always)]
    pub fn pinned(&self) -> Pinned<'_> {
        // SAFETY: this thread is the CPU until the closure that was lent `self` returns, the token borrows `self`,
        // and neither of them leaves the thread.
        unsafe { Pinned::assume_on(self.id, self.machine.id()) }
    }

    /// Returns how many [`Machine::pin`] guards live on this CPU; `None` in builds without debug assertions, which do
    /// not count.
    pub fn preempt_depth(&self) -> Option<u32> {
        DEPTH_COUNTED.then(|| THIS.with(|this| this.preempt_depth.get()))
    }

    /// Tells whether this CPU takes interrupts.
    pub fn irq_state(&self) -> IrqState {
        THIS.with(ThisThread::irq)
    }

    /// Runs `body` while `handler` is armed as this CPU's interrupt handler, striking as `strike` says.
    /// Returns what `body` returned and how often the handler ran. See [`crate::interrupt`].
    pub fn with_interrupts<T>(
        &self,
        strike: Strike,
        handler: &mut dyn FnMut(rhumb_machine::IrqOff<'_>),
        body: impl FnOnce() -> T,
    ) -> (T, u64) {
        let (result, struck) = interrupt::armed(self.pinned(), strike, handler, body);
        self.machine.count_injected(self.id, struck);
        (result, struck)
    }

    /// Runs `body` while `handler` strikes between any two of its instructions, some ten thousand times a second while
    /// it runs. Returns what `body` returned and how often the handler ran. See [`crate::storm`].
    ///
    /// # Safety
    /// The handler does only what a signal handler may: no heap, no lock that the body may hold. What it shares with
    /// the body are atomics.
    ///
    /// # Errors
    /// If the host gives no timer; then the body has not run.
    pub unsafe fn with_storm<T>(
        &self,
        handler: &mut dyn FnMut(rhumb_machine::IrqOff<'_>),
        body: impl FnOnce() -> T,
    ) -> io::Result<(T, u64)> {
        // SAFETY: the caller's promise is passed on.
        let (result, struck) = unsafe { storm::storm(self.pinned(), handler, body) }?;
        self.machine.count_injected(self.id, struck);
        Ok((result, struck))
    }

    /// Runs `body` while `observer` is called after each store that this CPU makes to a page table. Returns what `body`
    /// returned and how many stores there were. See [`crate::observer`].
    pub fn with_observer<T>(&self, observer: &mut dyn FnMut(Store), body: impl FnOnce() -> T) -> (T, u64) {
        observer::observed(observer, body)
    }

    /// Runs `body` and measures each stretch in which a guard keeps interrupts off. Returns what `body` returned, and
    /// the longest stretch of each place that turned them off, the longest of all first. See [`crate::irqsoff`].
    pub fn trace_irqs_off<T>(&self, body: impl FnOnce() -> T) -> (T, Vec<IrqsOff>) {
        irqsoff::traced(body)
    }

    /// Returns the same, with every stretch by itself, in the order in which they came. Work that is done again takes
    /// the same stretches: of several runs, the least time of each stretch is what the host has added nothing to.
    pub fn trace_each_irqs_off<T>(&self, body: impl FnOnce() -> T) -> (T, Vec<Stretch>) {
        irqsoff::traced_each(body)
    }

    /// Interrupts this CPU now: runs `handler` as an interrupt's handler, if the CPU takes interrupts. Says whether it
    /// did.
    pub fn interrupt(&self, handler: impl FnOnce(rhumb_machine::IrqOff<'_>)) -> bool {
        THIS.with(|this| {
            if this.irq() == IrqState::Off {
                return false;
            }
            let _held = this.held();
            // SAFETY: interrupts are off until `_held` is dropped, after the handler; this thread is this CPU.
            handler(unsafe { rhumb_machine::IrqOff::assume_on(self.id, self.machine.id()) });
            self.machine.count_injected(self.id, 1);
            true
        })
    }

    /// A place where this CPU takes an interrupt that is due, for loops that call nothing of the machine.
    pub fn interrupt_point(&self) {
        THIS.with(interrupt::point);
    }
}

/// Makes the calling thread `id` of `machine` for the length of `work`. The caller holds the CPU's seat until this
/// thread has ended.
pub(crate) fn become_cpu<T>(machine: &HostedMachine, id: CpuId, work: impl FnOnce(&Cpu<'_>) -> T) -> T {
    let core = match machine.pinning() {
        CorePinning::Free => None,
        CorePinning::OneEach => bind_to_core(id),
    };
    THIS.with(|this| {
        this.machine.set(machine.id());
        this.cpu.set(id);
    });
    let _leave = Leave;
    let cpu = Cpu { machine, id, core, _this_thread: PhantomData };
    let result = work(&cpu);
    debug_assert_eq!(cpu.preempt_depth(), Some(0), "CPU {id} left with preemption off");
    debug_assert_eq!(cpu.irq_state(), IrqState::On, "CPU {id} left with interrupts off");
    result
}

/// Binds this thread to the core that CPU `id` belongs on. `None` where the host refuses: then it runs unbound.
fn bind_to_core(id: CpuId) -> Option<usize> {
    let before = sched_getaffinity(None).ok()?;
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| before.is_set(core)).collect();
    let core = *usable.get(id.index().checked_rem(usable.len())?)?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).ok()?;
    Some(core)
}

/// Ends the thread's time as a CPU, also when the work panics: what runs as the thread ends cannot pin any more.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        THIS.with(|this| this.machine.set(0));
    }
}
