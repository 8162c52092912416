//! Several CPUs: starting them, knowing which run, idling, and calling each other.
//!
//! CPUs are started one after the other. Each gets the next dense [`CpuId`], whose area and stacks were made at boot;
//! one that does not answer is reported, and the next takes its number. Whether one that is late takes part is decided
//! once, by a word ([`rhumb_smp::start`]). CPUs that do not take part park, where a machine check finds a handler.

pub mod call;
pub mod flush;
pub mod nmi;
pub mod trampoline;
pub mod work;

use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    fence,
};

use rhumb_machine::{Counted, CpuId, CpuMask, MAX_CPUS, Machine};
use rhumb_smp::apic::Input;
use rhumb_smp::call::Waited;
use rhumb_smp::start::{Progress, Start, StartWord, Starts, TooLate};
use x86_64::instructions::interrupts;

use crate::arch::clock::Deadline;
use crate::arch::cpu::{self, Features, NotTaken};
use crate::arch::percpu::{self, PerCpu};
use crate::arch::{apic, clock, idt, mce, mtrr, quirks};
use crate::kasan;
use crate::logging;
use crate::machine::{self, MACHINE};
use crate::mm;
use crate::mm::layout::Stack;
use trampoline::Mailbox;

/// A CPU that takes longer than this to answer is left out (Linux waits 10 s; hardware answers within milliseconds).
const ANSWER_NS: u64 = 1_000_000_000;
/// How long a CPU that did not answer has for coming to park.
const PARK_NS: u64 = 200_000_000;
const INIT_NS: u64 = 10_000_000;
const BETWEEN_STARTUPS_NS: u64 = 200_000;

/// Whether the CPU that is being started takes part.
static START: StartWord = StartWord::new();
/// While it is under way, a CPU that is not listed walks the kernel's tables: see [`flush_targets`].
static STARTS: Starts = Starts::new();

static ONLINE: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];

/// The CPUs that run.
pub fn online() -> CpuMask {
    CpuMask::from_words(core::array::from_fn(|word| ONLINE[word].load(Acquire)))
}

/// The CPUs that may hold a translation of the kernel's tables, but for those that have parked: these use the image alone,
/// whose tables stay.
///
/// A CPU that starts walks the tables before it is listed, and cannot flush for others then. So the caller waits for a
/// start that is under way: a millisecond; where that CPU does not answer, as long as it is waited for. Calls are served
/// meanwhile.
pub fn flush_targets() -> CpuMask {
    let mut waited = Waited::default();
    STARTS.wait(|| {
        call::serve_if_here();
        core::hint::spin_loop();
        call::lose_patience(&mut waited, || CpuMask::only(CpuId::BOOT));
    });
    online()
}

fn set_online(cpu: CpuId) {
    ONLINE[cpu.index() / 64].fetch_or(1 << (cpu.index() % 64), AcqRel);
}

/// Settles the CPU that `area` belongs to, all but for taking part: descriptors, traps, protections, machine checks, APIC.
/// Interrupts stay off.
///
/// Returns what the firmware has left of machine checks: to be told when the CPU takes part.
///
/// # Errors
/// The CPU cannot go on.
fn settle(area: &'static PerCpu) -> Result<mce::Old, NotTaken> {
    // SAFETY: each CPU comes here once, on its own area; its stacks were mapped at boot and nothing uses them yet.
    unsafe { area.descriptors.load(|stack| Stack::Interrupt(stack).top(area.id())) };
    idt::load();
    let old = mce::enable();
    cpu::enable_protections()?;
    quirks::keep_timer_in_halt();
    apic::enable(area.inputs());
    area.apic_id.store(apic::id(), Relaxed);
    Ok(old)
}

/// Lets the CPU that `area` belongs to take part.
fn take_part(area: &PerCpu) {
    set_online(area.id());
    // A flusher that does not find this CPU online has written its entries before the start began (`flush_targets`). For
    // the boot CPU, which no CPU starts: before this fence, and the flush drops all that was read before (I6).
    fence(SeqCst);
    flush::all_local();
}

/// Settles the boot CPU.
pub fn settle_boot(area: &'static PerCpu) {
    match settle(area) {
        Ok(old) => old.tell(),
        Err(error) => log::error!("{error}"),
    }
    clock::remember_adjustment();
    take_part(area);
}

/// One CPU to start: its number on the bus, its node, and what its APIC's inputs are for.
#[derive(Clone, Copy)]
pub struct Candidate {
    pub apic_id: u32,
    pub node: rhumb_machine::NodeId,
    pub inputs: [Input; 2],
}

/// CPUs that do not take part, and have parked.
static PARKED: AtomicU32 = AtomicU32::new(0);

/// How many CPUs do not take part, and have parked.
pub fn parked() -> u32 {
    PARKED.load(Relaxed)
}

/// Counts a CPU that has parked meanwhile once, though it may have been reset and have parked again.
struct CountParked(u32);

impl Drop for CountParked {
    fn drop(&mut self) {
        PARKED.fetch_add(u32::from(trampoline::parked() != self.0), Relaxed);
    }
}

/// Starts each candidate that answers, until the areas are used up. Those beyond park: see [`trampoline::park`]. Returns
/// how many run now, this CPU included.
pub fn start_others(candidates: impl Iterator<Item = Candidate>) -> usize {
    let mut next = 1;
    let (mut unaddressable, mut first) = (0u32, None);
    trampoline::prepare_parking(mm::tables::root().table.addr().get());
    for candidate in candidates {
        let apic_id = candidate.apic_id;
        let _count = CountParked(trampoline::parked());
        if !apic::can_address(apic_id) {
            unaddressable += 1;
            first.get_or_insert(apic_id);
            continue;
        }
        if apic_id == apic::id() {
            log::warn!("APIC id {apic_id} is this CPU's own: not started");
            continue;
        }
        let Some(area) = CpuId::new(next).and_then(percpu::of) else {
            if trampoline::page().is_some() {
                reset(apic_id);
                park(apic_id, &STARTS.begin());
            }
            continue;
        };
        area.apic_id.store(apic_id, Relaxed);
        area.set_node(candidate.node);
        area.set_inputs(candidate.inputs);
        match start(area) {
            Ok(()) => {
                next += 1;
                clock::align(area);
            }
            Err(NotStarted::NoAnswer) => {
                log::warn!("the CPU with APIC id {apic_id} does not start: left out");
            }
            // It has said why.
            Err(NotStarted::Refused) => {}
        }
    }
    if let Some(first) = first {
        log::warn!(
            "{} with APIC ids from {first} on can be called through an x2APIC only, which is off: left out",
            Counted(unaddressable, "CPU")
        );
    }
    if trampoline::page().is_some() {
        trampoline::retire();
    }
    next
}

/// Why a CPU that was told to start does not take part.
enum NotStarted {
    /// It does not answer.
    NoAnswer,
    /// It has come, and cannot.
    Refused,
}

/// Starts one CPU. One that does not answer is given up, and then reset, whatever it does: it may not come late, when the
/// trampoline is gone (it would fault without an interrupt table and take the machine with it). Since it was given up
/// first, it cannot be online by then. Then it gets a second chance, to park.
fn start(area: &'static PerCpu) -> Result<(), NotStarted> {
    let apic_id = area.apic_id.load(Relaxed);
    kasan::stack_is_fresh(area.id());
    START.begin(apic_id);
    let mailbox = Mailbox::post(area);
    let parked_before = trampoline::parked();
    reset(apic_id);
    let under_way = STARTS.begin();
    send_startups(apic_id, || mailbox.is_taken());
    wait_while(ANSWER_NS, || START.progress(apic_id) == Progress::Starting);
    // A letter that nobody takes comes back; one that is taken means that the CPU is on its way: it gets a second wait.
    if START.progress(apic_id) == Progress::Starting && !mailbox.take_back() {
        wait_while(ANSWER_NS, || START.progress(apic_id) == Progress::Starting);
    }
    // Where the CPU has decided, it runs on this area until it is listed or parked: a moment, unless a host lets it wait.
    // The next CPU may not have the area, or come online, before that: CPUs that run are numbered without gaps, and a
    // flusher relies on that.
    match START.cancel(apic_id) {
        Ok(()) => {
            reset(apic_id);
            park(apic_id, &under_way);
            Err(NotStarted::NoAnswer)
        }
        Err(TooLate) if START.progress(apic_id) == Progress::Online => {
            await_answer(area, || online().contains(area.id()));
            Ok(())
        }
        Err(TooLate) => {
            await_answer(area, || trampoline::parked() != parked_before);
            Err(NotStarted::Refused)
        }
    }
}

/// Waits until `has_come`, which the CPU of `area` is about to see to.
fn await_answer(area: &PerCpu, has_come: impl Fn() -> bool) {
    let mut waited = Waited::default();
    while !has_come() {
        core::hint::spin_loop();
        call::lose_patience(&mut waited, || CpuMask::only(area.id()));
    }
}

/// Lets a CPU park that is not to take part and has been reset. One that does not even do that is reset again and waits
/// for a start-up that never comes. It walks the kernel's tables on its way, so its start is under way.
fn park(apic_id: u32, _under_way: &Start<'_>) {
    let before = trampoline::parked();
    let has_parked = || trampoline::parked() != before;
    send_startups(apic_id, has_parked);
    wait_while(PARK_NS, || !has_parked());
    if !has_parked() {
        reset(apic_id);
    }
}

/// Resets a CPU: it waits for a start-up then.
fn reset(apic_id: u32) {
    apic::send_init(apic_id);
    clock::delay_ns(INIT_NS);
}

/// Tells a CPU that was reset to start. Twice, as the manual wants (some CPUs miss the first), unless it has come.
fn send_startups(apic_id: u32, has_come: impl Fn() -> bool) {
    for _ in 0..2 {
        if has_come() {
            break;
        }
        apic::send_startup(apic_id, trampoline::page_number());
        clock::delay_ns(BETWEEN_STARTUPS_NS);
    }
}

/// Waits while `holds`, but no longer than `ns`.
fn wait_while(ns: u64, holds: impl Fn() -> bool) {
    let deadline = Deadline::after_ns(ns);
    while holds() && !deadline.has_passed() {
        core::hint::spin_loop();
    }
}

/// Where a started CPU arrives in Rust, on its own stack, with the trampoline's tables still loaded.
pub fn arrive(area: &'static PerCpu) -> ! {
    percpu::install(area);
    // From here on a fault is reported. (The trampoline's tables show all of the kernel's half.)
    idt::load_for_boot();
    mm::tables::load_root();
    let apic_id = apic::id_by_cpuid();
    let mine = Features::read();
    if let Some(name) = cpu::features().missing_in(&mine) {
        refuse(area, apic_id, format_args!("it lacks {name}, which the boot CPU has"));
    }
    clock::take_adjustment();
    let old = match settle(area) {
        Ok(old) => old,
        Err(error) => refuse(area, apic_id, format_args!("{error}")),
    };
    mtrr::compare(area.id());
    // One that was given up while it was on its way does not take part.
    if START.come_online(apic_id) == Err(TooLate) {
        trampoline::park();
    }
    take_part(area);
    old.tell();
    idle()
}

/// Says why this CPU cannot take part, and parks it. It decides first: until then it may be given up and reset at any
/// moment, in the middle of a line of the log. Afterwards its area is its own until it has parked.
fn refuse(area: &PerCpu, apic_id: u32, why: core::fmt::Arguments<'_>) -> ! {
    if START.refuse(apic_id).is_ok() {
        log::warn!("CPU {} does not take part: {why}", area.id());
    }
    trampoline::park()
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
    logging::show_waiting();
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
