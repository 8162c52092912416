//! Cross-calls on this machine: `rhumb_smp::call`'s protocol, this machine's interrupts, and an end to waiting.
//!
//! A CPU that does not answer would stop the whole kernel without a word. So waiting ends: after [`PATIENCE_NS`] the
//! CPU that waits panics; the report names the CPUs that have not answered, and says where each of them is.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuId, CpuMask, CpuSet, FirstCpus, IrqOff, MAX_CPUS, Machine, Pinned};
use rhumb_smp::call::{self, Cpus, Inbox, Waited};

use super::area::COUNT;
use super::machine::MACHINE;
use super::{area, clock, online};
use crate::arch::apic;
use crate::arch::idt::vector;

/// A call is served within microseconds on hardware. The host of a virtual machine may let one of its CPUs wait for
/// seconds.
const PATIENCE_NS: u64 = 20_000_000_000;
/// Turns of a waiting loop between two looks at the clock.
pub const TURNS_PER_LOOK: u64 = 1024;

/// This machine, as calls see it.
struct Here;

// SAFETY: an area has one inbox and belongs to one CPU, which serves it in `serve`; boot has sized the inboxes for all
// CPUs that may run; `irq_off` turns interrupts off and keeps the code on its CPU.
unsafe impl Cpus for Here {
    #[inline(always)]
    fn inbox(&self, cpu: CpuId) -> Option<&Inbox> {
        area::of(cpu)?.inbox()
    }

    fn online(&self) -> FirstCpus {
        FirstCpus(online::online_count())
    }

    fn interrupt(&self, target: CpuId) {
        if let Some(area) = area::of(target) {
            apic::send(area.apic_id.load(Relaxed), vector::CALL);
        }
    }

    fn interrupt_others(&self) {
        apic::send_to_others(vector::CALL);
    }

    #[inline(always)]
    fn with_irqs_off<R>(&self, job: impl FnOnce(IrqOff<'_>) -> R) -> R {
        let guard = MACHINE.irq_off();
        job(guard.irq_off())
    }

    fn has_waited(&self, waited: &mut Waited, waiting_for: impl FnOnce() -> CpuMask) {
        core::hint::spin_loop();
        waited.turns += 1;
        if waited.turns.is_multiple_of(TURNS_PER_LOOK) {
            lose_patience(waited, waiting_for);
        }
    }

    #[inline(always)]
    fn has_sent(&self, _: Pinned<'_>) {
        COUNT.calls_sent.increment();
    }

    #[inline(always)]
    fn has_served(&self, _: Pinned<'_>) {
        COUNT.calls_served.increment();
    }
}

/// Keeps account of one wait, of whatever another CPU is to do, and panics when it has taken too long.
pub fn lose_patience(waited: &mut Waited, waiting_for: impl FnOnce() -> CpuMask) {
    let now = clock::ticks();
    if waited.since == 0 {
        waited.since = now;
    } else if clock::ticks_to_ns(now.wrapping_sub(waited.since)) > PATIENCE_NS {
        let missing = waiting_for();
        // It may have answered just now.
        if let Some(first) = missing.iter().next() {
            accuse(&missing);
            panic!("CPU {first} has not answered for {} s", PATIENCE_NS / 1_000_000_000);
        }
    }
}

/// The CPUs for which another one waited too long.
static SILENT: [AtomicU64; MAX_CPUS.div_ceil(64)] = [const { AtomicU64::new(0) }; _];

fn accuse(cpus: &CpuMask) {
    for cpu in cpus.iter() {
        SILENT[cpu.index() / 64].fetch_or(1 << (cpu.index() % 64), Relaxed);
    }
}

/// Returns the CPUs that have not answered, for a report.
pub fn silent() -> CpuMask {
    CpuMask::from_words(SILENT.iter().map(|word| word.load(Relaxed)))
}

/// Runs `remote` on each CPU of `targets` other than this one, `meanwhile` here, and waits until all are done.
/// Cost: one interrupt per target (one in all where the targets are all other CPUs), none where `targets` is empty.
pub fn run_on<F: Fn() + Sync>(pinned: Pinned<'_>, targets: &CpuSet, remote: &F, meanwhile: impl FnOnce()) {
    call::run_on(&Here, pinned, targets, remote, meanwhile);
}

/// Serves this CPU's inbox, if a call waits there; interrupts go off for it. For each turn of a loop in which the CPU
/// waits for another one.
pub fn serve_if_here() {
    let guard = MACHINE.pin();
    call::serve_if_any(&Here, guard.pinned());
}

/// Runs all that waits in this CPU's inbox. Called from the interrupt, and by a CPU that waits.
pub fn serve(irq_off: IrqOff<'_>) {
    call::serve(&Here, irq_off);
}
