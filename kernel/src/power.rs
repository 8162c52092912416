//! Turning the machine off, or starting it again.
//!
//! Off, in this order: the emulator's exit port, when the command line names one (it carries how things went); ACPI's
//! soft-off state S5, with the registers and values that the firmware's tables name; halting. Reset: the register that
//! the tables name, the keyboard controller, and at last a triple fault.

use rhumb_bootinfo::firmware::{Power, PowerOff, Register};
use spin::Once;
use x86_64::instructions::port::Port;

use core::sync::atomic::{AtomicU16, Ordering::Relaxed};

use crate::arch::{clock, cpu, idt};
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
    /// This machine is none that the kernel can run on. The boot stub has the number, too.
    Refused = 0x13,
}

const KEYBOARD_COMMAND: u16 = 0x64;
const PULSE_RESET_LINE: u8 = 0xfe;

/// Sleep type and sleep enable in a PM1 control register.
const PM1_SLEEP_BITS: u16 = 0b1111 << 10;
/// Power supplies answer within milliseconds.
const OFF_NS: u64 = 1_000_000_000;

static EXIT_PORT: AtomicU16 = AtomicU16::new(0);
static FIRMWARE: Once<Power> = Once::new();

/// Names the emulator's exit port.
pub fn set_exit_port(port: u16) {
    EXIT_PORT.store(port, Relaxed);
}

/// Says what the firmware's tables know of power.
pub fn set_firmware(power: Power) {
    FIRMWARE.call_once(|| power);
}

/// Turns the machine off; where nothing can, halts this CPU.
pub fn off(outcome: Outcome) -> ! {
    let exit_port = EXIT_PORT.load(Relaxed);
    if exit_port != 0 {
        // SAFETY: whoever wrote the command line says that the port is an exit device's.
        unsafe { Port::<u32>::new(exit_port).write(outcome as u32) };
    }
    // A last word stays on the screen: a machine that turned itself off could not be read.
    if matches!(outcome, Outcome::Success | Outcome::Failed) {
        match FIRMWARE.get().and_then(|power| power.off) {
            Some(PowerOff::Pm1 { a, b }) => {
                for (register, value) in [Some(a), b].into_iter().flatten() {
                    if let Register::Port(port) = register {
                        let mut control = Port::<u16>::new(port);
                        // SAFETY: the firmware's tables name the port as the power-management control register. Its
                        // other bits are not ours to change (ACPI 6.5, 4.8.3.2).
                        unsafe {
                            let kept = control.read() & !PM1_SLEEP_BITS;
                            control.write(kept | value);
                        };
                    }
                }
            }
            Some(PowerOff::SleepControl(Register::Port(port), value)) => {
                // SAFETY: the firmware's tables name the port as the sleep control register.
                unsafe { Port::<u8>::new(port).write(value) };
            }
            // Registers in memory would need a mapping: no PC has been seen with them.
            Some(PowerOff::SleepControl(Register::Memory(_), _)) | None => {}
        }
        // Hardware takes its time.
        clock::delay_ns(OFF_NS);
        console::write("this machine cannot turn itself off; it is safe to do so by hand\n");
    }
    cpu::halt_for_ever()
}

/// Starts the machine again.
pub fn reset() -> ! {
    if let Some((Register::Port(port), value)) = FIRMWARE.get().and_then(|power| power.reset) {
        // SAFETY: the firmware's tables name the port as the reset register.
        unsafe { Port::<u8>::new(port).write(value) };
    }
    // SAFETY: the keyboard controller's command port on every PC; the command pulses the reset line.
    unsafe { Port::<u8>::new(KEYBOARD_COMMAND).write(PULSE_RESET_LINE) };
    idt::triple_fault()
}
