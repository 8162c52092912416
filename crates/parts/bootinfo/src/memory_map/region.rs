//! One range of physical addresses and what the firmware says it is.

use core::fmt;

use rhumb_machine::PhysRange;

/// One entry of a firmware memory map (E820, PVH and multiboot2 agree on its meaning), as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareEntry {
    /// Its first byte.
    pub base: u64,
    /// Its length in bytes.
    pub length: u64,
    /// 1 for usable RAM; every other number means "not yours", see [`RegionKind::from_type`].
    pub type_code: u32,
}

/// The kind of a region, the least restrictive first: where two entries of the firmware overlap, the greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionKind {
    /// RAM that the kernel may use. The only kind that is in the direct map.
    Usable,
    /// ACPI tables: RAM again once they have been read.
    AcpiReclaimable,
    /// Persistent memory.
    Persistent,
    /// A type that no standard names, with its number.
    Other(u32),
    /// Memory that the firmware keeps over sleep states.
    AcpiNvs,
    /// Devices, firmware, holes.
    Reserved,
    /// RAM that failed its test.
    Bad,
}

impl RegionKind {
    /// The type code of usable RAM.
    pub const USABLE_TYPE: u32 = 1;

    /// Returns the kind with this type code (ACPI 6.5, table 15.4; 12 is what persistent memory was before it was
    /// standard).
    pub const fn from_type(type_code: u32) -> Self {
        match type_code {
            Self::USABLE_TYPE => Self::Usable,
            2 => Self::Reserved,
            3 => Self::AcpiReclaimable,
            4 => Self::AcpiNvs,
            5 => Self::Bad,
            7 | 12 => Self::Persistent,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable => f.pad("usable"),
            Self::AcpiReclaimable => f.pad("ACPI data"),
            Self::Persistent => f.pad("persistent"),
            Self::Other(type_code) => write!(f, "type {type_code}"),
            Self::AcpiNvs => f.pad("ACPI NVS"),
            Self::Reserved => f.pad("reserved"),
            Self::Bad => f.pad("unusable"),
        }
    }
}

/// A range of physical addresses of one kind. Displays as a line of Linux's E820 listing, last byte included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it is; to the byte, as the firmware gave it.
    pub range: PhysRange,
    /// Its kind.
    pub kind: RegionKind,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", MemLine(self.range), self.kind)
    }
}

/// A range as Linux prints it: `[mem 0x0000000000000000-0x000000000009ffff]`.
pub(super) struct MemLine(pub(super) PhysRange);

impl fmt::Display for MemLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.end().get().saturating_sub(1);
        write!(f, "[mem {:#018x}-{:#018x}]", self.0.start().get(), last)
    }
}

/// Why a piece of usable RAM is not free. Displays as a name for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reservation {
    /// The first MiB, which firmware writes into long after boot (power management, resume, graphics): nothing of
    /// worth may lie there. Its first page looks like null besides.
    FirstMebibyte,
    /// The kernel's own text, data and BSS.
    KernelImage,
    /// The boot loader's data, left for the kernel to read.
    BootLoaderData,
    /// The command line, where the loader put it.
    CommandLine,
    /// The initial RAM disk.
    InitialRamDisk,
    /// Code below 1 MiB in which the other CPUs start.
    Trampoline,
    /// Page tables made at boot.
    PageTables,
    /// Stacks and per-CPU data.
    PerCpu,
    /// The array of frame descriptors.
    FrameDescriptors,
    /// The frame allocator's records of the frames.
    FrameMetadata,
    /// The knowledge that a checker of memory accesses has of each byte.
    Shadow,
    /// Anything else that the kernel took before it had an allocator.
    BootAllocation,
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FirstMebibyte => "first MiB",
            Self::KernelImage => "kernel image",
            Self::BootLoaderData => "boot loader data",
            Self::CommandLine => "command line",
            Self::InitialRamDisk => "initial RAM disk",
            Self::Trampoline => "trampoline",
            Self::PageTables => "page tables",
            Self::PerCpu => "per-CPU data",
            Self::FrameDescriptors => "frame descriptors",
            Self::FrameMetadata => "frame metadata",
            Self::Shadow => "shadow memory",
            Self::BootAllocation => "boot allocation",
        })
    }
}

/// A piece of usable RAM that is taken, and for what. Always whole 4-KiB frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Where it is.
    pub range: PhysRange,
    /// Its purpose.
    pub why: Reservation,
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", MemLine(self.range), self.why)
    }
}
