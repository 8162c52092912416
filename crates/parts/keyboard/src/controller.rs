//! [`Controller`]: the i8042, the keyboard controller of PCs.
//!
//! ```text
//!  port 0x60   data: a byte from a device, or for one
//!  port 0x64   read: status     0 a byte waits   1 busy with the last write   5 the byte is of the second port, a mouse
//!              written: commands to the controller itself
//! ```
//!
//! The set-up turns the second port off, has scan codes translated to set 1, and asks the keyboard to report keys.
//! Firmware has used the keyboard before, so bytes that wait are dropped first. No self-test is run: on some machines it
//! resets the touchpad or takes half a second, and the controller's answer to a read of its configuration tells as much.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, keyboard and auxiliary device controller.

use core::fmt;

const BYTE_WAITS: u8 = 1 << 0;
const IS_BUSY: u8 = 1 << 1;
const OF_SECOND_PORT: u8 = 1 << 5;
/// The value of a port that no device drives.
const FLOATING: u8 = 0xff;

const READ_CONFIGURATION: u8 = 0x20;
const WRITE_CONFIGURATION: u8 = 0x60;
const SECOND_PORT_OFF: u8 = 0xa7;
const FIRST_PORT_OFF: u8 = 0xad;
const FIRST_PORT_ON: u8 = 0xae;

const FIRST_PORT_INTERRUPT: u8 = 1 << 0;
const SECOND_PORT_INTERRUPT: u8 = 1 << 1;
const FIRST_PORT_IS_OFF: u8 = 1 << 4;
const SECOND_PORT_IS_OFF: u8 = 1 << 5;
const TRANSLATES: u8 = 1 << 6;

/// To the keyboard: report keys.
const REPORT_KEYS: u8 = 0xf4;
const ACKNOWLEDGED: u8 = 0xfa;

/// A controller's buffer holds one byte and a keyboard's sixteen or so; where more than this wait, no device answers.
const MOST_STALE: usize = 64;
/// Looks at a controller that does not answer before it is given up.
pub const LOOKS: usize = 1000;

/// The two ports, as the controller is reached.
pub trait Ports {
    /// Reads the status port.
    fn status(&mut self) -> u8;
    /// Reads the data port.
    fn read(&mut self) -> u8;
    /// Writes the data port.
    fn write(&mut self, byte: u8);
    /// Writes the command port.
    fn command(&mut self, byte: u8);
    /// Waits a little between two looks: [`LOOKS`] times this is how long the controller, or the keyboard, may take to
    /// answer. A tenth of a millisecond suits.
    fn pause(&mut self);
}

/// There is no keyboard controller that answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// The ports read as if nothing were there.
    NoController,
    /// The controller does not take a command or does not answer one.
    NoAnswer,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoController => "there is no keyboard controller",
            Self::NoAnswer => "the keyboard controller does not answer",
        })
    }
}

/// A controller that was set up.
#[derive(Debug)]
pub struct Controller<P> {
    pub(crate) ports: P,
    configuration: u8,
    has_keyboard: bool,
}

impl<P: Ports> Controller<P> {
    /// Sets the controller up, its interrupts off. At most some thousand looks, each with a pause.
    ///
    /// # Errors
    /// [`Absent`]: the machine has no such controller, or a dead one.
    pub fn start(mut ports: P) -> Result<Self, Absent> {
        if ports.status() == FLOATING {
            return Err(Absent::NoController);
        }
        let mut controller = Self { ports, configuration: 0, has_keyboard: false };
        controller.command(FIRST_PORT_OFF)?;
        controller.command(SECOND_PORT_OFF)?;
        controller.drop_stale()?;
        controller.command(READ_CONFIGURATION)?;
        let found = controller.wait_for_byte().ok_or(Absent::NoAnswer)?;
        controller.configuration = (found | TRANSLATES | SECOND_PORT_IS_OFF)
            & !(FIRST_PORT_INTERRUPT | SECOND_PORT_INTERRUPT | FIRST_PORT_IS_OFF);
        controller.write_configuration()?;
        controller.command(FIRST_PORT_ON)?;
        controller.send(REPORT_KEYS)?;
        // A key may have been pressed before the keyboard took the command.
        controller.has_keyboard =
            (0..MOST_STALE).map_while(|_| controller.wait_for_byte()).any(|byte| byte == ACKNOWLEDGED);
        Ok(controller)
    }

    /// Tells whether a keyboard answered. One may be plugged in later.
    pub const fn has_keyboard(&self) -> bool {
        self.has_keyboard
    }

    /// Lets the controller interrupt when a byte waits. Where a keyboard answered, the first interrupt is on its way
    /// then: the keyboard acknowledges a command. So the kernel learns whether interrupts come without a key.
    pub fn enable_interrupts(&mut self) {
        self.configuration |= FIRST_PORT_INTERRUPT;
        // It has answered before; and where it does not now, the kernel sees no interrupt, and polls.
        let _ = self.write_configuration();
        if self.has_keyboard {
            let _ = self.send(REPORT_KEYS);
        }
    }

    /// Returns the next byte of the keyboard, if one waits. Bytes of a mouse are dropped.
    pub fn receive(&mut self) -> Option<u8> {
        for _ in 0..MOST_STALE {
            let status = self.ports.status();
            if status == FLOATING || status & BYTE_WAITS == 0 {
                return None;
            }
            let byte = self.ports.read();
            if status & OF_SECOND_PORT == 0 {
                return Some(byte);
            }
        }
        None
    }

    fn write_configuration(&mut self) -> Result<(), Absent> {
        self.command(WRITE_CONFIGURATION)?;
        self.send(self.configuration)
    }

    fn command(&mut self, command: u8) -> Result<(), Absent> {
        self.wait_until_it_takes()?;
        self.ports.command(command);
        Ok(())
    }

    fn send(&mut self, byte: u8) -> Result<(), Absent> {
        self.wait_until_it_takes()?;
        self.ports.write(byte);
        Ok(())
    }

    fn wait_until_it_takes(&mut self) -> Result<(), Absent> {
        for _ in 0..LOOKS {
            if self.ports.status() & IS_BUSY == 0 {
                return Ok(());
            }
            self.ports.pause();
        }
        Err(Absent::NoAnswer)
    }

    fn wait_for_byte(&mut self) -> Option<u8> {
        for _ in 0..LOOKS {
            if self.ports.status() & BYTE_WAITS != 0 {
                return Some(self.ports.read());
            }
            self.ports.pause();
        }
        None
    }

    fn drop_stale(&mut self) -> Result<(), Absent> {
        for _ in 0..MOST_STALE {
            if self.ports.status() & BYTE_WAITS == 0 {
                return Ok(());
            }
            self.ports.read();
            self.ports.pause();
        }
        Err(Absent::NoAnswer)
    }
}
