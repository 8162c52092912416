//! A thread as a CPU: how it becomes one, and what it holds while it is.
//!
//! [`HostedMachine::run_on`] and [`HostedMachine::enter`] give each CPU a thread of its own, and the CPU is free again
//! only when that thread has ended. A guard is not `Send`, so a guard cannot leave its thread: no guard and no token
//! can outlive the time in which the thread is the CPU, thread-locals and leaks included.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;
use std::io;
use std::panic::resume_unwind;
use std::sync::Barrier;
use std::thread;

use rhumb_machine::{CpuId, CpuMask, IrqOff, IrqState, Machine, NodeId, Pinned};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::config::CorePinning;
use crate::interrupt::{self, Strike};
use crate::irqsoff::{self, IrqsOff, Stretch};
use crate::machine::{HostedMachine, Seat};
use crate::observer::{self, Store};
use crate::seats;
use crate::storm;
use crate::thread::{THIS, ThisThread};

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
        THIS.with(ThisThread::preempt_depth)
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
        handler: &mut dyn FnMut(IrqOff<'_>),
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
    /// The handler does only what a signal handler may: no heap, no lock that the body may hold. It shares only
    /// atomics with the body.
    ///
    /// # Errors
    /// If the host gives no timer; then the body has not run.
    pub unsafe fn with_storm<T>(
        &self,
        handler: &mut dyn FnMut(IrqOff<'_>),
        body: impl FnOnce() -> T,
    ) -> io::Result<(T, u64)> {
        // SAFETY: the caller promises that the handler does only what a signal handler may, and shares only atomics.
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

    /// Runs `body` as [`Cpu::trace_irqs_off`] does, and returns every stretch by itself, in the order in which they
    /// came. Work that is done again takes the same stretches: of several runs, the least time of each stretch is what
    /// the host has added nothing to.
    pub fn trace_each_irqs_off<T>(&self, body: impl FnOnce() -> T) -> (T, Vec<Stretch>) {
        irqsoff::traced_each(body)
    }

    /// Interrupts this CPU now: runs `handler` as an interrupt's handler, if the CPU takes interrupts. Says whether it
    /// did.
    pub fn interrupt(&self, handler: impl FnOnce(IrqOff<'_>)) -> bool {
        THIS.with(|this| {
            if this.irq() == IrqState::Off {
                return false;
            }
            let _held = this.held();
            // SAFETY: interrupts are off until `_held` is dropped, after the handler; this thread is this CPU.
            handler(unsafe { IrqOff::assume_on(self.id, self.machine.id()) });
            self.machine.count_injected(self.id, 1);
            true
        })
    }

    /// Takes an interrupt that is due on this CPU, for loops that call nothing of the machine.
    pub fn interrupt_point(&self) {
        THIS.with(interrupt::point);
    }
}

impl HostedMachine {
    /// Runs `work` on a thread of its own for each CPU of `cpus`; all of them start together. Returns what each
    /// returned, in ascending order of CPUs. A panic on one CPU goes on in the caller, after all have ended.
    ///
    /// # Errors
    /// If a CPU does not exist or is taken; then nothing ran.
    pub fn run_on<T: Send>(
        &self,
        cpus: CpuMask,
        work: impl Fn(&Cpu<'_>) -> T + Sync,
    ) -> Result<Vec<T>, EnterError> {
        let seats = cpus.iter().map(|cpu| self.sit(cpu)).collect::<Result<Vec<_>, _>>()?;
        let start = Barrier::new(seats.len().max(1));
        let run = |cpu: CpuId| {
            become_cpu(self, cpu, |cpu| {
                start.wait();
                work(cpu)
            })
        };
        let run = &run;
        Ok(thread::scope(|scope| {
            let threads: Vec<_> = cpus.iter().map(|cpu| scope.spawn(move || run(cpu))).collect();
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            ended.into_iter().map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        }))
    }

    /// Runs `work` as CPU `cpu`, on a thread of its own, and returns what it returned. A panic goes on in the caller.
    ///
    /// The thread is what makes guards safe: a guard is not `Send`, so a guard that `work` makes ends with the thread
    /// at the latest, and only then the CPU is free again.
    ///
    /// ```compile_fail
    /// # use rhumb_hosted::{HostedMachine, Machine};
    /// # use rhumb_machine::CpuId;
    /// let machine = HostedMachine::builder().cpus(1).ram_bytes(1 << 20).build().unwrap();
    /// let escaped = machine.enter(CpuId::BOOT, |_| machine.pin()); // CPU 0 is free, and this says that it is not
    /// ```
    /// ```compile_fail
    /// # use rhumb_hosted::{HostedMachine, Machine};
    /// # use rhumb_machine::CpuId;
    /// let machine = HostedMachine::builder().cpus(1).ram_bytes(1 << 20).build().unwrap();
    /// let mut escaped = None;
    /// machine.enter(CpuId::BOOT, |_| escaped = Some(machine.irq_off())).unwrap();
    /// ```
    ///
    /// # Errors
    /// If the CPU does not exist or is taken. Without the crate's feature `interrupts` another machine's CPU of the
    /// same number is waited for, or refused where the caller is a CPU itself.
    pub fn enter<T: Send>(
        &self,
        cpu: CpuId,
        work: impl FnOnce(&Cpu<'_>) -> T + Send,
    ) -> Result<T, EnterError> {
        let _seat = self.sit(cpu)?;
        // To join is to wait until the thread is gone, destructors of its thread-locals included.
        let ended = thread::scope(|scope| scope.spawn(|| become_cpu(self, cpu, work)).join());
        Ok(ended.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Takes the seat of `cpu`.
    fn sit(&self, cpu: CpuId) -> Result<Sitting<'_>, EnterError> {
        let cpus = self.seats().len();
        let seat = self.seats().get(cpu.index()).ok_or(EnterError::NoSuchCpu { cpu, cpus })?;
        // Acquire and release: the thread that sits down sees what the one before did as this CPU.
        if seat.taken.swap(true, Ordering::Acquire) {
            return Err(EnterError::CpuTaken { cpu });
        }
        let mut sitting = Sitting { seat, place: None };
        if !Self::CHECKS_TOKENS {
            let is_cpu = THIS.with(ThisThread::is_cpu);
            if !seats::PROGRAM.take(cpu, self.id(), is_cpu) {
                return Err(EnterError::CpuTaken { cpu });
            }
            sitting.place = Some(cpu);
        }
        Ok(sitting)
    }
}

/// A taken seat; free again when dropped.
struct Sitting<'machine> {
    seat: &'machine Seat,
    /// Its place among the program's, where tokens are not compared.
    place: Option<CpuId>,
}

impl Drop for Sitting<'_> {
    fn drop(&mut self) {
        if let Some(cpu) = self.place {
            seats::PROGRAM.free(cpu);
        }
        self.seat.taken.store(false, Ordering::Release);
    }
}

/// Makes the calling thread `id` of `machine` for the length of `work`. The caller holds the CPU's seat until this
/// thread has ended.
pub(crate) fn become_cpu<T>(machine: &HostedMachine, id: CpuId, work: impl FnOnce(&Cpu<'_>) -> T) -> T {
    let core = match machine.pinning() {
        CorePinning::Free => None,
        CorePinning::OneEach => bind_to_core(id),
    };
    THIS.with(|this| this.become_cpu(machine.id(), id));
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

/// Ends the thread's time as a CPU, also when the work panics, so that code which runs as the thread ends cannot pin
/// any more.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        THIS.with(ThisThread::leave);
    }
}
