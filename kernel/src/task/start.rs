//! Bringing CPUs up: each gets its stacks, and its two threads, before it starts; then it becomes its idle thread.
//!
//! ```text
//!   boot CPU    bring_up on its main stack ──> idle thread on a stack of its own ──> the prompt on the main stack
//!   others      trampoline on the main stack ──> idle thread on a stack of its own ──> the worker on the main stack
//! ```
//!
//! So the large stack on which a CPU came up serves the thread that needs one.

use core::fmt;

use rhumb_frames::AllocError;
use rhumb_kernelmap::AreaError;
use rhumb_machine::{CpuId, CpuMask, Machine, PageSize, impossible};
use rhumb_sched::Policy;
use rhumb_slab::SpecError;
use spin::Once;
use x86_64::instructions::interrupts;

use super::local::Local;
use super::thread::{self, Place, SpawnError};
use super::{ThreadRef, idle, kernel, local, scheduler, stacks, worker};
use crate::arch::{halt, switch};
use crate::cpu::area::{self, PerCpu};
use crate::cpu::machine::MACHINE;
use crate::cpu::{once, preempt, work};
use crate::layout::Stack;
use crate::mm;
use crate::mm::stacks::KernelStack;

/// The prompt, until it starts.
static PROMPT: Once<ThreadRef> = Once::new();

/// Why a CPU cannot run threads.
#[derive(Debug)]
pub enum Unprepared {
    /// There are no object caches.
    NoObjects,
    /// The cache of threads cannot be made.
    Cache(SpecError),
    /// There is no memory for what the CPU keeps.
    NoMemory(Option<AllocError>),
    NoStack(AreaError),
    Thread(SpawnError),
    /// The boot CPU runs no threads, so that others have none to run.
    NoThreads,
}

impl fmt::Display for Unprepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObjects | Self::NoMemory(None) => f.write_str("there are no allocators"),
            Self::Cache(error) => error.fmt(f),
            Self::NoMemory(Some(error)) => error.fmt(f),
            Self::NoStack(error) => error.fmt(f),
            Self::Thread(error) => error.fmt(f),
            Self::NoThreads => f.write_str("there are no threads"),
        }
    }
}

/// Lets the kernel have threads: prepares the boot CPU, on that CPU, before others are prepared. Once.
///
/// # Errors
/// [`Unprepared`]: there are no threads then.
pub fn prepare_boot(boot: &PerCpu) -> Result<(), Unprepared> {
    kernel::make_cache().map_err(|error| error.map_or(Unprepared::NoObjects, Unprepared::Cache))?;
    let main = boot.stacks.range(Stack::Main).unwrap_or_default();
    let local = prepare_threads(boot, || {
        let pages = Stack::Main.bytes() / PageSize::Size4K.bytes();
        KernelStack::new(pages, boot.node()).map(Place::Own).map_err(Unprepared::NoStack)
    })?;
    let only = CpuMask::only(CpuId::BOOT);
    let prompt = thread::make(format_args!("prompt"), Policy::default(), &only, Place::OfCpu(main));
    once::fill(&PROMPT, prompt.map_err(Unprepared::Thread)?);
    if local.idle.get().is_some() {
        preempt::hand_to(Some(&kernel::PREEMPTED));
        work::wake_by(worker::wake);
    }
    Ok(())
}

/// Gives a CPU its stacks and threads, but for those that it has from an earlier call. On the boot CPU.
///
/// # Errors
/// [`Unprepared`]. The CPU keeps all that was made.
pub fn prepare(cpu: &PerCpu) -> Result<(), Unprepared> {
    if PROMPT.get().is_none() {
        return Err(Unprepared::NoThreads);
    }
    mm::stacks::give_to(cpu).map_err(Unprepared::NoStack)?;
    let main = cpu.stacks.range(Stack::Main).unwrap_or_default();
    prepare_threads(cpu, || Ok(Place::OfCpu(main)))?;
    Ok(())
}

fn prepare_threads(
    cpu: &PerCpu,
    worker_stack: impl FnOnce() -> Result<Place, Unprepared>,
) -> Result<&'static Local, Unprepared> {
    let local = local::make(cpu.id(), cpu.node()).map_err(Unprepared::NoMemory)?;
    let (id, only) = (cpu.id(), CpuMask::only(cpu.id()));
    if local.idle.get().is_none() {
        let stack = KernelStack::new(stacks::PAGES, cpu.node()).map_err(Unprepared::NoStack)?;
        let idle = thread::make(format_args!("idle/{id}"), Policy::default(), &only, Place::Own(stack));
        once::fill(&local.idle, idle.map_err(Unprepared::Thread)?);
    }
    if local.worker.get().is_none() {
        let made = thread::make(format_args!("worker/{id}"), Policy::default(), &only, worker_stack()?);
        once::fill(&local.worker, made.map_err(Unprepared::Thread)?);
    }
    Ok(local)
}

/// Has this CPU, which has been prepared, run threads, from its main stack, and does not come back. The boot CPU, which
/// has a prompt, also comes here where it could not be prepared: then it runs the prompt as it is.
pub fn enter(prompt: fn() -> !) -> ! {
    enter_with(Some(prompt))
}

/// [`enter`] for CPUs without a prompt.
pub fn enter_other() -> ! {
    enter_with(None)
}

fn enter_with(prompt: Option<fn() -> !>) -> ! {
    let idle =
        local::of(area::cpu_now()).and_then(|local| local.idle.get()).filter(|_| PROMPT.get().is_some());
    match (idle, prompt) {
        (Some(idle), _) => {
            interrupts::disable();
            let stack = idle.data().stack();
            // SAFETY: the stack is the idle thread's, which begins now; nothing of this one is used again.
            unsafe {
                switch::leave_for(stack.end(), be_idle, prompt.map_or(0, |prompt| prompt as usize as u64))
            }
        }
        (None, Some(prompt)) => prompt(),
        (None, None) => {
            impossible!("a CPU is prepared before it starts");
            halt::permanently()
        }
    }
}

/// The idle thread, from its first instruction on: with interrupts off.
extern "sysv64" fn be_idle(prompt: u64) -> ! {
    let cpu = area::cpu_now();
    let local = local::expect(cpu);
    begin_threads(local, cpu);
    if let (Some(thread), true) = (PROMPT.get(), prompt != 0) {
        // SAFETY: `enter_with` passed a function of this type.
        let prompt = unsafe { core::mem::transmute::<usize, fn() -> !>(prompt as usize) };
        // SAFETY: the thread was made for this, and the CPU has left its main stack.
        unsafe { thread::lay(thread, move || prompt()) };
        start(thread);
    }
    interrupts::enable();
    idle::run()
}

fn begin_threads(local: &'static Local, cpu: CpuId) {
    let guard = MACHINE.irq_off();
    let (Some(idle), Some(worker)) = (local.idle.get(), local.worker.get()) else {
        return impossible!("a CPU is prepared before it starts");
    };
    let (thread, stack) = (core::ptr::from_ref(&**idle).cast(), idle.data().stack());
    // SAFETY: this is the idle thread's code, on its stack, with interrupts off; the record is permanent.
    unsafe { crate::cpu::switch::note_thread(thread, stack, guard.irq_off().pinned()) };
    // SAFETY: this code is the idle thread's and no other's; `idle::run` does as an idle thread does.
    if unsafe { scheduler().bring_online(idle, guard.irq_off()) }.is_err() {
        return impossible!("a CPU comes online once, with an idle thread of its own");
    }
    // SAFETY: the worker was made for this. Where its stack is the CPU's main stack, the CPU has left that.
    unsafe { thread::lay(worker, move || worker::run(cpu)) };
    start(worker);
}

fn start(thread: &ThreadRef) {
    if scheduler().start(thread).is_err() {
        impossible!("the CPU of the thread {} is online, and starts it once", thread.data().name());
    }
}
