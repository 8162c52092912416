//! A serial port, as the command line or the firmware names it.
//!
//! A 16550 has eight registers. Where they are is all that differs between machines: adjoining I/O ports on a PC, bytes
//! or 32-bit words in memory elsewhere.

use rhumb_machine::PhysAddr;

/// Where a 16550's eight registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialRegisters {
    /// Adjoining I/O ports, from this one on. All eight exist.
    Ports(u16),
    /// Adjoining bytes in memory.
    Bytes(PhysAddr),
    /// Adjoining 32-bit words in memory, of which the lowest byte counts.
    Words(PhysAddr),
}

/// By which interrupt a serial port says that it has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialInterrupt {
    /// An ISA interrupt, 0..=15: [`crate::Topology::isa_route`] says where it arrives.
    Isa(u8),
    /// A global system interrupt.
    Global(u32),
}

/// A serial port that the console can be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialPort {
    /// Where its registers are.
    pub registers: SerialRegisters,
    /// Its interrupt; `None` where it must be polled.
    pub interrupt: Option<SerialInterrupt>,
    /// Its speed; `None` where nothing is said.
    pub baud: Option<u32>,
}

/// The ports of COM1 to COM4 and their ISA interrupts.
const COM: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];

/// The last port from which eight registers fit.
const LAST_PORT: u64 = 0xfff8;

impl SerialPort {
    /// COM1, the serial port of a PC about which nothing else is known.
    pub const COM1: Self = Self::com(0);

    const fn com(index: usize) -> Self {
        let (port, irq) = COM[index];
        Self {
            registers: SerialRegisters::Ports(port),
            interrupt: Some(SerialInterrupt::Isa(irq)),
            baud: None,
        }
    }

    /// Returns a serial port at `port`, with the interrupt that it has on a PC; `None` where not all registers are
    /// ports.
    pub(crate) fn at_port(port: u64) -> Option<Self> {
        let registers = SerialRegisters::Ports(u16::try_from(port).ok().filter(|_| port <= LAST_PORT)?);
        let known = (0..COM.len()).map(Self::com).find(|com| com.registers == registers);
        Some(known.unwrap_or(Self { registers, interrupt: None, baud: None }))
    }

    /// Returns a serial port in memory at `at`, its registers `register_bytes` apart; `None` where that is neither 1
    /// nor 4, or where the registers wrap.
    pub(crate) fn in_memory(at: u64, register_bytes: u8) -> Option<Self> {
        let at = PhysAddr::new(at);
        at.checked_add(u64::from(register_bytes) * 8)?;
        let registers = match register_bytes {
            1 => SerialRegisters::Bytes(at),
            4 => SerialRegisters::Words(at),
            _ => return None,
        };
        Some(Self { registers, interrupt: None, baud: None })
    }

    /// Returns COM1 to COM4 by number, from 1.
    pub(crate) fn by_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        COM.get(index).map(|_| Self::com(index))
    }
}
