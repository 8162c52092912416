//! Non-maskable interrupts that somebody announced: a CPU is interrupted wherever it is, and goes on.
//!
//! One that nobody announced ends in a report, as every exception does that nobody expects: hardware sends it when
//! memory or a bus has failed.
//!
//! **What the handler may touch.** It comes anywhere: in the middle of a lock, of a write of tables with their key or a
//! window open, of an interrupt's entry, of waking from laziness before the TLB is flushed. So it uses its own stack,
//! this CPU's area and this CPU's registers: no lock, no log, no window, no table. It does not fault, since the return
//! from a fault takes the next one, onto the same stack.
//!
//! **One at a time.** While one is handled the CPU keeps one more, and drops others. So a CPU is sent the next when it
//! has handled the last, and each that is sent is handled.
//!
//! Source: Intel SDM volume 3, 7.7.1 (Handling Multiple NMIs).

use core::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use rhumb_tableguard::Rights;

use crate::arch::idt::TrapFrame;
use crate::arch::percpu::{self, Counter, PerCpu};
use crate::arch::pkrs::Pkrs;
use crate::arch::{apic, cpu};
use crate::mm::protect::{self, Closed};

/// What a CPU is sent, and what its handler has seen.
pub struct Nmis {
    /// One is under way.
    announced: AtomicBool,
    /// Those that came while the key of page tables was open.
    pub found_open: Counter,
    /// Of these, those whose handler ran with it open nevertheless.
    pub left_open: Counter,
}

impl Nmis {
    /// None so far.
    pub const fn new() -> Self {
        Self { announced: AtomicBool::new(false), found_open: Counter::new(), left_open: Counter::new() }
    }

    /// Whether what was sent has been handled.
    pub fn are_handled(&self) -> bool {
        !self.announced.load(Acquire)
    }
}

/// The last one has not been handled yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

/// Sends one to the CPU of `area`, which may be this one, and does not wait for it.
///
/// # Errors
/// [`Busy`]: nothing was sent.
pub fn send(area: &PerCpu) -> Result<(), Busy> {
    if area.nmis.announced.swap(true, AcqRel) {
        return Err(Busy);
    }
    apic::send_nmi(area.apic_id.load(Relaxed));
    Ok(())
}

/// Handles one, if it was announced. Called with the key closed; `closed` knows what it was before.
pub fn handle(frame: &mut TrapFrame, closed: &Closed) -> bool {
    let here = percpu::here();
    if here.nmis.are_handled() {
        return false;
    }
    // Where a probed access was interrupted: a fault from here to the end is not that access's.
    let probed = here.probe_resume.swap(0, Relaxed);
    here.counters.nmis.count();
    if closed.found_open() {
        here.nmis.found_open.count();
    }
    if protect::wants_keys() && protect::KEY.rights(Pkrs.value()) == Rights::ReadWrite {
        here.nmis.left_open.count();
    }
    cpu::skip_halt(frame);
    here.probe_resume.store(probed, Relaxed);
    here.nmis.announced.store(false, Release);
    true
}
