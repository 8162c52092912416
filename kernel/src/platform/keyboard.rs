//! The PS/2 keyboard: the ports of its controller.

use rhumb_keyboard::{Absent, Controller, Keys, Ports, Typed};
use x86_64::instructions::port::Port;

use crate::cpu::clock;

/// By which ISA interrupt it says that a byte waits.
pub const IRQ: u8 = 1;

const DATA: u16 = 0x60;
const STATUS: u16 = 0x64;
/// A thousand of these are as long as the controller, or the keyboard, may take.
const PAUSE_NS: u64 = 100_000;

/// The two ports that every PC with such a controller has.
struct I8042;

impl Ports for I8042 {
    fn status(&mut self) -> u8 {
        // SAFETY: the port is the keyboard controller's or nothing's; its status changes by no read.
        unsafe { Port::<u8>::new(STATUS).read() }
    }

    fn read(&mut self) -> u8 {
        // SAFETY: the port is the keyboard controller's or nothing's; the byte that the read takes is the caller's.
        unsafe { Port::<u8>::new(DATA).read() }
    }

    fn write(&mut self, byte: u8) {
        // SAFETY: the controller's port; the set-up, which alone writes, sends what the controller knows, and the kernel
        // has one of it.
        unsafe { Port::<u8>::new(DATA).write(byte) };
    }

    fn command(&mut self, byte: u8) {
        // SAFETY: the controller's port; the set-up, which alone writes, sends what the controller knows, none of which
        // resets the machine.
        unsafe { Port::<u8>::new(STATUS).write(byte) };
    }

    fn pause(&mut self) {
        clock::delay_ns(PAUSE_NS);
    }
}

/// A keyboard that was found.
pub struct Keyboard {
    controller: Controller<I8042>,
    keys: Keys,
}

impl Keyboard {
    /// Sets the keyboard up, its interrupts off. Takes a tenth of a second where there is a controller and no keyboard.
    ///
    /// # Errors
    /// [`Absent`]: there is no controller.
    pub fn find() -> Result<Self, Absent> {
        Ok(Self { controller: Controller::start(I8042)?, keys: Keys::new() })
    }

    /// Tells whether a keyboard answered. One may be plugged in later.
    pub fn is_there(&self) -> bool {
        self.controller.has_keyboard()
    }

    /// Lets it interrupt; the first interrupt comes by itself where a keyboard answered.
    pub fn enable_interrupts(&mut self) {
        self.controller.enable_interrupts();
    }

    /// Returns the bytes of the next key that was pressed, if a byte waits; none, where it is no key's end.
    pub fn receive(&mut self) -> Option<Typed> {
        self.controller.receive().map(|code| self.keys.take(code))
    }
}
