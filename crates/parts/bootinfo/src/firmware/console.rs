//! SPCR and DBG2: the serial port that the firmware talks on.
//!
//! ```text
//! SPCR:  36 interface u8   40 registers (address structure)   52 interrupt kinds u8   53 ISA interrupt u8
//!        54 global interrupt u32   58 speed u8                                        80 bytes at least
//! DBG2:  36 offset of the first device u32   40 devices u32
//!   device:  1 length u16   3 addresses u8   12 port type u16   14 subtype u16   18 offset of the addresses u16
//! address structure:  0 space u8   1 width u8   3 access size u8   4 address u64
//! ```
//!
//! The SPCR names the port of the firmware's own console (serial over LAN, most often), the DBG2 the port of a
//! debugger, which is the better guess only where there is no SPCR.
//!
//! Source: Microsoft's Serial Port Console Redirection Table (revision 1.10) and Debug Port Table 2.

use super::finding::{FirmwareFinding, TableFault};
use super::tables::Table;
use crate::phys::Fields;
use crate::serial::{SerialInterrupt, SerialPort};

const SPCR_BYTES: usize = 80;
const DBG2_BYTES: usize = 44;
const DBG2_DEVICE_BYTES: usize = 22;

const PORT_TYPE_SERIAL: u16 = 0x8000;
/// 16550, 16450 that takes writes to a FIFO register, and 16550 as the address structure says.
const INTERFACES_16550: [u16; 3] = [0x00, 0x01, 0x12];

const SPACE_MEMORY: u8 = 0;
const SPACE_IO: u8 = 1;

const INTERRUPT_8259: u8 = 1 << 0;
const INTERRUPT_IO_APIC: u8 = 1 << 1;

/// Returns the console that the SPCR names; `None` where it is no 16550 that can be reached, or where there is no
/// console (address 0).
pub(super) fn from_spcr(spcr: &Table<'_>) -> Result<Option<SerialPort>, FirmwareFinding> {
    let bytes = spcr.bytes;
    let fields = Fields(bytes);
    if bytes.len() < SPCR_BYTES {
        return Err(spcr.too_short());
    }
    let port = port(u16::from(bytes[36]), Fields(&bytes[40..52])).map_err(|fault| spcr.finding(fault))?;
    Ok(port.map(|port| SerialPort {
        interrupt: match (bytes[52], fields.u32(54)) {
            (kinds, Some(gsi)) if kinds & INTERRUPT_IO_APIC != 0 => Some(SerialInterrupt::Global(gsi)),
            (kinds, _) if kinds & INTERRUPT_8259 != 0 && bytes[53] < 16 => {
                Some(SerialInterrupt::Isa(bytes[53]))
            }
            _ => None,
        },
        baud: match bytes[58] {
            3 => Some(9600),
            4 => Some(19_200),
            6 => Some(57_600),
            7 => Some(115_200),
            _ => None,
        },
        ..port
    }))
}

/// Returns the first serial port among the DBG2's devices that is a 16550 that can be reached.
pub(super) fn from_dbg2(dbg2: &Table<'_>) -> Result<Option<SerialPort>, FirmwareFinding> {
    let fields = Fields(dbg2.bytes);
    let (Some(first), Some(count)) = (fields.u32(36), fields.u32(40)) else { return Err(dbg2.too_short()) };
    let mut offset = (first as usize).max(DBG2_BYTES);
    // Each device is at least 22 bytes long, so the table's end bounds the loop, whatever `count` says.
    for _ in 0..count {
        let length = dbg2
            .bytes
            .get(offset + 1..offset + 3)
            .map_or(0, |at| usize::from(at[0]) | usize::from(at[1]) << 8);
        let device = dbg2.bytes.get(offset..offset + length).filter(|_| length >= DBG2_DEVICE_BYTES);
        let Some(device) = device else {
            let fault = TableFault::EntryLength { offset, length: length as u32 };
            return Err(dbg2.finding(fault));
        };
        if let Some(port) = port_of_device(device) {
            return Ok(Some(port));
        }
        offset += length;
    }
    Ok(None)
}

/// Returns the 16550 that a device of the DBG2 is.
fn port_of_device(device: &[u8]) -> Option<SerialPort> {
    let word = |at: usize| u16::from(device[at]) | u16::from(device[at + 1]) << 8;
    if word(12) != PORT_TYPE_SERIAL || device[3] == 0 {
        return None;
    }
    let address = device.get(usize::from(word(18))..)?.get(..12)?;
    port(word(14), Fields(address)).ok().flatten()
}

/// Returns the port with this interface at this address; `None` where the address is 0, which means that there is none.
fn port(interface: u16, address: Fields<'_>) -> Result<Option<SerialPort>, TableFault> {
    let Some(at) = address.u64(4).filter(|&at| at != 0) else { return Ok(None) };
    if !INTERFACES_16550.contains(&interface) {
        return Err(TableFault::ConsoleInterface(interface));
    }
    let &[space, width, _, access, ..] = address.0 else { return Ok(None) };
    let port = match space {
        SPACE_IO => SerialPort::at_port(at),
        // 32 bits wide, or to be accessed by 32 bits: the registers are that far apart.
        SPACE_MEMORY if width == 32 || access == 3 => SerialPort::in_memory(at, 4),
        SPACE_MEMORY => SerialPort::in_memory(at, 1),
        _ => None,
    };
    port.map(Some).ok_or(TableFault::RegisterSpace("console"))
}
