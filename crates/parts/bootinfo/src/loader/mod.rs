//! The information that a boot loader leaves, whichever it was.
//!
//! Two protocols, one answer: [`pvh`] (QEMU's `-kernel`, Firecracker, Cloud Hypervisor) and [`multiboot2`] (GRUB) both
//! give a [`BootInfo`]. It owns copies of all it says, since the originals lie in memory that the loader calls usable:
//! memory that must not be overwritten while it is still read (and the RAM disk) is listed in [`BootInfo::occupied`],
//! to be reserved first.

use core::fmt;
use core::mem::discriminant;

use arrayvec::ArrayVec;
use rhumb_machine::{PhysAddr, PhysRange};

use crate::findings::Finding;
use crate::memory_map::{
    FirmwareEntry, MAX_REGIONS, MemoryMap, MemoryMapError, RegionKind, Reservation, Reserved,
};
use crate::phys::Unreadable;

pub mod multiboot2;
pub mod pvh;

/// The longest command line that is kept: twice Linux's limit on x86.
pub const COMMAND_LINE_BYTES: usize = 4096;

/// How much of the loader's name is kept: it is only shown.
pub const LOADER_NAME_BYTES: usize = 64;

/// Room for the loader's own pieces: at most its information block, memory map, module list, command line and RAM disk.
pub const MAX_OCCUPIED: usize = 5;

/// The longest memory map that is believed. Of one that is longer than [`MAX_REGIONS`] the smallest pieces of RAM are
/// left out.
pub const MAX_ENTRIES: u64 = 16_384;

/// By which protocol the kernel was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// PVH direct boot.
    Pvh,
    /// multiboot2.
    Multiboot2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pvh => "PVH",
            Self::Multiboot2 => "multiboot2",
        })
    }
}

/// Where the root of the ACPI tables is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsdpSource {
    /// At this physical address.
    At(PhysAddr),
    /// The loader gave a copy of it. An ACPI 1.0 structure has 20 bytes; the rest is zero then.
    Copy([u8; 36]),
}

/// A framebuffer with pixels of red, green and blue, as the loader describes it: any numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framebuffer {
    /// The physical address of the first pixel.
    pub address: PhysAddr,
    /// Bytes from one row of pixels to the next.
    pub pitch_bytes: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Bits of a pixel.
    pub bits_per_pixel: u8,
    /// Red, green and blue in a pixel: the lowest bit of each, and how many bits it has.
    pub channels: [(u8, u8); 3],
}

/// Everything that the loader told. About 18 KiB: keep it in a static or at the bottom of a large stack.
#[derive(Clone, Debug)]
pub struct BootInfo {
    /// How the kernel was started.
    pub protocol: Protocol,
    /// The loader's name for itself (any bytes); empty where it does not say.
    pub loader_name: ArrayVec<u8, LOADER_NAME_BYTES>,
    /// The firmware's memory map, as given.
    pub memory: ArrayVec<FirmwareEntry, MAX_REGIONS>,
    /// The command line (any bytes), without its NUL.
    pub command_line: ArrayVec<u8, COMMAND_LINE_BYTES>,
    /// The initial RAM disk: the first module. Never empty.
    pub initial_ram_disk: Option<PhysRange>,
    /// The root of the ACPI tables; `None`: search the BIOS area.
    pub rsdp: Option<RsdpSource>,
    /// The screen; `None` where it shows text or a palette, or where there is none.
    pub framebuffer: Option<Framebuffer>,
    /// The memory that holds the loader's data; it may lie in what the map calls usable.
    pub occupied: ArrayVec<Reserved, MAX_OCCUPIED>,
}

impl BootInfo {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            loader_name: ArrayVec::new_const(),
            memory: ArrayVec::new_const(),
            command_line: ArrayVec::new_const(),
            initial_ram_disk: None,
            rsdp: None,
            framebuffer: None,
            occupied: ArrayVec::new_const(),
        }
    }

    /// Returns all memory that some entry of the firmware's map calls RAM, as given: no part of it may be a device's. RAM
    /// that holds ACPI's tables, or that is defective or persistent, is RAM, too.
    pub fn claimed_ram(&self) -> impl Iterator<Item = PhysRange> {
        let ram = self.memory.iter().filter(|entry| {
            let kind = RegionKind::from_type(entry.type_code);
            !matches!(kind, RegionKind::Reserved | RegionKind::Other(_))
        });
        ram.filter_map(|entry| {
            let end = entry.base.saturating_add(entry.length);
            PhysRange::new(PhysAddr::new(entry.base), PhysAddr::new(end))
        })
    }

    /// Reserves in `map` all that the loader left. To be done before anything is allocated from it.
    ///
    /// # Errors
    /// As [`MemoryMap::reserve`].
    pub fn reserve_occupied(&self, map: &mut MemoryMap) -> Result<(), MemoryMapError> {
        self.occupied.iter().try_for_each(|taken| map.reserve(taken.range, taken.why))
    }

    /// Notes that `length` bytes at `at` hold something of the loader's.
    fn occupy(&mut self, at: PhysAddr, length: u64, why: Reservation) -> Result<(), LoaderError> {
        match PhysRange::of_length(at, length).filter(|range| !range.is_empty()) {
            Some(range) => {
                self.occupied.try_push(Reserved { range, why }).map_err(|_| LoaderError::TooManyPieces)
            }
            None => Ok(()),
        }
    }

    /// Takes over one entry of the memory map. Where there is no room, the smallest entry of RAM is left out: RAM that
    /// is not used does no harm, but an entry that is not RAM may lie over one that is.
    fn entry(
        &mut self,
        new: FirmwareEntry,
        findings: &mut crate::Findings<LoaderFinding>,
    ) -> Result<(), LoaderError> {
        let Err(full) = self.memory.try_push(new) else { return Ok(()) };
        let new = full.element();
        let is_ram = |entry: &FirmwareEntry| entry.type_code == RegionKind::USABLE_TYPE;
        let ram = self.memory.iter().enumerate().filter(|(_, entry)| is_ram(entry));
        let smallest = ram.min_by_key(|(_, entry)| entry.length).map(|(at, entry)| (at, *entry));
        match smallest {
            _ if is_ram(&new) && smallest.is_none_or(|(_, entry)| new.length <= entry.length) => {
                findings.push(LoaderFinding::EntryLeftOut(new));
            }
            Some((at, entry)) => {
                findings.push(LoaderFinding::EntryLeftOut(entry));
                self.memory[at] = new;
            }
            None => return Err(LoaderError::TooManyEntries(MAX_REGIONS as u64 + 1)),
        }
        Ok(())
    }

    /// Takes over one module: the first is the RAM disk.
    fn module(
        &mut self,
        range: Option<PhysRange>,
        findings: &mut crate::Findings<LoaderFinding>,
    ) -> Result<(), LoaderError> {
        let Some(range) = range.filter(|range| !range.is_empty()) else {
            findings.push(LoaderFinding::BadModule);
            return Ok(());
        };
        // A further module is not read, so its memory is free.
        if self.initial_ram_disk.is_some() {
            findings.push(LoaderFinding::FurtherModule(range));
            return Ok(());
        }
        self.initial_ram_disk = Some(range);
        self.occupy(range.start(), range.bytes(), Reservation::InitialRamDisk)
    }
}

/// An oddity of what the loader told that was put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderFinding {
    /// The command line is longer than [`COMMAND_LINE_BYTES`] and was cut.
    CommandLineCut,
    /// The command line cannot be read, so there is none.
    CommandLineUnreadable(Unreadable),
    /// The module list cannot be read, so there are no modules.
    ModulesUnreadable(Unreadable),
    /// A module that is empty, runs backwards or past 2^64.
    BadModule,
    /// A module beside the RAM disk, which has no use.
    FurtherModule(PhysRange),
    /// There is no room for so many entries of the memory map; this one, which is RAM, was left out.
    EntryLeftOut(FirmwareEntry),
    /// A multiboot2 tag of this type is too short for what it should hold, and was left out.
    ShortTag {
        /// The tag's type.
        tag: u32,
        /// Its size in bytes.
        size: u32,
    },
    /// The multiboot2 tag at this offset says a size that is impossible; it and all after it were left out.
    BadTagSize {
        /// Its offset in the information block.
        offset: u64,
        /// The size it says.
        size: u32,
    },
    /// The multiboot2 information has no end tag.
    NoEndTag,
}

impl Finding for LoaderFinding {
    fn is_like(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
    }
}

impl fmt::Display for LoaderFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("boot loader: ")?;
        match self {
            Self::CommandLineCut => {
                write!(
                    f,
                    "the command line is longer than {COMMAND_LINE_BYTES} bytes; the rest of it is ignored"
                )
            }
            Self::CommandLineUnreadable(cause) => write!(f, "the command line is ignored: {cause}"),
            Self::ModulesUnreadable(cause) => write!(f, "the modules are ignored: {cause}"),
            Self::BadModule => f.write_str("a module without a valid address range is ignored"),
            Self::FurtherModule(range) => {
                write!(f, "the module at {range} is ignored: only the first one is used, as initial RAM disk")
            }
            Self::EntryLeftOut(entry) => write!(
                f,
                "no room for more than {MAX_REGIONS} entries of the memory map; the RAM at {:#x} of {:#x} bytes is not used",
                entry.base, entry.length
            ),
            Self::ShortTag { tag, size } => {
                write!(f, "the multiboot2 tag of type {tag} is ignored: its {size} bytes are too few")
            }
            Self::BadTagSize { offset, size } => write!(
                f,
                "the multiboot2 tag at offset {offset:#x} says an impossible size of {size} bytes; it and all after it are \
                 ignored"
            ),
            Self::NoEndTag => f.write_str("the multiboot2 information has no end tag"),
        }
    }
}

/// Why nothing can be learnt from the loader. Without a memory map there is no way to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderError {
    /// The structure itself cannot be read.
    Unreadable {
        /// Which structure.
        what: &'static str,
        /// Where it should be.
        cause: Unreadable,
    },
    /// The structure does not begin with PVH's magic number.
    BadMagic(u32),
    /// The multiboot2 information says a size that is impossible.
    BadSize(u32),
    /// There is no memory map in it.
    NoMemoryMap(Protocol),
    /// The memory map has more entries than there is room for.
    TooManyEntries(u64),
    /// The memory map's entries have a size that no version of the protocol has.
    BadEntrySize(u32),
    /// There is more of the loader's to keep than there is room to note it.
    TooManyPieces,
}

impl fmt::Display for LoaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { what, cause } => write!(f, "the boot loader's {what} is not where it should be: {cause}"),
            Self::BadMagic(found) => {
                write!(f, "the PVH start information begins with {found:#x} and not with its magic number {:#x}", pvh::MAGIC)
            }
            Self::BadSize(size) => write!(f, "the multiboot2 information says an impossible size of {size} bytes"),
            Self::NoMemoryMap(Protocol::Pvh) => f.write_str(
                "the boot loader gave no memory map, and Rhumb needs one: PVH start information of version 1 has it",
            ),
            Self::NoMemoryMap(Protocol::Multiboot2) => {
                f.write_str("the boot loader gave no memory map, and Rhumb needs one: the multiboot2 tag of type 6")
            }
            Self::TooManyEntries(count) => {
                write!(f, "the boot loader's memory map has {count} entries, too many for Rhumb, which has room for {MAX_REGIONS}")
            }
            Self::BadEntrySize(size) => {
                write!(f, "the entries of the boot loader's memory map have {size} bytes, and Rhumb needs at least 24")
            }
            Self::TooManyPieces => write!(
                f,
                "the boot loader left more than {MAX_OCCUPIED} pieces of memory to keep, and Rhumb has room for {MAX_OCCUPIED}"
            ),
        }
    }
}

impl core::error::Error for LoaderError {}

#[cfg(test)]
mod tests;
