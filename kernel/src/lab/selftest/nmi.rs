//! Non-maskable interrupts that are announced: none is lost, none is seen by what it interrupts, and tables stay closed
//! to their handler.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_directmap::{Change, ChangeError};
use rhumb_machine::{Machine, Order};
use rhumb_tableguard::{Protection, Rights, keyed};

use super::fixture::{Large, State, WHO};
use super::{Test, memory};
use crate::arch::idt::TrapFrame;
use crate::arch::pkrs::{self, Pkrs};
use crate::cpu::area::PerCpu;
use crate::cpu::machine::MACHINE;
use crate::cpu::{self, area, clock, work};
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::{nmi, probe};
use crate::mm::direct_map::{Refused, change, restore, table_supply};
use crate::mm::protect;
use crate::mm::protection::in_force;
use crate::mm::unmapped::give;
use crate::mm::windows::windows;

pub const TESTS: &[Test] = &[
    Test { name: "nmi::finds_the_key_closed_and_leaves_it_open", run: finds_the_key_closed },
    Test { name: "nmi::leaves_a_window_as_it_was", run: leaves_a_window },
    Test { name: "nmi::i8_no_write_of_a_table_is_lost", run: no_write_is_lost },
    Test { name: "nmi::a_cpu_about_to_halt_still_wakes", run: about_to_halt },
];

/// How long one may take: the host may have other things to do.
const PATIENCE_NS: u64 = 30_000_000_000;
/// How long CPUs go on with changes until one interrupt came while a key was open. On a slow host none may: what it
/// finds then is tested by one that a CPU sends itself.
const STORM_NS: u64 = 3_000_000_000;
/// Splits and merges of each CPU.
const CHANGES: u32 = 64;
/// Jobs for CPUs that halt in between.
const JOBS: u32 = 1000;

/// Returns the counts of all CPUs' handlers so far.
struct Seen {
    handled: u64,
    found_open: u64,
    left_open: u64,
}

impl Seen {
    fn now() -> Self {
        let sum = |of: fn(&PerCpu) -> u64| area::all().map(of).sum();
        Self {
            handled: sum(|area| area.counters.nmis.get()),
            found_open: sum(|area| nmi::of(area).found_open.load(Relaxed)),
            left_open: sum(|area| nmi::of(area).left_open.load(Relaxed)),
        }
    }

    fn since(self, earlier: &Self) -> Self {
        Self {
            handled: self.handled - earlier.handled,
            found_open: self.found_open - earlier.found_open,
            left_open: self.left_open - earlier.left_open,
        }
    }
}

/// Whether the CPU has handled what it was sent.
fn handles_in_time(area: &PerCpu) -> bool {
    let end = clock::now_ns() + PATIENCE_NS;
    while !nmi::of(area).are_handled() {
        if clock::now_ns() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Interrupts this CPU, wherever the caller is.
fn interrupt_myself() -> bool {
    let guard = MACHINE.pin();
    let here = area::here(guard.pinned());
    nmi::send(&here).is_ok() && handles_in_time(&here)
}

/// While the key is open, on each CPU: the handler runs with it closed, and what it interrupted goes on with it open.
fn finds_the_key_closed(_: &'static Boot) -> Result<(), Failure> {
    let is_keyed = in_force() == Protection::Keys;
    let before = Seen::now();
    let missed = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        let guard = MACHINE.irq_off();
        let is_right = if is_keyed {
            keyed::while_open(&Pkrs, pkrs::KEY, guard.irq_off(), || {
                interrupt_myself() && pkrs::KEY.rights(Pkrs.value()) == Rights::ReadWrite
            }) && Pkrs.value() == pkrs::CLOSED
        } else {
            interrupt_myself()
        };
        missed.fetch_add(u64::from(!is_right), Relaxed);
    });
    let (missed, seen) = (missed.into_inner(), Seen::now().since(&before));
    let cpus = cpu::online_count() as u64;
    ensure!(missed == 0, "{missed} CPUs took none, or went on with other rights");
    ensure!(seen.handled == cpus, "{cpus} were sent, {} handled", seen.handled);
    ensure!(seen.left_open == 0, "{} handlers ran with the key open", seen.left_open);
    let expected = if is_keyed { cpus } else { 0 };
    ensure!(seen.found_open == expected, "{} came while the key was open, not {expected}", seen.found_open);
    Ok(())
}

/// While a window is open, and while an access is probed that does not fault.
fn leaves_a_window(_: &'static Boot) -> Result<(), Failure> {
    let windows = windows().ok_or_else(|| Failure::because("there are no windows"))?;
    let mut frame = memory::take_unmapped(Order::BASE)?;
    let outcome = (|| {
        let seen = windows.with_page(&mut frame, 0, |window| {
            let before = probe::read_byte(window.address());
            (before, interrupt_myself(), probe::read_byte(window.address()))
        });
        let (before, was_taken, after) = seen.map_err(Failure::because)?;
        ensure!(was_taken, "none came");
        ensure!(before == Ok(0) && after == before, "the window read {before:?}, then {after:?}");
        Ok(())
    })();
    let given = give(frame).map_err(|refused| Failure::because(refused.error));
    outcome.and(given)
}

/// All other CPUs take a page of a block of their own out of the map and put it back, while this one interrupts them as
/// fast as they come.
fn no_write_is_lost(boot: &'static Boot) -> Result<(), Failure> {
    let others: arrayvec::ArrayVec<&PerCpu, 8> =
        cpu::online().without(area::cpu_now()).iter().filter_map(area::of).take(8).collect();
    if others.is_empty() {
        return Ok(());
    }
    // A block for each CPU, as they take them at once.
    memory::must_have_blocks(others.len())?;
    let (state, before) = (State::now()?, Seen::now());
    let (changed, done, seen_open) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let wrong = AtomicU64::new(0);
    let end = clock::now_ns() + STORM_NS;
    let goes_on = |rounds: u32| {
        rounds < CHANGES
            || (in_force() == Protection::Keys && !seen_open.load(Relaxed) && clock::now_ns() < end)
    };
    let change = || {
        let mut rounds = 0;
        while others.iter().any(|area| area.id() == area::cpu_now()) && goes_on(rounds) {
            rounds += 1;
            wrong.fetch_add(u64::from(!cut_and_mend()), Relaxed);
            changed.fetch_add(1, Relaxed);
        }
        done.fetch_add(1, Relaxed);
    };
    let mut sent = 0;
    let interrupt = || {
        while done.load(Relaxed) < cpu::online_count() as u64 - 1 {
            sent += others.iter().filter(|area| nmi::send(area).is_ok()).count() as u64;
            seen_open.store(Seen::now().since(&before).found_open > 0, Relaxed);
            cpu::call::serve_if_here();
        }
    };
    work::on_others(&change, interrupt);
    table_supply::fill();
    let unanswered = others.iter().filter(|area| !handles_in_time(area)).count();
    let seen = Seen::now().since(&before);
    let (changed, wrong) = (changed.into_inner(), wrong.into_inner());
    log::info!("{sent} non-maskable interrupts, {} with the key open, {changed} changes", seen.found_open);
    ensure!(unanswered == 0, "{unanswered} CPUs took none any more");
    ensure!(wrong == 0, "{wrong} of {changed} changes did not do what they must");
    ensure!(seen.handled == sent, "{sent} were sent, {} handled", seen.handled);
    ensure!(seen.left_open == 0, "{} handlers ran with the key open", seen.left_open);
    let findings = audit(boot, |_| ()).findings + protect::audit::run(|_| ());
    ensure!(findings == 0, "the audit found {findings} broken rules");
    state.must_be_now()
}

/// Splits a large page and merges it again; whether each did what it must.
fn cut_and_mend() -> bool {
    let Ok(block) = Large::new() else { return false };
    let page = block.start().plus(77);
    let address = MACHINE.direct(page.addr());
    match change(block.pages(77, 1), Change::NotPresent, WHO, "while interrupts come that cannot be masked") {
        Ok(changed) => {
            let is_absent = probe::read_byte(address).is_err();
            let _ = restore(changed);
            is_absent && probe::read_byte(address).is_ok()
        }
        // All CPUs change at once, and the reserve is filled up in between.
        Err(Refused {
            error: ChangeError::OutOfTables { .. } | ChangeError::OutOfRecords { .. }, ..
        }) => {
            table_supply::fill();
            true
        }
        Err(_) => false,
    }
}

/// One that comes between turning interrupts on and the halt must not let the CPU sleep through the job that came with
/// it.
fn about_to_halt(_: &'static Boot) -> Result<(), Failure> {
    // It seldom comes just there: what it does then is asked for by itself, too.
    const HLT: u8 = 0xf4;
    let halt = nmi::idle_halt();
    let mut frame = TrapFrame { rip: halt.get(), ..TrapFrame::default() };
    nmi::skip_halt(&mut frame);
    ensure!(probe::read_byte(halt) == Ok(HLT), "there is no halt at {halt}");
    ensure!(frame.rip == halt.plus(1).get(), "the CPU goes on at {:#x}, and halts", frame.rip);
    let me = area::cpu_now();
    let done = AtomicU64::new(0);
    for _ in 0..JOBS {
        for area in cpu::online().without(me).iter().filter_map(area::of) {
            // One that is under way already is as good.
            let _ = nmi::send(area);
        }
        let job = || {
            done.fetch_add(1, Relaxed);
        };
        work::on_others(&job, || ());
    }
    let all_handled = cpu::online().iter().filter_map(area::of).all(handles_in_time);
    let (done, expected) = (done.into_inner(), u64::from(JOBS) * (cpu::online_count() as u64 - 1));
    ensure!(all_handled, "a CPU took none any more");
    ensure!(done == expected, "{done} jobs were done of {expected}");
    Ok(())
}
