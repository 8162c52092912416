//! Starting the other CPUs, and setting up each.
//!
//! CPUs are started one after the other. Each gets the next dense [`CpuId`], whose area was made at boot, and stacks;
//! one that does not answer is reported, and the next takes its number. Whether one that is late takes part is decided
//! once, by a word ([`rhumb_smp::start`]). CPUs that do not take part park, where a machine check finds a handler.

use core::fmt;
use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
    fence,
};

use rhumb_machine::{Counted, CpuId, CpuMask, Machine, VirtAddr, impossible};
use rhumb_smp::apic::Input;
use rhumb_smp::call::Waited;
use rhumb_smp::clock::{Look, offset};
use rhumb_smp::start::{Progress, Start, StartWord, TooLate};
use spin::Once;

use super::area::{self, PerCpu};
use super::clock::{self, Deadline, ticks, ticks_to_ns};
use super::machine::MACHINE;
use super::online::{online, set_online};
use super::tlb::STARTS;
use super::trampoline::{self, Mailbox};
use super::{call, kasan, once, root, tlb};
use crate::arch::control::{self, NotTaken};
use crate::arch::features::{Features, features};
use crate::arch::{apic, idt, mce, mtrr, quirks, requirements, speculation};
use crate::layout::{self, Stack};

/// A CPU that takes longer than this to answer is left out (Linux waits 10 s; hardware answers within milliseconds).
const ANSWER_NS: u64 = 1_000_000_000;
/// How long a CPU that did not answer has for coming to park.
const PARK_NS: u64 = 200_000_000;
const INIT_NS: u64 = 10_000_000;
const BETWEEN_STARTUPS_NS: u64 = 200_000;

/// Whether the CPU that is being started takes part.
static START: StartWord = StartWord::new();
/// The function that a CPU runs once it takes part.
static THEN: Once<fn() -> !> = Once::new();

/// Sets up the CPU that `area` belongs to, all but for taking part: descriptors, traps, protections, machine checks,
/// APIC. Interrupts stay off.
///
/// Returns what the firmware has left of machine checks: to be told when the CPU takes part.
///
/// # Errors
/// The CPU cannot go on.
fn set_up(area: &'static PerCpu) -> Result<mce::Old, NotTaken> {
    let Some(descriptors) = area.descriptors.get() else {
        impossible!("CPU {} has no descriptors", area.id());
        trampoline::park()
    };
    let (read_only, top) = (layout::entry(area.id()), |stack| area.stacks.top(Stack::Interrupt(stack)));
    // SAFETY: each CPU comes here once, on its own area; its descriptors and its stacks were mapped before it started,
    // permanently, and nothing uses them yet.
    unsafe { descriptors.load(read_only, VirtAddr::from(core::ptr::from_ref(area)), top) };
    idt::load();
    let old = mce::enable();
    let decision = once::fill(&area.speculation, speculation::decision());
    speculation::take(&decision.measures);
    let taken = control::enable_protections(&decision.measures);
    area.note_controls();
    taken?;
    quirks::keep_timer_in_halt();
    apic::enable(area.inputs());
    area.apic_id.store(apic::id(), Relaxed);
    Ok(old)
}

/// Lets the CPU that `area` belongs to take part.
fn take_part(area: &PerCpu) {
    set_online(area.id());
    // A flusher that does not find this CPU online has written its entries before the start began (`flush_targets`).
    // For the boot CPU, which no CPU starts: before this fence, and the flush drops all that was read before (I6).
    fence(SeqCst);
    tlb::flush_all_local();
}

/// Sets up the boot CPU.
pub fn set_up_boot(area: &'static PerCpu) {
    match set_up(area) {
        Ok(old) => old.tell(area.id()),
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

/// Returns how many CPUs do not take part, and have parked.
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

/// Starts each candidate that answers, until the areas are used up. Those beyond park: see [`trampoline::park`].
/// Returns how many run now, this CPU included. `give_stacks` gives a CPU its stacks, near its node, unless it has them
/// from a candidate that did not come; where it fails, the candidate parks. A CPU that takes part goes on with `then`.
///
/// Cost: 10 ms for all, and then as long as each takes to come: a fraction of a millisecond on hardware.
pub fn start_others<E: fmt::Display>(
    candidates: impl Iterator<Item = Candidate> + Clone,
    give_stacks: impl Fn(&PerCpu) -> Result<(), E>,
    then: fn() -> !,
) -> usize {
    once::fill(&THEN, then);
    reset_all(candidates.clone());
    let mut next = 1;
    let (mut unaddressable, mut first) = (0u32, None);
    let (mut without_stacks, mut why) = (0u32, None);
    trampoline::prepare(root::table().addr().get());
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
        let area = CpuId::new(next).and_then(area::of).filter(|area| {
            area.set_node(candidate.node);
            let given = give_stacks(area);
            without_stacks += u32::from(given.is_err());
            given.map_err(|error| why.get_or_insert(error)).is_ok()
        });
        let Some(area) = area else {
            if trampoline::page().is_some() {
                park(apic_id, &STARTS.begin());
            }
            continue;
        };
        area.apic_id.store(apic_id, Relaxed);
        area.set_inputs(candidate.inputs);
        match start(area) {
            Ok(()) => {
                next += 1;
                align(area);
            }
            Err(NotStarted::NoAnswer) => {
                log::warn!("the CPU with APIC id {apic_id} does not start: left out");
            }
            // It has said why.
            Err(NotStarted::Refused) => {}
        }
    }
    if let Some(why) = why {
        log::warn!("{} cannot have stacks: left out ({why})", Counted(without_stacks, "CPU"));
    }
    if let Some(first) = first {
        log::warn!(
            "{} with APIC ids from {first} on can be called through an x2APIC only, which is off: left out",
            Counted(unaddressable, "CPU")
        );
    }
    next
}

/// Measures how far the TSC of `area`'s CPU, which has just come online, is from this CPU's, and sets its clock to show
/// the same.
fn align(area: &PerCpu) {
    let guard = MACHINE.pin();
    let looks: [Look; 8] = core::array::from_fn(|_| {
        let there = AtomicU64::new(0);
        let before = ticks();
        let read = || there.store(ticks(), Relaxed);
        call::run_on(guard.pinned(), &CpuMask::only(area.id()), &read, || ());
        Look { before, there: there.into_inner(), after: ticks() }
    });
    let offset = offset(&looks);
    if offset != 0 {
        area.set_tsc_offset(offset);
        let behind = offset as i64;
        let by_ns = ticks_to_ns(behind.unsigned_abs());
        let how = if behind > 0 { "behind" } else { "ahead" };
        log::warn!("the TSC of CPU {} is {by_ns} ns {how}: its clock is set", area.id());
    }
}

/// Why a CPU that was told to start does not take part.
enum NotStarted {
    /// It does not answer.
    NoAnswer,
    /// It has come, and cannot.
    Refused,
}

/// Starts one CPU, which has been reset. One that does not answer is given up, and then reset, whatever it does: it may not come late, when
/// the trampoline is gone (it would fault without an interrupt table and take the machine with it). Since it was given
/// up first, it cannot be online by then. Then it gets a second chance, to park.
fn start(area: &'static PerCpu) -> Result<(), NotStarted> {
    let apic_id = area.apic_id.load(Relaxed);
    kasan::stack_is_fresh(&area.stacks);
    START.begin(apic_id);
    let mailbox = Mailbox::post(area);
    let parked_before = trampoline::parked();
    let under_way = STARTS.begin();
    send_startups(apic_id, || mailbox.is_taken());
    wait_while(ANSWER_NS, || START.progress(apic_id) == Progress::Starting);
    // A letter that no CPU takes comes back; one that is taken means that the CPU is on its way: it gets a second wait.
    if START.progress(apic_id) == Progress::Starting && !mailbox.take_back() {
        wait_while(ANSWER_NS, || START.progress(apic_id) == Progress::Starting);
    }
    // Where the CPU has decided, it runs on this area until it is listed or parked: a moment, unless a host lets it
    // wait. The next CPU may not have the area, or come online, before that: CPUs that run are numbered without gaps,
    // and a flusher relies on that.
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

/// Resets each candidate that can be started, and then waits once for all: a CPU waits for its start-up as long as it
/// takes.
fn reset_all(candidates: impl Iterator<Item = Candidate>) {
    let mine = apic::id();
    let ids = candidates.map(|candidate| candidate.apic_id);
    ids.filter(|&id| id != mine && apic::can_address(id)).for_each(apic::send_init);
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

/// Continues from the trampoline, on the kernel's tables and the started CPU's own stack. `area` is the letter that the
/// CPU took.
#[unsafe(no_mangle)]
extern "sysv64" fn trampoline_arrived(area: *const PerCpu) -> ! {
    // SAFETY: the letter came from `Mailbox::post`, which took a 'static reference.
    let area: &'static PerCpu = unsafe { &*area };
    // SAFETY: the letter is for this CPU alone, whose first steps these are; boot has registered the area.
    unsafe { area::install(area) };
    // From here on a fault is reported.
    idt::load_for_boot();
    let apic_id = apic::id_by_cpuid();
    let mine = Features::read();
    if let Some(name) = requirements::missing(features(), &mine) {
        refuse(area, apic_id, format_args!("it lacks {name}, which the boot CPU has"));
    }
    clock::take_adjustment();
    let old = match set_up(area) {
        Ok(old) => old,
        Err(error) => refuse(area, apic_id, format_args!("{error}")),
    };
    mtrr::compare(area.id());
    // The CPU was given up while it was on its way: the CPU that started it says so.
    if START.come_online(apic_id) == Err(TooLate) {
        trampoline::park();
    }
    take_part(area);
    old.tell(area.id());
    let Some(then) = THEN.get() else {
        impossible!("CPU {} has started, and `start_others` did not say what it runs", area.id());
        trampoline::park()
    };
    then()
}

/// Says why this CPU cannot take part, and parks it. It decides first: until then it may be given up and reset at any
/// moment, in the middle of a line of the log. Afterwards its area is its own until it has parked.
fn refuse(area: &PerCpu, apic_id: u32, why: core::fmt::Arguments<'_>) -> ! {
    if START.refuse(apic_id).is_ok() {
        log::warn!("CPU {} does not take part: {why}", area.id());
    }
    trampoline::park()
}
