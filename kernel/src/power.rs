//! Turning the machine off.
//!
//! Three ways, in this order: the emulator's exit port, when the command line names one (it carries how things went); ACPI's
//! soft-off state S5, with the values that the firmware's tables name; halting.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

use x86_64::instructions::port::Port;

use crate::arch::cpu;
use crate::console;

/// How the run went, as the exit port tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All commands succeeded.
    Success = 0x10,
    /// A command failed.
    Failed = 0x11,
    /// The kernel panicked.
    Panicked = 0x12,
}

const SLEEP_ENABLE: u16 = 1 << 13;

static EXIT_PORT: AtomicU16 = AtomicU16::new(0);
/// PM1a control port, PM1b control port (0: none), and the two sleep types, 16 bits each; 0: unknown.
static SOFT_OFF: AtomicU64 = AtomicU64::new(0);

/// Names the emulator's exit port.
pub fn set_exit_port(port: u16) {
    EXIT_PORT.store(port, Relaxed);
}

/// Says how ACPI turns this machine off: control ports and the sleep types of `\_S5`.
pub fn set_soft_off(pm1a: u16, pm1b: u16, type_a: u8, type_b: u8) {
    let packed = u64::from(pm1a) | u64::from(pm1b) << 16 | u64::from(type_a) << 32 | u64::from(type_b) << 48;
    SOFT_OFF.store(packed, Relaxed);
}

/// Turns the machine off; where nothing can, halts this CPU.
pub fn off(outcome: Outcome) -> ! {
    let exit_port = EXIT_PORT.load(Relaxed);
    if exit_port != 0 {
        // SAFETY: whoever wrote the command line says that the port is an exit device's.
        unsafe { Port::<u32>::new(exit_port).write(outcome as u32) };
    }
    // A panic stays on the screen: a machine that turned itself off could not be read.
    if outcome != Outcome::Panicked {
        let packed = SOFT_OFF.load(Relaxed);
        let (pm1a, pm1b) = (packed as u16, (packed >> 16) as u16);
        for (port, sleep_type) in [(pm1a, packed >> 32), (pm1b, packed >> 48)] {
            if port != 0 {
                // SAFETY: the firmware's tables name the port as the power-management control register.
                unsafe { Port::<u16>::new(port).write((sleep_type as u16 & 7) << 10 | SLEEP_ENABLE) };
            }
        }
        console::write("this machine cannot turn itself off; it is safe to do so by hand\n");
    }
    cpu::halt_for_ever()
}
