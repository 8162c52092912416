//! The kernel as the scheduler sees it: memory, switches, interrupts, alarms; a leaf where `unsafe` lives.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::{CpuId, IrqOff, Machine, Pinned, impossible};
use rhumb_sched::{Kernel, PerCpu, ThreadHome};
use rhumb_slab::{CacheSpec, RawCache, SpecError};
use spin::Once;
use x86_64::instructions::interrupts;

use super::stacks::TooMany;
use super::{Thread, ThreadRef, local, scheduler, thread};
use crate::arch::apic;
use crate::arch::idt::vector;
use crate::cpu::machine::{self, KernelMachine, MACHINE};
use crate::cpu::{area, once, preempt, switch};
use crate::mm::objects;

static RECORDS: Once<RawCache<KernelMachine>> = Once::new();

/// Makes the cache of threads' records. Once.
///
/// # Errors
/// [`SpecError`]; `None` where there are no object caches.
pub fn make_cache() -> Result<(), Option<SpecError>> {
    let slabs = objects::slabs().ok_or(None)?;
    let guard = MACHINE.pin();
    let cache = RawCache::new(slabs, guard.pinned(), &CacheSpec::of::<Thread>("thread")).map_err(Some)?;
    once::fill(&RECORDS, cache);
    Ok(())
}

/// Is called where the running code may be preempted, and the scheduler is wanted.
pub static PREEMPTED: preempt::Scheduler = || {
    {
        let guard = MACHINE.irq_off();
        area::here(guard.irq_off().pinned()).own().is_preempted.store(true, Relaxed);
    }
    scheduler().reschedule();
};

// SAFETY: the cache has objects of the layout of a thread, and gives each to one caller.
unsafe impl ThreadHome for KernelMachine {
    type Data = thread::Data;

    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let cache = RECORDS.get().filter(|_| layout == Layout::new::<Thread>())?;
        let guard = MACHINE.pin();
        cache.alloc(guard.pinned()).ok()
    }

    unsafe fn free(&self, memory: NonNull<u8>, _: Layout) {
        let Some(cache) = RECORDS.get() else { return impossible!("the memory came from the cache") };
        let guard = MACHINE.pin();
        // SAFETY: the memory came from `allocate`, and nothing uses it, by the caller's promise.
        unsafe { cache.free(guard.pinned(), memory) };
    }
}

// SAFETY: 1: `local` has one record for each CPU, permanently. 2: `switch_to` changes stacks, and `thread::begin` calls
// `begin`. 3: see `may_switch`.
unsafe impl Kernel for KernelMachine {
    #[inline(always)]
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Self> {
        &local::expect(cpu).scheduler
    }

    fn request_reschedule(&self, cpu: CpuId, here: Pinned<'_>) {
        if cpu == here.cpu() {
            preempt::want(here);
        } else if let Some(area) = area::of(cpu) {
            apic::send(area.apic_id.load(Relaxed), vector::RESCHEDULE);
        }
    }

    #[inline(always)]
    fn set_alarm(&self, at_ns: Option<u64>, irq_off: IrqOff<'_>) {
        local::expect(irq_off.cpu()).alarm.set(at_ns, irq_off);
    }

    /// With interrupts off, only a call by [`PREEMPTED`] may switch: any other code with interrupts off is a handler, or
    /// has turned them off and may rely on that. Guards count themselves.
    fn may_switch(&self) -> bool {
        if preempt::is_pinned() || machine::holds_irqs_off() {
            return false;
        }
        if interrupts::are_enabled() {
            return true;
        }
        let guard = MACHINE.irq_off();
        area::here(guard.irq_off().pinned()).own().is_preempted.swap(false, Relaxed)
    }

    unsafe fn switch(&self, from: NonNull<Thread>, to: NonNull<Thread>) {
        // SAFETY: both threads are in memory until the switch, by the caller's promise; no reference lasts past it.
        let (keep, next, stack) = unsafe {
            let next = to.as_ref().data();
            (&raw const from.as_ref().data().pointer, &raw const next.pointer, next.stack())
        };
        // SAFETY: interrupts are off by one guard, `from` is the calling thread, `to` is on no CPU, and no token is alive,
        // by the caller's promise. Threads that start have a body.
        unsafe { switch::switch_to(keep, next, to.as_ptr().cast_const().cast(), stack) };
    }

    fn reap(&self, thread: ThreadRef, irq_off: IrqOff<'_>) {
        // SAFETY: the thread has ended, and its CPU, which is this one, runs on another stack. This is called once.
        let stack = unsafe { thread.data().take_stack() };
        if let Some(stack) = stack
            && let TooMany(true) = local::expect(irq_off.cpu()).stacks.keep(stack, irq_off)
        {
            // The worker may not be woken from here: the scheduler is in the middle of a switch. An interrupt may.
            apic::send(area::here(irq_off.pinned()).apic_id.load(Relaxed), vector::RESCHEDULE);
        }
        // Where this is the last reference, the record goes back to its cache, in constant time.
        drop(thread);
    }
}
