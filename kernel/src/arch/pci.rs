//! PCI configuration space, by the two ports that every PC has (mechanism 1): enough to find a serial port and to
//! reset.
//!
//! Source: PCI Local Bus Specification 3.0, 3.2.2.3.2 and 6.1.

use x86_64::instructions::port::Port;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

const IDENTITY: u8 = 0x00;
const COMMAND: u8 = 0x04;
const CLASS: u8 = 0x08;
const HEADER: u8 = 0x0c;
const FIRST_BASE: u8 = 0x10;

const ABSENT: u32 = u32::MAX;
const DECODES_PORTS: u32 = 1 << 0;
const HAS_MORE_FUNCTIONS: u32 = 1 << 23;
const IS_PORTS: u32 = 1 << 0;
/// Communication controller, serial.
const SERIAL: u32 = 0x0700;
/// 8250, 16450, 16550, 16650, 16750, 16850, 16950: all look alike from here.
const LAST_8250_KIND: u32 = 6;

/// A function of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl Function {
    fn select(self, register: u8) {
        let (bus, device, function) =
            (u32::from(self.bus), u32::from(self.device & 31), u32::from(self.function & 7));
        let address = ENABLE | bus << 16 | device << 11 | function << 8 | u32::from(register & !3);
        // SAFETY: the port selects a register and does nothing else.
        unsafe { Port::<u32>::new(ADDRESS).write(address) };
    }

    /// Reads the 32 bits at `register`.
    fn read(self, register: u8) -> u32 {
        self.select(register);
        // SAFETY: registers that are read here have no effect when they are read.
        unsafe { Port::<u32>::new(DATA).read() }
    }

    /// Writes one byte.
    ///
    /// # Safety
    /// The write does what the caller wants of that register.
    pub unsafe fn write_byte(self, register: u8, value: u8) {
        self.select(register);
        // SAFETY: the write does what the caller wants of the register, by the caller's promise.
        unsafe { Port::<u8>::new(DATA + u16::from(register & 3)).write(value) };
    }
}

/// Returns the I/O ports of the first serial port among the devices of all buses that is a 16550 and that the firmware
/// has given ports. Not for use while others use the configuration space.
pub fn find_serial_port() -> Option<u16> {
    let functions = (0..=u8::MAX).flat_map(|bus| (0..32).flat_map(move |device| functions_of(bus, device)));
    functions.filter_map(ports_of_serial).next()
}

fn functions_of(bus: u8, device: u8) -> impl Iterator<Item = Function> {
    let at = move |function| Function { bus, device, function };
    let last = match at(0).read(IDENTITY) {
        ABSENT => 0,
        _ if at(0).read(HEADER) & HAS_MORE_FUNCTIONS != 0 => 8,
        _ => 1,
    };
    (0..last).map(at)
}

fn ports_of_serial(function: Function) -> Option<u16> {
    if function.read(IDENTITY) == ABSENT {
        return None;
    }
    let class = function.read(CLASS);
    if class >> 16 != SERIAL || class >> 8 & 0xff > LAST_8250_KIND {
        return None;
    }
    let base = function.read(FIRST_BASE);
    if base & IS_PORTS == 0 || function.read(COMMAND) & DECODES_PORTS == 0 {
        return None;
    }
    u16::try_from(base & !3).ok().filter(|&first| first != 0)
}
