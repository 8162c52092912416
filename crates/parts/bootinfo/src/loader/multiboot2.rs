//! multiboot2: the tagged list that GRUB leaves (pointer in EBX, [`MAGIC`] in EAX).
//!
//! ```text
//!  0 total size u32    4 reserved u32    8 tags, each 8-aligned:   0 type u32   4 size u32   8 content
//! ```
//!
//! Source: the Multiboot2 specification, version 2.0, section 3.
//!
//! Why not the crate `multiboot2` (0.28): it must be given a raw pointer, believes the total size found there, and
//! asserts where a tag's size or the entry size of the memory map is not as it expects: a kernel that dies without a
//! word when its loader is wrong, or newer. The few tags that are needed here take less code than guarding against
//! that would.

use rhumb_machine::{PhysAddr, PhysRange};

use super::{BootInfo, Framebuffer, LoaderError, LoaderFinding, MAX_ENTRIES, Protocol, RsdpSource};
use crate::Findings;
use crate::memory_map::{FirmwareEntry, Reservation};
use crate::phys::{Fields, PhysMemory};

/// The number that the loader leaves in EAX.
pub const MAGIC: u32 = 0x36d7_6289;

/// The longest information block that is believed. GRUB's has a few KiB, and some hundred with all of the kernel's ELF
/// sections and UEFI's map in it.
const MAX_BYTES: u32 = 1 << 20;

const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const LOADER_NAME: u32 = 2;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const FRAMEBUFFER: u32 = 8;
const RSDP_OLD: u32 = 14;
const RSDP_NEW: u32 = 15;

const HEADER_BYTES: usize = 8;
const RSDP_OLD_BYTES: usize = 20;
/// A framebuffer whose pixels have channels for red, green and blue. The other types are a palette and text.
const HAS_CHANNELS: u8 = 1;

/// Reads the multiboot2 information at `at`.
///
/// # Errors
/// [`LoaderError`] where there is no memory map to be had. Anything else that is wrong is a finding.
pub fn parse(
    memory: &impl PhysMemory,
    at: PhysAddr,
) -> Result<(BootInfo, Findings<LoaderFinding>), LoaderError> {
    let missing = |cause| LoaderError::Unreadable { what: "multiboot2 information", cause };
    let head = Fields(memory.read(at, HEADER_BYTES as u64).map_err(missing)?);
    let total = head.u32(0).unwrap_or(0);
    if !(2 * HEADER_BYTES as u32..=MAX_BYTES).contains(&total) {
        return Err(LoaderError::BadSize(total));
    }
    let block = memory.read(at, u64::from(total)).map_err(missing)?;

    let mut info = BootInfo::new(Protocol::Multiboot2);
    let mut findings = Findings::default();
    info.occupy(at, u64::from(total), Reservation::BootLoaderData)?;
    let mut offset = HEADER_BYTES;
    loop {
        let Some((kind, size)) = Fields(block).u32(offset).zip(Fields(block).u32(offset + 4)) else {
            findings.push(LoaderFinding::NoEndTag);
            break;
        };
        if kind == END {
            break;
        }
        // A size below 8 would not get us on; `get` refuses one past the block.
        let Some(content) = block.get(offset + HEADER_BYTES..offset + size as usize) else {
            findings.push(LoaderFinding::BadTagSize { offset: offset as u64, size });
            break;
        };
        if take(kind, content, &mut info, &mut findings)? == Taken::TooShort {
            findings.push(LoaderFinding::ShortTag { tag: kind, size });
        }
        offset += (size as usize).next_multiple_of(8);
    }
    if info.memory.is_empty() {
        return Err(LoaderError::NoMemoryMap(Protocol::Multiboot2));
    }
    Ok((info, findings))
}

#[derive(PartialEq, Eq)]
enum Taken {
    Whole,
    TooShort,
}

/// Takes over what one tag says.
fn take(
    kind: u32,
    content: &[u8],
    info: &mut BootInfo,
    findings: &mut Findings<LoaderFinding>,
) -> Result<Taken, LoaderError> {
    let fields = Fields(content);
    match kind {
        COMMAND_LINE => {
            info.command_line.clear();
            let line = string(content);
            if line.len() > info.command_line.capacity() {
                findings.push(LoaderFinding::CommandLineCut);
            }
            info.command_line.extend(line.iter().copied().take(super::COMMAND_LINE_BYTES));
        }
        LOADER_NAME => {
            info.loader_name.clear();
            info.loader_name.extend(string(content).iter().copied().take(super::LOADER_NAME_BYTES));
        }
        MODULE => {
            let Some((start, end)) = fields.u32(0).zip(fields.u32(4)) else { return Ok(Taken::TooShort) };
            let range = PhysRange::new(PhysAddr::new(start.into()), PhysAddr::new(end.into()));
            info.module(range, findings)?;
        }
        MEMORY_MAP => {
            let Some(entry_bytes) = fields.u32(0) else { return Ok(Taken::TooShort) };
            return memory_map(entry_bytes, content.get(8..), info, findings);
        }
        FRAMEBUFFER => return framebuffer(content, info),
        RSDP_OLD if info.rsdp.is_none() => match content.get(..RSDP_OLD_BYTES) {
            Some(bytes) => info.rsdp = Some(rsdp_copy(bytes)),
            None => return Ok(Taken::TooShort),
        },
        // Says more than the old one, so it replaces it. Shorter than the old one's length it says nothing.
        RSDP_NEW if content.len() >= RSDP_OLD_BYTES => info.rsdp = Some(rsdp_copy(content)),
        RSDP_NEW => return Ok(Taken::TooShort),
        _ => {}
    }
    Ok(Taken::Whole)
}

/// Takes over a framebuffer, if its pixels have channels.
///
/// ```text
///  0 address u64   8 pitch u32   12 width u32   16 height u32   20 bits of a pixel u8   21 type u8   22 reserved u16
/// 24 red: lowest bit u8, bits u8   26 green   28 blue
/// ```
fn framebuffer(content: &[u8], info: &mut BootInfo) -> Result<Taken, LoaderError> {
    let fields = Fields(content);
    let (Some(address), Some(pitch_bytes)) = (fields.u64(0), fields.u32(8)) else {
        return Ok(Taken::TooShort);
    };
    let (Some(width), Some(height)) = (fields.u32(12), fields.u32(16)) else { return Ok(Taken::TooShort) };
    let &[bits_per_pixel, kind, ..] = content.get(20..).unwrap_or_default() else {
        return Ok(Taken::TooShort);
    };
    if kind != HAS_CHANNELS {
        return Ok(Taken::Whole);
    }
    let Some(&[red, red_bits, green, green_bits, blue, blue_bits]) = content.get(24..30) else {
        return Ok(Taken::TooShort);
    };
    info.framebuffer = Some(Framebuffer {
        address: PhysAddr::new(address),
        pitch_bytes,
        width,
        height,
        bits_per_pixel,
        channels: [(red, red_bits), (green, green_bits), (blue, blue_bits)],
    });
    Ok(Taken::Whole)
}

fn memory_map(
    entry_bytes: u32,
    entries: Option<&[u8]>,
    info: &mut BootInfo,
    findings: &mut Findings<LoaderFinding>,
) -> Result<Taken, LoaderError> {
    let Some(entries) = entries else { return Ok(Taken::TooShort) };
    // Later versions of the protocol may make entries longer; the first 20 bytes stay as they are, padded to 24.
    if entry_bytes < 24 {
        return Err(LoaderError::BadEntrySize(entry_bytes));
    }
    let count = (entries.len() / entry_bytes as usize) as u64;
    if count > MAX_ENTRIES {
        return Err(LoaderError::TooManyEntries(count));
    }
    info.memory.clear();
    for entry in entries.chunks_exact(entry_bytes as usize).map(Fields) {
        if let (Some(base), Some(length), Some(type_code)) = (entry.u64(0), entry.u64(8), entry.u32(16)) {
            info.entry(FirmwareEntry { base, length, type_code }, findings)?;
        }
    }
    Ok(Taken::Whole)
}

/// Returns the bytes up to the first NUL, or all of them.
fn string(content: &[u8]) -> &[u8] {
    content.split(|&byte| byte == 0).next().unwrap_or(content)
}

fn rsdp_copy(content: &[u8]) -> RsdpSource {
    let mut copy = [0; 36];
    copy.iter_mut().zip(content).for_each(|(to, &from)| *to = from);
    RsdpSource::Copy(copy)
}
