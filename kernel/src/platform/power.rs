//! Turning the machine off, or starting it again.
//!
//! Off, in this order: the emulator's exit port, when the command line names one (it carries how things went); ACPI's
//! soft-off state S5, with the registers and values that the firmware's tables name; halting. Reset: the register that
//! the tables name, the keyboard controller, and at last a triple fault.

use core::sync::atomic::{AtomicU16, Ordering::Relaxed};

use rhumb_bootinfo::firmware::{Power, PowerOff, Register};
use rhumb_machine::PhysAddr;
use spin::Once;
use x86_64::instructions::port::Port;

use super::{console, logging, screen};
use crate::arch::{halt, idt, pci};
use crate::cpu::clock::{self, Deadline};
use crate::cpu::once;
use crate::facts;

/// How the run went, as the exit port tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All commands succeeded.
    Success = 0x10,
    /// A command failed.
    Failed = 0x11,
    /// The kernel panicked.
    Panicked = 0x12,
    /// This machine is none that the kernel can run on. The boot stub has the number, too.
    Refused = 0x13,
}

const KEYBOARD_COMMAND: u16 = 0x64;
const PULSE_RESET_LINE: u8 = 0xfe;

/// Sleep type and sleep enable in a PM1 control register.
const PM1_SLEEP_BITS: u16 = 0b1111 << 10;
/// In a PM1 control register: events come to the operating system (SCI), not to the firmware.
const PM1_ACPI_MODE: u16 = 1 << 0;
/// Firmware takes its time (Linux waits three seconds).
const ACPI_MODE_NS: u64 = 3_000_000_000;
/// Power supplies answer within milliseconds.
const OFF_NS: u64 = 1_000_000_000;
/// A reset that comes at all comes at once.
const RESET_NS: u64 = 50_000_000;

static EXIT_PORT: AtomicU16 = AtomicU16::new(0);
static FIRMWARE: Once<Power> = Once::new();

/// Names the emulator's exit port.
pub fn set_exit_port(port: u16) {
    EXIT_PORT.store(port, Relaxed);
}

/// Says what the firmware's tables know of power.
pub fn set_firmware(power: Power) {
    once::fill(&FIRMWARE, power);
}

/// Tells the emulator's exit port how things went, which ends the run. Without one it returns.
fn tell(outcome: Outcome) {
    let exit_port = EXIT_PORT.load(Relaxed);
    if exit_port != 0 {
        // SAFETY: the command line says that the port is an exit device's.
        unsafe { Port::<u32>::new(exit_port).write(outcome as u32) };
    }
}

/// Turns the machine off; where nothing can, halts this CPU.
pub fn off(outcome: Outcome) -> ! {
    logging::show_waiting();
    screen::draw();
    tell(outcome);
    // A last word stays on the screen: a machine that turned itself off could not be read.
    if matches!(outcome, Outcome::Success | Outcome::Failed) {
        match FIRMWARE.get().and_then(|power| power.off) {
            Some(PowerOff::Pm1 { a, b }) => {
                // SAFETY: the firmware's tables name the register as the power-management control register.
                unsafe { take_over(a.0) };
                for (register, value) in [Some(a), b].into_iter().flatten() {
                    // SAFETY: the firmware's tables name the register as the power-management control register. Its
                    // other bits are not ours to change (ACPI 6.5, 4.8.3.2).
                    unsafe { change_16(register, |kept| kept & !PM1_SLEEP_BITS | value) };
                }
            }
            // SAFETY: the firmware's tables name the register as the sleep control register.
            Some(PowerOff::SleepControl(register, value)) => unsafe { write_8(register, value) },
            None => {}
        }
        // Hardware takes its time.
        clock::delay_ns(OFF_NS);
        console::write("this machine cannot turn itself off; it is safe to do so by hand\n");
        screen::draw();
    }
    halt::permanently()
}

/// Asks the firmware for the power-management registers, unless they are ours already.
///
/// # Safety
/// The register is the power-management control register.
unsafe fn take_over(control: Register) {
    // SAFETY: the register is the power-management control register, by the caller's promise; the value goes back as
    // read.
    let is_ours = || unsafe { change_16(control, |value| value) } & PM1_ACPI_MODE != 0;
    let Some((port, value)) = FIRMWARE.get().and_then(|power| power.enable) else { return };
    if is_ours() {
        return;
    }
    // SAFETY: the firmware's tables name the port and the value for this.
    unsafe { Port::<u8>::new(port).write(value) };
    let deadline = Deadline::after_ns(ACPI_MODE_NS);
    while !is_ours() && !deadline.has_passed() {
        core::hint::spin_loop();
    }
}

/// Starts the machine again. A run of a script ends with `outcome` instead, where an exit port takes it: the script's
/// side cannot tell a reset from a crash.
pub fn reset(outcome: Option<Outcome>) -> ! {
    if let Some(outcome) = outcome {
        tell(outcome);
    }
    if let Some((register, value)) = FIRMWARE.get().and_then(|power| power.reset) {
        // SAFETY: the firmware's tables name the register as the reset register.
        unsafe { write_8(register, value) };
        clock::delay_ns(RESET_NS);
    }
    // SAFETY: the keyboard controller's command port on every PC; the command pulses the reset line.
    unsafe { Port::<u8>::new(KEYBOARD_COMMAND).write(PULSE_RESET_LINE) };
    clock::delay_ns(RESET_NS);
    idt::triple_fault()
}

/// # Safety
/// The register takes the byte as the caller means it.
unsafe fn write_8(register: Register, value: u8) {
    match register {
        // SAFETY: the port's register takes the byte as the caller means it, by the caller's promise.
        Register::Port(port) => unsafe { Port::<u8>::new(port).write(value) },
        Register::Memory(at) => {
            if let Some(at) = facts::boot().and_then(|boot| boot.mapped(at)) {
                // SAFETY: the register takes the byte as the caller means it, by the caller's promise; boot mapped it
                // uncached.
                unsafe { at.as_mut_ptr::<u8>().write_volatile(value) };
            }
        }
        Register::Pci { device, function, offset } => {
            // SAFETY: the function's register takes the byte as the caller means it, by the caller's promise.
            unsafe { pci::Function { bus: 0, device, function }.write_byte(offset, value) };
        }
    }
}

/// Changes 16 bits; returns what they are afterwards.
///
/// # Safety
/// The register takes the value as the caller means it.
unsafe fn change_16(register: Register, change: impl FnOnce(u16) -> u16) -> u16 {
    match register {
        Register::Port(port) => {
            let mut register = Port::<u16>::new(port);
            // SAFETY: the port's register takes the value as the caller means it, by the caller's promise.
            unsafe {
                let value = change(register.read());
                register.write(value);
                value
            }
        }
        Register::Memory(at) => {
            let at = facts::boot().and_then(|boot| boot.mapped(at));
            let Some(at) = at.filter(|at| at.get().is_multiple_of(2)) else { return 0 };
            let register = at.as_mut_ptr::<u16>();
            // SAFETY: the register takes the value as the caller means it, by the caller's promise; boot mapped it
            // uncached, and it is aligned.
            unsafe {
                let value = change(register.read_volatile());
                register.write_volatile(value);
                value
            }
        }
        // The control registers are nowhere else (ACPI 5.2.9).
        Register::Pci { .. } => 0,
    }
}

/// Returns the registers in memory that turning off and resetting need: boot maps them.
pub fn registers_in_memory(power: &Power) -> impl Iterator<Item = PhysAddr> {
    let (first, second) = match power.off {
        Some(PowerOff::Pm1 { a, b }) => (Some(a.0), b.map(|b| b.0)),
        Some(PowerOff::SleepControl(register, _)) => (Some(register), None),
        None => (None, None),
    };
    let all = [first, second, power.reset.map(|(register, _)| register)];
    all.into_iter().flatten().filter_map(|register| match register {
        Register::Memory(at) => Some(at),
        Register::Port(_) | Register::Pci { .. } => None,
    })
}
