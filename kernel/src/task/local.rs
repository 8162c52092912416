//! The data that the kernel keeps for the threads of one CPU, on the node of that CPU.

use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Release},
};

use rhumb_frames::{AllocError, Preference, Request};
use rhumb_machine::{CpuId, MAX_CPUS, Machine, NodeId, Order, PageSize, impossible};
use rhumb_sched::{Limits, PerCpu};
use spin::Once;

use super::alarm::Alarm;
use super::list::List;
use super::stacks::Kept;
use super::{ThreadRef, WaitQueue};
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::mm::{frames, owners};

/// The data of one CPU.
pub struct Local {
    /// The scheduler's.
    pub scheduler: PerCpu<KernelMachine>,
    pub alarm: Alarm,
    /// The stacks of threads that ended here.
    pub stacks: Kept,
    /// The threads that were made here.
    pub threads: List,
    /// Where its worker waits.
    pub work: WaitQueue,
    pub idle: Once<ThreadRef>,
    pub worker: Once<ThreadRef>,
}

const _: () = assert!(size_of::<Local>() <= PageSize::Size4K.bytes() as usize);

impl Local {
    const fn new() -> Self {
        Self {
            scheduler: PerCpu::new(Limits::USUAL),
            alarm: Alarm::new(),
            stacks: Kept::new(),
            threads: List::new(),
            work: WaitQueue::new(),
            idle: Once::new(),
            worker: Once::new(),
        }
    }
}

static BOOT: Local = Local::new();
static LOCALS: [AtomicPtr<Local>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// Makes the data of a CPU, unless it has them. One CPU at a time, before that CPU runs.
///
/// # Errors
/// [`AllocError`]: there is no memory for them; `None` where there is no allocator.
pub fn make(cpu: CpuId, node: NodeId) -> Result<&'static Local, Option<AllocError>> {
    if let Some(there) = of(cpu) {
        return Ok(there);
    }
    let place = if cpu == CpuId::BOOT {
        (&raw const BOOT).cast_mut()
    } else {
        let frames = frames::frames().ok_or(None)?;
        let guard = MACHINE.pin();
        let request = Request::new(Order::BASE).near(Preference::Prefer(node));
        let request = request.owner(owners::OBJECTS.in_frames());
        let frame = frames.alloc(guard.pinned(), request).map_err(Some)?;
        let place = MACHINE.direct(frame.into_pfn().addr()).as_mut_ptr::<Local>();
        // SAFETY: the frame is this CPU's permanently; it is in the direct map (I1), aligned, and large enough.
        unsafe { place.write(Local::new()) };
        place
    };
    LOCALS[cpu.index()].store(place, Release);
    // SAFETY: the data stay there permanently, and are shared from here on.
    Ok(unsafe { &*place })
}

/// Returns the data of a CPU; `None` of one that has none, and does not run.
#[inline(always)]
pub fn of(cpu: CpuId) -> Option<&'static Local> {
    let place = LOCALS[cpu.index()].load(Acquire);
    // SAFETY: only `make` writes the array, with places that stay permanently.
    unsafe { place.as_ref() }
}

/// Returns the data of a CPU that runs threads, or will.
#[inline(always)]
pub fn expect(cpu: CpuId) -> &'static Local {
    of(cpu).unwrap_or_else(|| impossible!("a CPU that runs threads has its data for them" => &BOOT))
}

/// Returns the data of all CPUs that have some, by number.
pub fn all() -> impl Iterator<Item = (CpuId, &'static Local)> {
    (0..MAX_CPUS).filter_map(CpuId::new).filter_map(|cpu| Some((cpu, of(cpu)?)))
}
