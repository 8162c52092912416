//! The console: a serial line, and beside it a screen and a keyboard where the machine has them. All output goes to the
//! line and to the screen; input comes from the line and from the keyboard, into one ring.
//!
//! The line has 8 data bits, no parity, and 115200 baud unless the firmware says otherwise.
//!
//! Which UART: the one that the command line names, else the one that the firmware's tables name, else the first of
//! COM1 to COM4 and the serial ports on PCI that is there. Until the first two are known, it is the last.
//!
//! Output takes the lock only where the UART can take bytes, for as many as it takes at once, so interrupts are off for
//! some microseconds. A UART that takes none for a tenth of a second is stuck: what is written to it is lost, and
//! nothing waits. Input arrives by interrupt into a ring; when the ring is full the UART's receive interrupt goes off
//! and its FIFO fills, which holds the sender back where the line has flow control (an emulator's has). Keys wait in the
//! keyboard then.
//!
//! An interrupt is believed only once one has come: until then, readers poll; and they poll slowly ever after.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rhumb_bootinfo::{SerialInterrupt, SerialPort, SerialRegisters};
use rhumb_machine::{PhysAddr, VirtAddr};

use super::keyboard::Keyboard;
use super::screen;
use crate::arch::pci;
use crate::arch::uart::{Interrupts, Place, Uart};
use crate::cpu::clock::Deadline;
use crate::cpu::lock::IrqMutex;

/// Pasted text waits here while a command runs; the sender is held back beyond it.
const INPUT_BYTES: usize = 1024;
/// A FIFO is sent within 2 ms at 115200 baud, within 20 ms at 9600.
const STUCK_NS: u64 = 100_000_000;
/// How often to look for input while no interrupt has come: faster than a person types.
const POLL_NS: u64 = 5_000_000;
/// How often to look where interrupts come: should one be lost, the prompt is slow, not dead.
const SLOW_POLL_NS: u64 = 500_000_000;
/// Bytes of a keyboard that are taken at once: a whole buffer of one.
const KEY_BYTES: usize = 32;
/// Of ports about which nothing is said.
const BAUD: u32 = 115_200;

/// Control-C: interrupts the running command.
pub const INTERRUPT: u8 = 0x03;

/// The ports of a PC, with their ISA interrupts.
const COM: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
/// Registers in memory, where they are not yet mapped permanently, and how far apart.
type InMemory = (PhysAddr, u64);

struct Console {
    uart: Option<Uart>,
    interrupt: Option<SerialInterrupt>,
    in_memory: Option<InMemory>,
    /// It has not taken anything for too long.
    is_stuck: bool,
    keyboard: Option<Keyboard>,
    input: [u8; INPUT_BYTES],
    first: usize,
    held: usize,
    interrupted: bool,
}

static CONSOLE: IrqMutex<Console> = IrqMutex::new(Console {
    uart: None,
    interrupt: None,
    in_memory: None,
    is_stuck: false,
    keyboard: None,
    input: [0; INPUT_BYTES],
    first: 0,
    held: 0,
    interrupted: false,
});

/// Finds and programs the first UART. Without one there is the screen, if the loader names it.
pub fn init() {
    let legacy = COM.into_iter().map(|(port, irq)| (port, Some(SerialInterrupt::Isa(irq))));
    let on_pci = core::iter::once_with(pci::find_serial_port).flatten().map(|port| (port, None));
    let found = legacy.chain(on_pci).find_map(|(port, interrupt)| {
        // SAFETY: these ports are a serial port's or nothing's, and the console's alone.
        Some((unsafe { Uart::find(Place::Ports(port), Some(BAUD)) }?, interrupt))
    });
    if let Some((uart, interrupt)) = found {
        let mut console = CONSOLE.lock();
        console.uart = Some(uart);
        console.interrupt = interrupt;
    }
}

/// Moves the console to `port`, if there is a UART; says whether. `show` tells where memory can be reached now.
///
/// # Safety
/// There is a serial port there, or nothing; `show` tells the truth about memory below 4 GiB.
pub unsafe fn take(port: SerialPort, show: impl Fn(u64) -> VirtAddr) -> bool {
    let in_memory = match port.registers {
        SerialRegisters::Ports(_) => None,
        SerialRegisters::Bytes(at) => Some((at, 1)),
        SerialRegisters::Words(at) => Some((at, 4)),
    };
    let place = match (port.registers, in_memory) {
        (SerialRegisters::Ports(first), _) => Place::Ports(first),
        (_, Some((at, step_bytes))) if at.get() < 1 << 32 => Place::Memory { at: show(at.get()), step_bytes },
        _ => return false,
    };
    // The clock of one that is no PC's is not known: it keeps the speed that the firmware gave it.
    let baud = if in_memory.is_some() { None } else { port.baud.or(Some(BAUD)) };
    // SAFETY: there are a UART's registers at the place, or nothing, by the caller's promise; the console alone uses
    // them.
    let Some(uart) = (unsafe { Uart::find(place, baud) }) else { return false };
    let mut console = CONSOLE.lock();
    console.uart = Some(uart);
    console.interrupt = port.interrupt;
    console.in_memory = in_memory;
    true
}

/// Returns the console's registers, where they are in memory: boot maps them.
pub fn registers_in_memory() -> Option<PhysAddr> {
    CONSOLE.lock().in_memory.map(|(at, _)| at)
}

/// Says where the kernel's own tables show registers in memory. Right after they are loaded.
///
/// # Safety
/// `mapped` tells the truth. A console that it does not know is gone.
pub unsafe fn remap(mapped: impl Fn(PhysAddr) -> Option<VirtAddr>) {
    let mut console = CONSOLE.lock();
    let Some((at, step_bytes)) = console.in_memory else { return };
    match (mapped(at), &mut console.uart) {
        // SAFETY: the kernel's tables show the same registers there, by the caller's promise.
        (Some(at), Some(uart)) => unsafe { uart.move_to(Place::Memory { at, step_bytes }) },
        _ => console.uart = None,
    }
}

/// Returns the interrupt of the console's UART; `None` where it must be polled.
pub fn interrupt() -> Option<SerialInterrupt> {
    CONSOLE.lock().interrupt
}

/// An I/O APIC sends the UART's interrupt here.
static ROUTED: AtomicBool = AtomicBool::new(false);
/// And one has come.
static SEEN: AtomicBool = AtomicBool::new(false);
/// An interrupt of the keyboard has come.
static KEYS_SEEN: AtomicBool = AtomicBool::new(false);

/// Returns how often to look for input.
pub fn poll_ns() -> u64 {
    let console = CONSOLE.lock();
    let line_is_proven = console.uart.is_none() || SEEN.load(Relaxed);
    let has_keys = console.keyboard.as_ref().is_some_and(Keyboard::is_there);
    let keys_are_proven = !has_keys || KEYS_SEEN.load(Relaxed);
    if line_is_proven && keys_are_proven { SLOW_POLL_NS } else { POLL_NS }
}

/// Finds the keyboard and sets it up; tells whether there is a controller for one.
pub fn find_keyboard() -> bool {
    match Keyboard::find() {
        Ok(keyboard) => {
            if !keyboard.is_there() {
                log::debug!("console: no keyboard answers");
            }
            CONSOLE.lock().keyboard = Some(keyboard);
            true
        }
        Err(absent) => {
            log::debug!("console: {absent}");
            false
        }
    }
}

/// Lets the keyboard interrupt: its line is routed.
pub fn enable_keyboard_interrupts() {
    if let Some(keyboard) = &mut CONSOLE.lock().keyboard {
        keyboard.enable_interrupts();
    }
}

/// Handles the keyboard's interrupt: moves what was typed into the ring.
pub fn on_keyboard_interrupt() {
    KEYS_SEEN.store(true, Relaxed);
    CONSOLE.lock().receive();
}

/// Asks the UART to interrupt when bytes arrive: its line is routed.
pub fn enable_interrupts() {
    ROUTED.store(true, Relaxed);
    CONSOLE.lock().set_interrupts();
}

/// Runs `job` without the UART's interrupts. Bytes that arrive meanwhile wait in its FIFO.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only `count` measures"))]
pub fn without_interrupts(job: impl FnOnce()) {
    if let Some(uart) = &mut CONSOLE.lock().uart {
        uart.set_interrupts(Interrupts::Off);
    }
    job();
    CONSOLE.lock().set_interrupts();
}

/// Handles the UART's interrupt: moves the bytes that have arrived into the ring.
pub fn on_interrupt() {
    SEEN.store(true, Relaxed);
    CONSOLE.lock().receive();
}

/// Returns the next byte of input, if there is one.
pub fn read() -> Option<u8> {
    let mut console = CONSOLE.lock();
    console.receive();
    if console.held == 0 {
        return None;
    }
    let byte = console.input[console.first];
    console.first = (console.first + 1) % INPUT_BYTES;
    console.held -= 1;
    if console.held == INPUT_BYTES - 1 {
        console.set_interrupts();
    }
    Some(byte)
}

/// Tells whether a byte waits.
pub fn has_input() -> bool {
    let mut console = CONSOLE.lock();
    console.receive();
    console.held > 0
}

/// Tells whether control-C has come since [`clear_interrupt`]. It stays in the input, too. Commands that take long ask
/// often, so the screen catches up meanwhile.
pub fn is_interrupted() -> bool {
    screen::draw_if_rested();
    let mut console = CONSOLE.lock();
    console.receive();
    console.interrupted
}

/// Forgets a control-C.
pub fn clear_interrupt() {
    CONSOLE.lock().interrupted = false;
}

/// Writes all of `text`, to the line and to the screen.
pub fn write(text: &str) {
    write_to_line(text);
    screen::write(text);
}

/// Writes all of `text` to the UART; a line feed gets its carriage return. Lost where the UART is stuck.
fn write_to_line(text: &str) {
    let mut rest = text.as_bytes();
    let mut deadline = Deadline::after_ns(STUCK_NS);
    while !rest.is_empty() {
        let sent = CONSOLE.lock().send(rest);
        if sent > 0 {
            rest = &rest[sent..];
            deadline = Deadline::after_ns(STUCK_NS);
            continue;
        }
        let mut console = CONSOLE.lock();
        if console.uart.is_none() || console.is_stuck {
            return;
        }
        console.is_stuck = deadline.has_passed();
        drop(console);
        core::hint::spin_loop();
    }
}

/// Opens the lock of a holder that will never open it.
///
/// # Safety
/// The holder never goes on: this CPU does not go back to what it did, and any other one has stopped, or has a
/// non-maskable interrupt to stop it waiting, which it takes before all else.
pub unsafe fn break_lock() {
    if CONSOLE.try_lock().is_none() {
        // SAFETY: the caller promises that the holder does not go on, so that it neither uses the console nor drops its
        // guard.
        unsafe { CONSOLE.force_unlock() };
    }
    // SAFETY: the caller promises the same of the screen's holder.
    unsafe { screen::break_lock() };
}

/// The console as a [`fmt::Write`].
pub struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text);
        Ok(())
    }
}

impl Console {
    /// Gives the UART as many of `bytes` as it takes now; returns how many.
    fn send(&mut self, bytes: &[u8]) -> usize {
        let Some(uart) = &mut self.uart else { return 0 };
        let mut room = uart.room();
        if room == 0 {
            return 0;
        }
        self.is_stuck = false;
        // A line feed takes the room of two bytes; where there is room for one only, the next look finds more.
        let mut sent = 0;
        for &byte in bytes {
            let needed = if byte == b'\n' { 2 } else { 1 };
            if room < needed && sent > 0 {
                break;
            }
            if byte == b'\n' {
                uart.send(b'\r');
                if room < needed {
                    wait_for_room(uart);
                }
            }
            uart.send(byte);
            sent += 1;
            room = room.saturating_sub(needed);
        }
        sent
    }

    /// Lets the UART interrupt, if its line is routed and there is room for what it brings.
    fn set_interrupts(&mut self) {
        if let Some(uart) = &mut self.uart
            && ROUTED.load(Relaxed)
            && self.held < INPUT_BYTES
        {
            uart.set_interrupts(Interrupts::On);
        }
    }

    fn receive(&mut self) {
        self.receive_from_line();
        self.receive_keys();
    }

    fn receive_keys(&mut self) {
        for _ in 0..KEY_BYTES {
            if self.held + rhumb_keyboard::keys::MOST_BYTES > INPUT_BYTES {
                return;
            }
            let Some(typed) = self.keyboard.as_mut().and_then(Keyboard::receive) else { return };
            typed.into_iter().for_each(|byte| self.keep(byte));
        }
    }

    /// Puts a byte into the ring, which has room.
    fn keep(&mut self, byte: u8) {
        self.interrupted |= byte == INTERRUPT;
        self.input[(self.first + self.held) % INPUT_BYTES] = byte;
        self.held += 1;
    }

    fn receive_from_line(&mut self) {
        let Some(mut uart) = self.uart else { return };
        while self.held < INPUT_BYTES {
            let Some(byte) = uart.receive() else { return };
            self.keep(byte);
        }
        uart.set_interrupts(Interrupts::Off);
    }
}

/// Waits between the two bytes of a line's end, on a UART without a FIFO: a tenth of a millisecond.
fn wait_for_room(uart: &mut Uart) {
    let deadline = Deadline::after_ns(STUCK_NS / 100);
    while uart.room() == 0 && !deadline.has_passed() {
        core::hint::spin_loop();
    }
}
