//! A 16550 UART, wherever its registers are.
//!
//! No function waits: one that finds the UART busy says so. Source: National Semiconductor PC16550D data sheet.

use rhumb_machine::VirtAddr;
use x86_64::instructions::port::Port;

/// Data, or the divisor's low byte.
const DATA: u16 = 0;
/// Interrupts, or the divisor's high byte.
const INTERRUPTS: u16 = 1;
/// Written: the FIFOs. Read: which interrupt.
const FIFO: u16 = 2;
const LINE: u16 = 3;
const MODEM: u16 = 4;
const LINE_STATUS: u16 = 5;
const MODEM_STATUS: u16 = 6;

const INTERRUPT_DATA: u8 = 1 << 0;
const INTERRUPT_ALL: u8 = 0b1111;
/// On, both emptied, an interrupt with the first byte.
const FIFO_ON: u8 = 0b0000_0111;
const FIFO_IS_ON: u8 = 0b1100_0000;
const LINE_8N1: u8 = 0b11;
const LINE_DIVISOR: u8 = 1 << 7;
/// Ready to send and to receive, and the output that lets interrupts out on a PC.
const MODEM_READY: u8 = 0b1011;
const HAS_DATA: u8 = 1 << 0;
const CAN_TAKE: u8 = 1 << 5;

const FIFO_BYTES: usize = 16;
const MOST_BAUD: u32 = 115_200;

/// Where the registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Eight adjoining I/O ports.
    Ports(u16),
    /// Mapped memory, so many bytes from one register to the next.
    Memory { at: VirtAddr, step_bytes: u64 },
}

/// A UART that is there and is programmed.
#[derive(Clone, Copy, Debug)]
pub struct Uart {
    place: Place,
    /// How many bytes it takes when it can take any.
    room: usize,
}

impl Uart {
    /// Programs the UART at `place`: 8 data bits, no parity, `baud` where it is named, else what it has; its interrupts
    /// off. `None` where there is none.
    ///
    /// # Safety
    /// There are a UART's registers at `place`, or nothing; nothing else uses them.
    pub unsafe fn find(place: Place, baud: Option<u32>) -> Option<Self> {
        let mut uart = Self { place, room: 1 };
        uart.is_there().then(|| {
            uart.program(baud);
            uart
        })
    }

    /// Tells whether there is one: its four interrupts can be turned on and off, and the bits above cannot.
    fn is_there(&mut self) -> bool {
        self.write(INTERRUPTS, 0);
        let off = self.read(INTERRUPTS);
        self.write(INTERRUPTS, INTERRUPT_ALL);
        let on = self.read(INTERRUPTS);
        self.write(INTERRUPTS, 0);
        off & INTERRUPT_ALL == 0 && on == INTERRUPT_ALL
    }

    fn program(&mut self, baud: Option<u32>) {
        if let Some(divisor) = baud.map(|baud| MOST_BAUD / baud.clamp(1, MOST_BAUD)) {
            let [low, high, ..] = divisor.to_le_bytes();
            self.write(LINE, LINE_DIVISOR);
            self.write(DATA, low);
            self.write(INTERRUPTS, high);
        }
        self.write(LINE, LINE_8N1);
        self.write(FIFO, FIFO_ON);
        self.write(MODEM, MODEM_READY);
        if self.read(FIFO) & FIFO_IS_ON == FIFO_IS_ON {
            self.room = FIFO_BYTES;
        }
        // The bytes that were there before raise no interrupt any more.
        for register in [LINE_STATUS, DATA, FIFO, MODEM_STATUS] {
            self.read(register);
        }
    }

    /// Returns how many bytes it takes now: none while it sends.
    pub fn room(&mut self) -> usize {
        if self.read(LINE_STATUS) & CAN_TAKE != 0 { self.room } else { 0 }
    }

    /// Gives it a byte. There is room.
    pub fn send(&mut self, byte: u8) {
        self.write(DATA, byte);
    }

    /// Returns a byte that has arrived.
    pub fn receive(&mut self) -> Option<u8> {
        (self.read(LINE_STATUS) & HAS_DATA != 0).then(|| self.read(DATA))
    }

    /// Sets whether it interrupts when a byte has arrived.
    pub fn set_interrupts(&mut self, interrupts: Interrupts) {
        self.write(INTERRUPTS, if interrupts == Interrupts::On { INTERRUPT_DATA } else { 0 });
    }

    /// Says that the same registers are at `place` from now on.
    ///
    /// # Safety
    /// There are this UART's registers at `place`, and nothing else uses them.
    pub unsafe fn move_to(&mut self, place: Place) {
        self.place = place;
    }

    fn read(&mut self, register: u16) -> u8 {
        // SAFETY: the place is a UART's, by the promise to `find`; reading a register takes at most a byte that has
        // arrived, for the caller.
        unsafe {
            match self.place {
                Place::Ports(first) => Port::<u8>::new(first + register).read(),
                Place::Memory { at, step_bytes: 4 } => {
                    at.plus(u64::from(register) * 4).as_ptr::<u32>().read_volatile() as u8
                }
                Place::Memory { at, step_bytes } => {
                    at.plus(u64::from(register) * step_bytes).as_ptr::<u8>().read_volatile()
                }
            }
        }
    }

    fn write(&mut self, register: u16, value: u8) {
        // SAFETY: the place is a UART's, by the promise to `find`, and nothing else uses it.
        unsafe {
            match self.place {
                Place::Ports(first) => Port::<u8>::new(first + register).write(value),
                Place::Memory { at, step_bytes: 4 } => {
                    at.plus(u64::from(register) * 4).as_mut_ptr::<u32>().write_volatile(value.into())
                }
                Place::Memory { at, step_bytes } => {
                    at.plus(u64::from(register) * step_bytes).as_mut_ptr::<u8>().write_volatile(value)
                }
            }
        }
    }
}

/// Whether a UART interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupts {
    On,
    Off,
}
