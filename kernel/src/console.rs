//! The serial console: COM1, 115200 baud, 8N1.
//!
//! Output takes the lock for one FIFO's worth of bytes at a time, so that interrupts are never off for longer than
//! those take. Input arrives by interrupt into a ring; when the ring is full the UART's receive interrupt goes off and
//! its FIFO fills, which holds the sender back where the line has flow control (an emulator's has). Without an
//! interrupt line (no I/O APIC) readers poll.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::IER;
use uart_16550::{BaudRate, Config, Uart16550};

use crate::sync::IrqMutex;

const COM1: u16 = 0x3f8;
/// Pasted text waits here while a command runs; the sender is held back beyond it.
const INPUT_BYTES: usize = 1024;
/// Bytes written under one hold of the lock: the 16550's transmit FIFO.
const CHUNK_BYTES: usize = 16;

/// Control-C: interrupts the running command.
pub const INTERRUPT: u8 = 0x03;

struct Console {
    uart: Option<Uart16550<PioBackend>>,
    input: [u8; INPUT_BYTES],
    first: usize,
    held: usize,
    interrupted: bool,
}

static CONSOLE: IrqMutex<Console> =
    IrqMutex::new(Console { uart: None, input: [0; INPUT_BYTES], first: 0, held: 0, interrupted: false });

/// Finds and programs the UART. Without one the kernel runs mute.
pub fn init() {
    // SAFETY: COM1's ports belong to the console alone.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(COM1) }) else { return };
    if uart.init(Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT }).is_ok() {
        CONSOLE.lock().uart = Some(uart);
    }
}

static INTERRUPT_DRIVEN: AtomicBool = AtomicBool::new(false);

/// Whether an interrupt tells of input. Otherwise readers look again and again.
pub fn is_interrupt_driven() -> bool {
    INTERRUPT_DRIVEN.load(Relaxed)
}

/// Asks the UART to interrupt when bytes arrive: its line is routed.
pub fn enable_interrupts() {
    INTERRUPT_DRIVEN.store(true, Relaxed);
    if let Some(uart) = &mut CONSOLE.lock().uart {
        uart.enable_interrupts(IER::DATA_READY);
    }
}

/// Runs `job` without the UART's interrupts. What arrives meanwhile waits in its FIFO.
pub fn without_interrupts(job: impl FnOnce()) {
    if let Some(uart) = &mut CONSOLE.lock().uart {
        uart.disable_interrupts(IER::DATA_READY);
    }
    job();
    let mut console = CONSOLE.lock();
    if is_interrupt_driven()
        && console.held < INPUT_BYTES
        && let Some(uart) = &mut console.uart
    {
        uart.enable_interrupts(IER::DATA_READY);
    }
}

/// The UART's interrupt: moves what has arrived into the ring.
pub fn on_interrupt() {
    CONSOLE.lock().receive();
}

/// The next byte of input, if there is one.
pub fn read() -> Option<u8> {
    let mut console = CONSOLE.lock();
    console.receive();
    if console.held == 0 {
        return None;
    }
    let byte = console.input[console.first];
    console.first = (console.first + 1) % INPUT_BYTES;
    console.held -= 1;
    if console.held == INPUT_BYTES - 1
        && let Some(uart) = &mut console.uart
    {
        uart.enable_interrupts(IER::DATA_READY);
    }
    Some(byte)
}

/// Whether a byte waits.
pub fn has_input() -> bool {
    let mut console = CONSOLE.lock();
    console.receive();
    console.held > 0
}

/// Whether control-C has come since [`clear_interrupt`]. It stays in the input, too.
pub fn is_interrupted() -> bool {
    let mut console = CONSOLE.lock();
    console.receive();
    console.interrupted
}

/// Forgets a control-C.
pub fn clear_interrupt() {
    CONSOLE.lock().interrupted = false;
}

/// Writes all of `text`; a line feed gets its carriage return.
pub fn write(text: &str) {
    for chunk in text.as_bytes().chunks(CHUNK_BYTES) {
        CONSOLE.lock().send(chunk);
    }
}

/// As [`write()`], past a lock that its holder will never open.
///
/// # Safety
/// All other CPUs have stopped, or do not matter any more.
pub unsafe fn break_lock() {
    if CONSOLE.try_lock().is_none() {
        // SAFETY: the caller's promise.
        unsafe { CONSOLE.force_unlock() };
    }
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
    fn send(&mut self, bytes: &[u8]) {
        let Some(uart) = &mut self.uart else { return };
        for &byte in bytes {
            if byte == b'\n' {
                uart.send_bytes_exact(b"\r");
            }
            uart.send_bytes_exact(&[byte]);
        }
    }

    fn receive(&mut self) {
        let Some(uart) = &mut self.uart else { return };
        while self.held < INPUT_BYTES {
            let Ok(byte) = uart.try_receive_byte() else { return };
            self.interrupted |= byte == INTERRUPT;
            self.input[(self.first + self.held) % INPUT_BYTES] = byte;
            self.held += 1;
        }
        uart.disable_interrupts(IER::DATA_READY);
    }
}
