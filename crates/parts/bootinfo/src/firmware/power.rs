//! FADT and DSDT: the timer, the reset register, and how to power off.
//!
//! Powering off means writing a "sleep type" and an enable bit to one or two control registers. The registers are in
//! the FADT. The sleep type is in a package called `\_S5` of the DSDT (or of an SSDT), which is a program for an
//! interpreter; but firmware writes that package as a constant, so it can be found by its bytes:
//!
//! ```text
//!  08 [5c] 5f 53 35 5f   12   length (1..4)   count   type for PM1a   type for PM1b   ...
//!  Name [\] _  S  5  _   Package                      each: 00 | 01 | 0a byte | 0b word | 0c dword
//! ```
//!
//! Why not an AML interpreter: it wants an allocator, and these two bytes are all that is asked of it.
//!
//! Source: ACPI specification 6.5, sections 5.2.9, 4.8.3, 7.4.2 and 20.2. The FADT's layout is the crate `acpi`'s.

use acpi::address::{AddressSpace, GenericAddress};
use acpi::fadt::Fadt;
use rhumb_machine::PhysAddr;

use super::finding::{FirmwareFinding, Signature, TableFault};
use super::layout::read;
use super::tables::{HEADER_BYTES, Root, Table};
use crate::Findings;
use crate::phys::PhysMemory;

/// Bytes of the FADT of ACPI 1.0, the shortest one: up to and with its flags.
const FADT_LEAST_BYTES: usize = 116;

/// Offset of the one byte that the crate multiplies by 8 in a byte, which overflows from 32 on. PM1 control has 2.
const PM1_CONTROL_LENGTH: usize = 89;

const NAME_OP: u8 = 0x08;
const ROOT_CHAR: u8 = b'\\';
const PACKAGE_OP: u8 = 0x12;

/// A register of the firmware's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// An I/O port.
    Port(u16),
    /// In memory.
    Memory(PhysAddr),
    /// In the PCI configuration space of a device on bus 0.
    Pci {
        /// The device, 0..=31.
        device: u8,
        /// Its function, 0..=7.
        function: u8,
        /// The byte, 0..=255.
        offset: u8,
    },
}

/// The ACPI power-management timer: counts up at 3.579545 MHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmTimer {
    /// Where to read 32 bits.
    pub register: Register,
    /// How many of them count: 24 or 32.
    pub bits: u32,
}

/// How to power off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOff {
    /// Write 16 bits: each register its value, first a, then b.
    Pm1 {
        /// The PM1a control register and what to write.
        a: (Register, u16),
        /// The PM1b control register, if there is one, and what to write.
        b: Option<(Register, u16)>,
    },
    /// Write 8 bits to the sleep control register (hardware-reduced ACPI: no PM1 registers).
    SleepControl(Register, u8),
}

/// Time and power, as the firmware describes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// The power-management timer.
    pub pm_timer: Option<PmTimer>,
    /// Reset the machine by writing this byte there.
    pub reset: Option<(Register, u8)>,
    /// Power it off.
    pub off: Option<PowerOff>,
    /// Where the firmware has the control registers to itself until it is told otherwise: the I/O port and what to
    /// write there, so that they are the operating system's.
    pub enable: Option<(u16, u8)>,
}

/// Reads FADT and DSDT.
pub(super) fn power<'m>(
    memory: &'m impl PhysMemory,
    root: &Root<'m>,
    findings: &mut Findings<FirmwareFinding>,
) -> Power {
    let Some(table) = root.load(memory, Signature::FADT, findings) else {
        findings.push(FirmwareFinding::Missing(Signature::FADT));
        return Power::default();
    };
    let Some(fadt) = fadt(table.bytes).filter(|_| table.bytes.len() >= FADT_LEAST_BYTES) else {
        findings.push(table.too_short());
        return Power::default();
    };
    let mut register = |what, address: Option<GenericAddress>| {
        let address = address.filter(|address| address.address != 0)?;
        let register = match address.address_space {
            AddressSpace::SystemIo => u16::try_from(address.address).ok().map(Register::Port),
            AddressSpace::SystemMemory => Some(Register::Memory(PhysAddr::new(address.address))),
            AddressSpace::PciConfigSpace => pci_register(address.address),
            _ => None,
        };
        if register.is_none() {
            findings.push(table.finding(TableFault::RegisterSpace(what)));
        }
        register
    };
    let flags = fadt.flags;
    let pm_timer = register("power-management timer", fadt.pm_timer_block().ok().flatten());
    let reset = if flags.supports_system_reset_via_fadt() {
        register("reset register", fadt.reset_register().ok())
    } else {
        None
    };
    let a = register("PM1a control register", fadt.pm1a_control_block().ok());
    let b = register("PM1b control register", fadt.pm1b_control_block().ok().flatten());
    let sleep = register("sleep control register", fadt.sleep_control_register().ok().flatten());

    let bits = if flags.pm_timer_is_32_bit() { 32 } else { 24 };
    let types =
        if a.is_some() || sleep.is_some() { sleep_types(memory, root, &fadt, findings) } else { None };
    Power {
        pm_timer: pm_timer.map(|register| PmTimer { register, bits }),
        reset: reset.map(|register| (register, fadt.reset_value)),
        enable: u16::try_from(fadt.smi_cmd_port)
            .ok()
            .filter(|&port| port != 0 && fadt.acpi_enable != 0)
            .map(|port| (port, fadt.acpi_enable)),
        off: types.and_then(|(type_a, type_b)| {
            let pm1 = |sleep_type: u8| u16::from(sleep_type) << 10 | 1 << 13;
            match (flags.system_is_hw_reduced_acpi(), a, sleep) {
                (true, _, Some(sleep)) | (false, None, Some(sleep)) => {
                    Some(PowerOff::SleepControl(sleep, type_a << 2 | 1 << 5))
                }
                (_, Some(a), _) => {
                    Some(PowerOff::Pm1 { a: (a, pm1(type_a)), b: b.map(|b| (b, pm1(type_b))) })
                }
                _ => None,
            }
        }),
    }
}

/// Returns a register in configuration space: device, function and offset in 16 bits each (ACPI 5.2.3.2).
fn pci_register(address: u64) -> Option<Register> {
    let part = |shift: u32, end: u64| {
        u8::try_from(address >> shift & 0xffff).ok().filter(|&part| u64::from(part) < end)
    };
    let (device, function, offset) = (part(32, 32)?, part(16, 8)?, part(0, 256)?);
    Some(Register::Pci { device, function, offset })
}

/// Returns the table's bytes in the crate's layout, with what an older revision lacks as zeroes.
fn fadt(bytes: &[u8]) -> Option<Fadt> {
    let mut copy = [0; size_of::<Fadt>()];
    copy.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
    copy[PM1_CONTROL_LENGTH] = 2;
    read(&copy)
}

/// Returns the sleep types of `\_S5`: from the DSDT, else from the SSDTs.
fn sleep_types<'m>(
    memory: &'m impl PhysMemory,
    root: &Root<'m>,
    fadt: &Fadt,
    findings: &mut Findings<FirmwareFinding>,
) -> Option<(u8, u8)> {
    let at = fadt.dsdt_address().map_or(PhysAddr::ZERO, |at| PhysAddr::new(at as u64));
    let fallback = FirmwareFinding::Table { table: Signature::DSDT, at, fault: TableFault::NoSoftOff };
    let in_dsdt = Table::load(memory, at, Signature::DSDT, findings)
        .and_then(|dsdt| find_s5(&dsdt.bytes[HEADER_BYTES..]));
    let mut in_ssdts = || {
        let ssdts = root.named(memory, Signature::SSDT);
        ssdts
            .filter_map(|at| Table::load(memory, at, Signature::SSDT, findings))
            .find_map(|ssdt| find_s5(&ssdt.bytes[HEADER_BYTES..]))
    };
    let types = in_dsdt.or_else(&mut in_ssdts);
    if types.is_none() {
        findings.push(fallback);
    }
    types
}

/// Returns the first two elements of the package called `_S5_` in `aml`; the second is the first again where there is
/// but one.
fn find_s5(aml: &[u8]) -> Option<(u8, u8)> {
    aml.windows(4).enumerate().filter(|(_, name)| name == b"_S5_").find_map(|(at, _)| {
        let named = matches!(aml[..at], [.., NAME_OP] | [.., NAME_OP, ROOT_CHAR]);
        let package = aml[at + 4..].strip_prefix(&[PACKAGE_OP]).filter(|_| named)?;
        // The upper two bits of the first byte say how many more bytes the length has.
        let length_bytes = 1 + usize::from(package.first()? >> 6);
        let (&count, elements) = package.get(length_bytes..)?.split_first()?;
        let (first, rest) = small_integer(elements)?;
        let second = if count > 1 { small_integer(rest)?.0 } else { first };
        Some((first, second))
    })
}

/// Returns the integer at the beginning of `aml`, if it fits the three bits of a sleep type, and what follows it.
fn small_integer(aml: &[u8]) -> Option<(u8, &[u8])> {
    let (value, rest) = match aml {
        [value @ (0 | 1), rest @ ..] => (*value, rest),
        [0x0a, value, rest @ ..] | [0x0b, value, 0, rest @ ..] | [0x0c, value, 0, 0, 0, rest @ ..] => {
            (*value, rest)
        }
        _ => return None,
    };
    (value < 8).then_some((value, rest))
}
