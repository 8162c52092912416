//! Non-maskable interrupts that a test announces: a CPU is interrupted wherever it is, and goes on.
//!
//! The rules for the handler: see [`on_nmi`].
//!
//! **One at a time.** While one is handled the CPU keeps one more, and drops others. So a CPU is sent the next when it
//! has handled the last, and each that is sent is handled.
//!
//! Source: Intel SDM volume 3, 7.7.1 (Handling Multiple NMIs).

use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use rhumb_machine::{MAX_CPUS, Machine, VirtAddr};
use rhumb_tableguard::Rights;

use crate::arch::apic;
use crate::arch::idt::TrapFrame;
use crate::arch::pkrs::{self, Closed, Pkrs};
use crate::cpu::area::{self, COUNT, PerCpu};
use crate::cpu::machine::MACHINE;
use crate::trap::on_nmi;

/// The interrupts that a CPU is sent, and those that its handler has seen.
pub struct Nmis {
    /// One is under way.
    announced: AtomicBool,
    /// Those that came while the key of page tables was open.
    pub found_open: AtomicU64,
    /// Of these, those whose handler ran with it open nevertheless.
    pub left_open: AtomicU64,
}

impl Nmis {
    /// Returns the state of a CPU that was sent none.
    pub const fn new() -> Self {
        Self {
            announced: AtomicBool::new(false),
            found_open: AtomicU64::new(0),
            left_open: AtomicU64::new(0),
        }
    }

    /// Tells whether what was sent has been handled.
    pub fn are_handled(&self) -> bool {
        !self.announced.load(Acquire)
    }
}

static NMIS: [Nmis; MAX_CPUS] = [const { Nmis::new() }; MAX_CPUS];

/// Returns those of the CPU of `area`.
pub fn of(area: &PerCpu) -> &'static Nmis {
    &NMIS[area.id().index()]
}

/// Registers the handler of announced ones. Once.
pub fn start() {
    on_nmi(handle);
}

/// The last one has not been handled yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

/// Sends one to the CPU of `area`, which may be this one, and does not wait for it.
///
/// # Errors
/// [`Busy`]: nothing was sent.
pub fn send(area: &PerCpu) -> Result<(), Busy> {
    if of(area).announced.swap(true, AcqRel) {
        return Err(Busy);
    }
    apic::send_nmi(area.apic_id.load(Relaxed));
    Ok(())
}

/// Handles one, if it was announced. Called with the key closed; `closed` knows what it was before.
fn handle(frame: &mut TrapFrame, closed: &Closed) -> bool {
    let guard = MACHINE.irq_off();
    let here = area::here(guard.irq_off().pinned());
    let nmis = of(&here);
    if nmis.are_handled() {
        return false;
    }
    COUNT.nmis.increment();
    if closed.found_open() {
        nmis.found_open.fetch_add(1, Relaxed);
    }
    if pkrs::are_used() && pkrs::KEY.rights(Pkrs.value()) == Rights::ReadWrite {
        nmis.left_open.fetch_add(1, Relaxed);
    }
    skip_halt(frame);
    nmis.announced.store(false, Release);
    true
}

/// Returns where a CPU is that has turned interrupts on and is about to halt.
pub fn idle_halt() -> VirtAddr {
    unsafe extern "C" {
        static idle_halt: u8;
    }
    VirtAddr::from(&raw const idle_halt)
}

/// Skips the halt of a CPU that was about to halt, when a non-maskable interrupt returns: the CPU looks again whether
/// there is anything to do.
pub fn skip_halt(frame: &mut TrapFrame) {
    if frame.rip == idle_halt().get() {
        // `hlt` is one byte.
        frame.rip += 1;
    }
}
