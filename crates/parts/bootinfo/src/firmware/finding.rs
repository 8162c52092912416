//! Faults of the firmware's tables. None of them ends the boot.

use core::fmt;
use core::mem::discriminant;

use rhumb_machine::{Counted, PhysAddr, PhysRange};

use crate::findings::Finding;
use crate::phys::Unreadable;

/// The four letters by which a table is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; 4]);

impl Signature {
    /// "APIC": the MADT.
    pub const MADT: Self = Self(*b"APIC");
    /// "SRAT".
    pub const SRAT: Self = Self(*b"SRAT");
    /// "SLIT".
    pub const SLIT: Self = Self(*b"SLIT");
    /// "FACP": the FADT.
    pub const FADT: Self = Self(*b"FACP");
    /// "DSDT".
    pub const DSDT: Self = Self(*b"DSDT");
    /// "SSDT".
    pub const SSDT: Self = Self(*b"SSDT");
    /// "SPCR": the firmware's serial console.
    pub const SPCR: Self = Self(*b"SPCR");
    /// "DBG2": debug ports.
    pub const DBG2: Self = Self(*b"DBG2");
    /// "DMAR": remapping of DMA and interrupts.
    pub const DMAR: Self = Self(*b"DMAR");
    /// "HPET": the high-precision event timer.
    pub const HPET: Self = Self(*b"HPET");
    /// "XSDT".
    pub const XSDT: Self = Self(*b"XSDT");
    /// "RSDT".
    pub const RSDT: Self = Self(*b"RSDT");
}

/// Two of the tables are better known by another name than by their letters; those print as `MADT` and `FADT`.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MADT => f.write_str("MADT"),
            Self::FADT => f.write_str("FADT"),
            Self(letters) => write!(f, "{}", letters.escape_ascii()),
        }
    }
}

/// A fault of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFault {
    /// It is not in memory, or not all of it.
    Unreadable(Unreadable),
    /// Its letters are others than expected.
    Signature([u8; 4]),
    /// The length that it says is too short for what it is, or longer than any such table.
    Length(u32),
    /// Its bytes do not sum up to 0; it is used all the same, as each field is checked anyway.
    Checksum(u8),
    /// The entry at this offset says a length that is impossible; it and all after it were left out.
    EntryLength {
        /// Offset in the table.
        offset: usize,
        /// The length that it says; 0 where not even that is there.
        length: u32,
    },
    /// The entry at this offset is too short for its type, and was left out.
    ShortEntry {
        /// Offset in the table.
        offset: usize,
        /// Its type.
        kind: u8,
        /// Its length.
        length: u8,
    },
    /// This many bytes at its end are too few for one more entry.
    Remainder(usize),
    /// There are more of these than there is room for; so many were left out.
    Full {
        /// The things of which there are too many.
        what: &'static str,
        /// How many were left out.
        omitted: usize,
    },
    /// Two entries for the same APIC id say different things; the second one was left out.
    DuplicateApic(u32),
    /// A CPU has the APIC id that addresses every CPU, and was left out: a start-up sent to it would reset them all.
    BroadcastApic(u32),
    /// Two I/O APICs are at the same address; the second one was left out.
    DuplicateIoApic(PhysAddr),
    /// Interrupt flags that no version of ACPI defines; the bus's default is used.
    InterruptFlags(u16),
    /// A memory range that runs past 2^64, and was left out.
    MemoryRange {
        /// Its first byte.
        base: PhysAddr,
        /// Its length.
        length: u64,
    },
    /// This memory is given to two domains; it is counted to the one that was named first.
    SharedMemory {
        /// The memory in question.
        range: PhysRange,
        /// The domain that was named first.
        kept: u32,
        /// The domain that was named later.
        lost: u32,
    },
    /// The distance from one domain to another that no version of ACPI allows; the table is ignored.
    Distance {
        /// From this proximity domain.
        from: usize,
        /// To this proximity domain.
        to: usize,
        /// The table's value.
        distance: u8,
    },
    /// A serial console that is no 16550; it is not used.
    ConsoleInterface(u16),
    /// A register in an address space other than memory or I/O ports; it is not used.
    RegisterSpace(&'static str),
    /// There is no package `_S5_` that says how to power off.
    NoSoftOff,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(f, "{cause}; the table is ignored"),
            Self::Signature(found) => write!(f, "a table \"{}\" is in its place", found.escape_ascii()),
            Self::Length(length) => {
                write!(f, "it says an impossible length of {length} bytes; the table is ignored")
            }
            Self::Checksum(sum) => {
                write!(
                    f,
                    "its checksum is wrong (the sum is {sum:#x}, not 0); the table is used all the same"
                )
            }
            Self::EntryLength { offset, length } => write!(
                f,
                "the entry at offset {offset:#x} says an impossible length of {length} bytes; it and all after it are ignored"
            ),
            Self::ShortEntry { offset, kind, length } => {
                write!(
                    f,
                    "the entry at offset {offset:#x} is ignored: {length} bytes are too few for type {kind}"
                )
            }
            Self::Remainder(bytes) => {
                write!(f, "{} at its end, too few for one more entry", Counted(*bytes, "byte"))
            }
            Self::Full { what, omitted } => {
                write!(f, "it has more {what} than there is room for; {omitted} of them left out")
            }
            Self::DuplicateApic(id) => write!(f, "APIC id {id} is listed twice; the second entry is ignored"),
            Self::BroadcastApic(id) => {
                write!(
                    f,
                    "APIC id {id:#x} addresses every CPU and cannot be that of one; the entry is ignored"
                )
            }
            Self::DuplicateIoApic(at) => {
                write!(f, "the I/O APIC at {at} is listed twice; the second entry is ignored")
            }
            Self::InterruptFlags(flags) => {
                write!(f, "interrupt flags {flags:#x} have no meaning; the bus's default is used")
            }
            Self::MemoryRange { base, length } => {
                write!(f, "the memory range at {base} of {length:#x} bytes runs past 2^64; it is ignored")
            }
            Self::SharedMemory { range, kept, lost } => write!(
                f,
                "{range} is given to domain {kept} and to domain {lost}; it is counted to domain {kept}"
            ),
            Self::ConsoleInterface(interface) => {
                write!(f, "the console's interface {interface:#x} is no 16550; it is not used")
            }
            Self::Distance { from, to, distance } => write!(
                f,
                "the distance from domain {from} to {to} is given as {distance}, which is impossible; the table is ignored"
            ),
            Self::RegisterSpace(what) => {
                write!(f, "the {what} is neither in memory nor an I/O port; it is not used")
            }
            Self::NoSoftOff => f.write_str("no package _S5_ says how to power off"),
        }
    }
}

/// Something odd about the firmware's tables. The boot goes on with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareFinding {
    /// There is no valid root pointer or no valid list of tables: no tables at all.
    NoRoot,
    /// The root pointer that the loader gave is not valid; the BIOS area is searched.
    BadRoot,
    /// The BIOS area has no root pointer, so the loader's is used, though its checksum is wrong.
    DoubtfulRoot,
    /// The root pointer's second half is not valid; the first half is used where it names a list.
    BadExtendedRoot,
    /// The list names a table that cannot be read.
    UnreadableTable(Unreadable),
    /// A table that every machine has is missing.
    Missing(Signature),
    /// Something is wrong with this table.
    Table {
        /// Which.
        table: Signature,
        /// Where.
        at: PhysAddr,
        /// The name of what is odd.
        fault: TableFault,
    },
    /// The boot CPU is not among those listed; it was added.
    BootCpuUnlisted(u32),
    /// There are more proximity domains than nodes; this one is counted with the first node.
    TooManyNodes(u32),
}

/// Of the same kind are the same faults of the same table.
impl Finding for FirmwareFinding {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Table { table, fault, .. }, Self::Table { table: other_table, fault: other, .. }) => {
                table == other_table && discriminant(fault) == discriminant(other)
            }
            _ => discriminant(self) == discriminant(other),
        }
    }
}

impl fmt::Display for FirmwareFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ACPI: ")?;
        match self {
            Self::NoRoot => {
                f.write_str("no root table found; going on with one CPU and one node, without power-off")
            }
            Self::BadRoot => f.write_str(
                "the root pointer that the boot loader gave is not valid; searching the BIOS area",
            ),
            Self::DoubtfulRoot => f.write_str(
                "the BIOS area has no root pointer; using the boot loader's, whose checksum is wrong",
            ),
            Self::BadExtendedRoot => f.write_str(
                "the second half of the root pointer is not valid; going on with the first half where that names a list",
            ),
            Self::UnreadableTable(cause) => write!(f, "a table is ignored: {cause}"),
            Self::Missing(Signature::MADT) => f.write_str("there is no valid MADT; going on with one CPU"),
            Self::Missing(table) => write!(f, "there is no valid {table}; going on without"),
            Self::Table { table, at, fault } => write!(f, "{table} at {at}: {fault}"),
            Self::BootCpuUnlisted(id) => write!(f, "the boot CPU (APIC id {id}) is not listed; it is added"),
            Self::TooManyNodes(domain) => {
                write!(f, "no room for proximity domain {domain}; it is counted with the first node")
            }
        }
    }
}
