//! Flushes of TLBs: on this CPU, on others, and for CPUs that idle.
//!
//! A batch says what to drop ([`rhumb_pagetable::flush`]), and which instructions drop it. Here are the instructions,
//! the round of cross-calls, the wait for a CPU that is being started, and the idle CPU's laziness:
//!
//! ```text
//!   idle loop (interrupts off): nothing to do ─> enter_laziness ─> halt ─> interrupt: leave_laziness first ─> its handler
//! ```
//!
//! Between entering and leaving, an idle CPU uses the code of the idle loop and of the entry of interrupts, its stack,
//! its own area and the descriptor tables: none of them ever gets another frame or less access while a CPU runs.

use core::arch::asm;

use rhumb_bpf::{Context, Field};
use rhumb_machine::{CpuId, CpuMask, CpuSet, FirstCpus, FlushScope, IrqOff, Machine, Pinned, Tlb, VirtAddr};
use rhumb_pagetable::flush::{FlushFeatures, MarkLeft, Rounds, Sequence, Woken, sequence};
use rhumb_pagetable::{
    DetachedTables, FlushBatch, FlushCause, FlushCounters, FlushStats, Flushed, UnmapOutcome,
};
use rhumb_smp::call::Waited;
use rhumb_smp::start::Starts;
use x86_64::registers::control::{Cr4, Cr4Flags};

use super::area::COUNT;
use super::machine::{KernelMachine, MACHINE};
use super::trace::{self, Event};
use super::{area, call, online, reasons};
use crate::arch::features::features;

/// While a start is under way, a CPU that is not listed walks the kernel's tables: see [`flush_targets`].
pub(super) static STARTS: Starts = Starts::new();

/// The flushes, by cause; windows count their own.
pub static COUNTERS: FlushCounters = FlushCounters::new();

/// Counts a flush, and tells of it.
pub fn count(cause: FlushCause, flushed: FlushStats) {
    COUNTERS.count(cause, flushed);
    if trace::is_heard(Event::Flush) && !flushed.was_empty() {
        trace::tell(Event::Flush, || {
            Context::EMPTY
                .with(Field::Reason, reasons::number_of(cause.name()))
                .with(Field::Size, flushed.pages().into())
                .with(Field::First, flushed.interrupts().into())
                .with(Field::Second, flushed.left_to_lazy().into())
        });
    }
}

// SAFETY: `flush_remote` waits for every target, a lazy CPU flushes first thing when it wakes, and a flusher waits for
// a CPU that starts until that CPU is listed (`flush_targets`).
unsafe impl Tlb for KernelMachine {
    fn flush_local(&self, _: Pinned<'_>, scope: FlushScope<'_>) {
        COUNT.flushes.increment();
        flush_local(scope);
    }

    fn flush_remote(&self, pinned: Pinned<'_>, targets: &CpuSet, scope: FlushScope<'_>) {
        flush_remote(pinned, targets, scope);
    }

    fn flush_targets(&self) -> FirstCpus {
        flush_targets()
    }

    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        leave_to_lazy(targets)
    }
}

/// The rounds in which changes of the direct map are flushed.
pub static ROUNDS: Rounds = Rounds::new(KernelMachine::IDENTITY);

/// Returns a wait for the round of another CPU: each turn of it answers calls. It panics where one leader takes too
/// long; a leader whose round is not answered panics before that.
pub fn waiting_for_round() -> impl FnMut() {
    let mut waited = Waited::default();
    let mut leader = None;
    move || {
        call::serve_if_here();
        core::hint::spin_loop();
        waited.turns += 1;
        if waited.turns.is_multiple_of(call::TURNS_PER_LOOK) {
            let leads = ROUNDS.leader();
            // Another round, which has as much time.
            if leads != leader {
                (leader, waited.since) = (leads, 0);
            }
            call::lose_patience(&mut waited, || leads.map(CpuMask::only).unwrap_or_default());
        }
    }
}

/// Flushes `batch` on every CPU that runs, and counts it.
pub fn flush_everywhere(batch: &mut FlushBatch, cause: FlushCause) -> FlushStats {
    let guard = MACHINE.pin();
    let stats = batch.flush(&MACHINE, guard.pinned());
    count(cause, stats);
    stats
}

/// Flushes what was unmapped on every CPU that runs, and counts it.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "the kernel maps nothing after boot"))]
pub fn flush_unmapped(mut unmapped: UnmapOutcome, cause: FlushCause) -> Flushed<DetachedTables> {
    let guard = MACHINE.pin();
    let flushed = unmapped.tables.flush(&MACHINE, guard.pinned());
    count(cause, flushed.stats());
    flushed
}

/// Drops `scope` on this CPU.
pub fn flush_local(scope: FlushScope<'_>) {
    match (sequence(scope, flush_features()), scope) {
        (Sequence::EachPage, FlushScope::Pages { runs }) => {
            for &run in runs {
                COUNT.flushes_page.add(u64::from(run.pages()));
                run.addresses().for_each(flush_page_local);
            }
        }
        (sequence, _) => {
            COUNT.flushes_all.increment();
            drop_by(sequence);
        }
    }
}

/// Drops `scope` on each CPU of `targets` but this one, in one round, and returns when all have.
pub fn flush_remote(pinned: Pinned<'_>, targets: &CpuSet, scope: FlushScope<'_>) {
    COUNT.flushes_remote.increment();
    call::run_on(
        pinned,
        targets,
        &|| {
            COUNT.flushes_received.increment();
            flush_local(scope);
        },
        || (),
    );
}

/// Returns the CPUs that may hold a translation of the kernel's tables, but for those that have parked: these use the
/// image alone, whose tables stay.
///
/// A CPU that starts walks the tables before it is listed, and cannot flush for others then. So the caller waits for a
/// start that is under way: a millisecond; where that CPU does not answer, as long as it is waited for. Calls are
/// served meanwhile.
pub fn flush_targets() -> FirstCpus {
    let mut waited = Waited::default();
    STARTS.wait(|| {
        call::serve_if_here();
        core::hint::spin_loop();
        call::lose_patience(&mut waited, || CpuMask::only(CpuId::BOOT));
    });
    FirstCpus(online::online_count())
}

/// Leaves a mark on each CPU of `targets` that idles, takes these CPUs out, and returns how many they are. A CPU that
/// does not run has no mark left: it is not lazy.
pub fn leave_to_lazy(targets: &mut CpuSet) -> u32 {
    targets.take_out(|cpu| area::of(cpu).is_some_and(|area| area.leave_mark() == MarkLeft::Left))
}

/// Says that this CPU uses nothing that may be flushed from now on. The next thing is to halt.
pub fn enter_laziness(irq_off: IrqOff<'_>) {
    area::here(irq_off.pinned()).lazy().enter();
}

/// Catches up on flushes that this CPU has missed, as the first thing in every trap and after a halt. One load where it
/// was not lazy.
#[inline(always)]
pub fn leave_laziness(irq_off: IrqOff<'_>) {
    if area::here(irq_off.pinned()).lazy().leave() == Woken::FlushAll {
        catch_up();
    }
}

/// Flushes all that this CPU may have missed.
///
/// A non-maskable interrupt that comes right before it finds a CPU that runs and has not flushed: its handler uses no
/// more than an idle CPU does (`lab::nmi`), stops the CPU, or reports what will stop it.
#[cold]
fn catch_up() {
    flush_all_local();
    COUNT.flushes_lazy.increment();
}

/// Drops every translation of this CPU, global ones included.
pub fn flush_all_local() {
    flush_local(FlushScope::All);
}

/// Drops this CPU's translation of the page that holds `page`, of whatever size, global or not.
///
/// Why not the x86_64 crate's: its addresses are 48 bits wide.
pub fn flush_page_local(page: VirtAddr) {
    // SAFETY: dropping a translation changes no meaning: the CPU walks the tables again.
    unsafe { asm!("invlpg [{}]", in(reg) page.get(), options(nostack, preserves_flags)) };
}

fn flush_features() -> FlushFeatures {
    FlushFeatures { global_enabled: Cr4::read().contains(Cr4Flags::PAGE_GLOBAL), invpcid: features().invpcid }
}

fn drop_by(sequence: Sequence) {
    match sequence {
        Sequence::InvpcidAll => invpcid_all(),
        Sequence::EachPage | Sequence::ToggleGlobal => toggle_global(),
        Sequence::ReloadRoot => x86_64::instructions::tlb::flush_all(),
    }
}

/// Drops everything, global translations included, by INVPCID type 2, which looks at no address.
///
/// To the compiler it writes memory, so that no access moves to the other side of the flush.
fn invpcid_all() {
    let descriptor = [0u64; 2];
    // SAFETY: chosen only where CPUID has the instruction, on this CPU, too (`arch::requirements`); the descriptor is
    // 16 readable bytes, all zero as this type wants.
    unsafe { asm!("invpcid {}, [{}]", in(reg) 2u64, in(reg) &raw const descriptor, options(nostack)) };
}

/// Changes CR4.PGE and changes it back: either drops everything (SDM volume 3, 5.10.4.1). An interrupt in between finds
/// the bit clear, which costs it time only.
fn toggle_global() {
    let bits = Cr4::read();
    // SAFETY: chosen only where the CPU has the bit; the second write restores what was there.
    unsafe {
        Cr4::write(bits ^ Cr4Flags::PAGE_GLOBAL);
        Cr4::write(bits);
    }
}
