//! Several CPUs: starting them, knowing which run, idling, and calling each other.
//!
//! CPUs are started one after the other. Each gets the next dense [`CpuId`], whose area and stacks were made at boot;
//! one that does not answer is reported, and the next takes its number.

pub mod call;
pub mod flush;
pub mod nmi;
pub mod trampoline;
pub mod work;

use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use rhumb_machine::{CpuId, CpuMask, MAX_CPUS, Machine};
use x86_64::instructions::interrupts;

use crate::arch::cpu::{self, Features};
use crate::arch::percpu::{self, PerCpu};
use crate::arch::{apic, clock, idt};
use crate::kasan;
use crate::machine::{self, MACHINE};
use crate::mm;
use crate::mm::layout::Stack;
use trampoline::Mailbox;

/// A CPU that takes longer than this to answer is left out (Linux waits 10 s; hardware answers within milliseconds).
const ANSWER_NS: u64 = 1_000_000_000;
const INIT_NS: u64 = 10_000_000;
const BETWEEN_STARTUPS_NS: u64 = 200_000;

/// Set by the CPU that is being started when it finds that it cannot take part.
static REFUSED: AtomicBool = AtomicBool::new(false);

static ONLINE: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];

/// The CPUs that run.
pub fn online() -> CpuMask {
    let mut mask = CpuMask::EMPTY;
    for (index, word) in ONLINE.iter().enumerate() {
        let mut bits = word.load(Acquire);
        while bits != 0 {
            if let Some(cpu) = CpuId::new(index * 64 + bits.trailing_zeros() as usize) {
                mask.insert(cpu);
            }
            bits &= bits - 1;
        }
    }
    mask
}

fn set_online(cpu: CpuId) {
    ONLINE[cpu.index() / 64].fetch_or(1 << (cpu.index() % 64), AcqRel);
}

/// Settles the CPU that `area` belongs to: descriptors, traps, protections, APIC. Interrupts stay off.
pub fn settle(area: &'static PerCpu) {
    // SAFETY: each CPU comes here once, on its own area; its stacks were mapped at boot and nothing uses them yet.
    unsafe { area.descriptors.load(|stack| Stack::Interrupt(stack).top(area.id())) };
    idt::load();
    cpu::enable_protections();
    apic::enable();
    area.apic_id.store(apic::id(), Relaxed);
    set_online(area.id());
    // Who changed the tables before that did not count this CPU among those to flush; who changes them from now on does
    // (I6).
    flush::all_local();
}

/// One CPU to start: its number on the bus and its node.
pub struct Candidate {
    pub apic_id: u32,
    pub node: rhumb_machine::NodeId,
}

/// Starts each candidate that answers, until the areas are used up. Returns how many run now, this CPU included.
pub fn start_others(candidates: impl Iterator<Item = Candidate>) -> usize {
    let mut next = 1;
    for candidate in candidates {
        if !apic::can_address(candidate.apic_id) {
            log::warn!("the CPU with APIC id {} needs an x2APIC to be called: left out", candidate.apic_id);
            continue;
        }
        let Some(area) = CpuId::new(next).and_then(percpu::of) else { break };
        area.apic_id.store(candidate.apic_id, Relaxed);
        area.set_node(candidate.node);
        match start(area) {
            Ok(()) => next += 1,
            Err(NoAnswer) => {
                log::warn!("the CPU with APIC id {} does not start: left out", candidate.apic_id);
            }
        }
    }
    trampoline::retire();
    next
}

/// The CPU was told to start and did not. It has been reset and waits for a start-up that never comes.
struct NoAnswer;

/// Starts one CPU. Whoever fails is reset again, whatever it was doing: it may not come late, when another CPU has its
/// area and stack, or when the trampoline is gone (it would fault without an interrupt table and take the machine with
/// it), nor stand halted without a table where a non-maskable interrupt could find it.
fn start(area: &'static PerCpu) -> Result<(), NoAnswer> {
    let apic_id = area.apic_id.load(Relaxed);
    REFUSED.store(false, Relaxed);
    kasan::stack_is_fresh(area.id());
    let mailbox = Mailbox::post(area);
    let answer = bring_up(area, apic_id, &mailbox);
    if answer.is_err() {
        apic::send_init(apic_id);
        clock::delay_ns(INIT_NS);
    }
    answer
}

fn bring_up(area: &'static PerCpu, apic_id: u32, mailbox: &Mailbox) -> Result<(), NoAnswer> {
    apic::send_init(apic_id);
    clock::delay_ns(INIT_NS);
    // Two start-ups, as the manual wants: some CPUs miss the first.
    for _ in 0..2 {
        if mailbox.is_taken() {
            break;
        }
        apic::send_startup(apic_id, trampoline::page_number());
        clock::delay_ns(BETWEEN_STARTUPS_NS);
    }
    // Not taken back after the first wait: it is on its way, and gets a second one.
    if wait_online(area) || (!mailbox.take_back() && wait_online(area)) { Ok(()) } else { Err(NoAnswer) }
}

/// Whether the CPU of `area` comes online in time.
fn wait_online(area: &PerCpu) -> bool {
    let deadline = clock::now_ns() + ANSWER_NS;
    while !online().contains(area.id()) {
        if REFUSED.load(Acquire) || clock::now_ns() > deadline {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Where a started CPU arrives in Rust, on its own stack, with the trampoline's tables still loaded.
pub fn arrive(area: &'static PerCpu) -> ! {
    mm::tables::load_root();
    percpu::install(area);
    let mine = Features::read();
    if let Some(name) = cpu::features().missing_in(&mine) {
        // It has no descriptors yet, so it must not take part in anything: it says so and stops.
        log::warn!("CPU {} lacks {name}, which the boot CPU has", area.id());
        REFUSED.store(true, Release);
        cpu::halt_for_ever();
    }
    settle(area);
    idle()
}

/// What a CPU does when it has nothing to do: tidies up, and halts until an interrupt.
pub fn idle() -> ! {
    loop {
        tidy_up();
        wait_for_interrupt(work::is_waiting);
        work::do_waiting();
    }
}

/// What a CPU does before it halts: gives back the frames and objects that others asked it for, and fills up the direct
/// map's reserve.
pub fn tidy_up() {
    if let Some(frames) = mm::frames::frames() {
        let guard = MACHINE.pin();
        frames.tick(guard.pinned());
        if let Some(slabs) = mm::objects::slabs() {
            slabs.tick(guard.pinned());
        }
    }
    mm::direct_map::reserve::fill_if_wanted();
}

/// Halts until an interrupt comes, unless `ready` says that what is waited for is there already. Meanwhile the CPU is
/// lazy: flushes do not wake it. Under a guard that keeps interrupts off there is nothing to wait for: it returns.
pub fn wait_for_interrupt(ready: impl FnOnce() -> bool) {
    if machine::holds_irqs_off() {
        core::hint::spin_loop();
        return;
    }
    interrupts::disable();
    if ready() {
        interrupts::enable();
    } else {
        flush::enter_laziness();
        // Interrupts come on with the halt itself: one that comes between check and halt ends the halt.
        cpu::enable_interrupts_and_halt();
        // The interrupt has left laziness already. What ends a halt without one that reaches us must not end it lazily.
        leave_after_halt();
    }
}

fn leave_after_halt() {
    let _irq_off = MACHINE.irq_off();
    flush::leave_laziness();
}
