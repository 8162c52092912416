//! PVH: `hvm_start_info`, as QEMU, Firecracker and Cloud Hypervisor leave it (pointer in EBX).
//!
//! ```text
//!  0 magic u32   4 version u32   8 flags u32   12 modules u32
//! 16 module list u64   24 command line u64   32 RSDP u64
//! 40 memory map u64    48 entries u32    52 reserved u32          version 1 and later
//!
//! module:  0 address u64   8 size u64    16 command line u64   24 reserved u64
//! entry:   0 address u64   8 size u64    16 type u32           20 reserved u32
//! ```
//!
//! Source: Xen's public header `arch-x86/hvm/start_info.h` (layout only).

use rhumb_machine::{PhysAddr, PhysRange};

use super::{BootInfo, LoaderError, LoaderFinding, MAX_ENTRIES, Protocol, RsdpSource};
use crate::Findings;
use crate::memory_map::{FirmwareEntry, Reservation};
use crate::phys::{Copied, Fields, PhysMemory, Unreadable, copy_string};

/// The number with which the structure begins.
pub const MAGIC: u32 = 0x336e_c578;

const VERSION_0_BYTES: u64 = 40;
const VERSION_1_BYTES: u64 = 56;
const MODULE_BYTES: u64 = 32;
const ENTRY_BYTES: u64 = 24;

/// Modules that are looked at: QEMU gives one; a list that says more than this is not believed any further.
const MAX_MODULES: u64 = 8;

/// Reads the PVH start information at `at`.
///
/// # Errors
/// [`LoaderError`] where there is no memory map to be had. Anything else that is wrong is a finding.
pub fn parse(
    memory: &impl PhysMemory,
    at: PhysAddr,
) -> Result<(BootInfo, Findings<LoaderFinding>), LoaderError> {
    let missing = |cause| LoaderError::Unreadable { what: "PVH start information", cause };
    let fields = Fields(memory.read(at, VERSION_0_BYTES).map_err(missing)?);
    let magic = fields.u32(0).unwrap_or(0);
    if magic != MAGIC {
        return Err(LoaderError::BadMagic(magic));
    }
    if fields.u32(4).is_none_or(|version| version == 0) {
        return Err(LoaderError::NoMemoryMap(Protocol::Pvh));
    }
    let fields = Fields(memory.read(at, VERSION_1_BYTES).map_err(missing)?);

    let mut info = BootInfo::new(Protocol::Pvh);
    let mut findings = Findings::default();
    info.occupy(at, VERSION_1_BYTES, Reservation::BootLoaderData)?;
    memory_map(memory, fields, &mut info, &mut findings)?;
    command_line(memory, fields, &mut info, &mut findings)?;
    if let (Some(count), Some(list)) = (fields.u32(12), fields.addr(16))
        && count > 0
        && let Err(cause) = modules(memory, u64::from(count), list, &mut info, &mut findings)?
    {
        findings.push(LoaderFinding::ModulesUnreadable(cause));
    }
    info.rsdp = fields.addr(32).filter(|&rsdp| rsdp != PhysAddr::ZERO).map(RsdpSource::At);
    Ok((info, findings))
}

fn memory_map(
    memory: &impl PhysMemory,
    fields: Fields<'_>,
    info: &mut BootInfo,
    findings: &mut Findings<LoaderFinding>,
) -> Result<(), LoaderError> {
    let (Some(list), Some(count @ 1..)) = (fields.addr(40), fields.u32(48).map(u64::from)) else {
        return Err(LoaderError::NoMemoryMap(Protocol::Pvh));
    };
    if count > MAX_ENTRIES {
        return Err(LoaderError::TooManyEntries(count));
    }
    let bytes = memory
        .read(list, count * ENTRY_BYTES)
        .map_err(|cause| LoaderError::Unreadable { what: "memory map", cause })?;
    info.occupy(list, count * ENTRY_BYTES, Reservation::BootLoaderData)?;
    for entry in bytes.chunks_exact(ENTRY_BYTES as usize).map(Fields) {
        if let (Some(base), Some(length), Some(type_code)) = (entry.u64(0), entry.u64(8), entry.u32(16)) {
            info.entry(FirmwareEntry { base, length, type_code }, findings)?;
        }
    }
    Ok(())
}

fn command_line(
    memory: &impl PhysMemory,
    fields: Fields<'_>,
    info: &mut BootInfo,
    findings: &mut Findings<LoaderFinding>,
) -> Result<(), LoaderError> {
    let Some(at) = fields.addr(24).filter(|&at| at != PhysAddr::ZERO) else { return Ok(()) };
    match copy_string(memory, at, &mut info.command_line) {
        Ok(Copied::Whole) => {}
        Ok(Copied::Cut) => findings.push(LoaderFinding::CommandLineCut),
        Err(cause) => {
            info.command_line.clear();
            findings.push(LoaderFinding::CommandLineUnreadable(cause));
            return Ok(());
        }
    }
    info.occupy(at, info.command_line.len() as u64 + 1, Reservation::CommandLine)
}

/// Reads the list of modules. The outer error ends the boot, the inner one only the list.
fn modules(
    memory: &impl PhysMemory,
    count: u64,
    list: PhysAddr,
    info: &mut BootInfo,
    findings: &mut Findings<LoaderFinding>,
) -> Result<Result<(), Unreadable>, LoaderError> {
    let length = count.min(MAX_MODULES) * MODULE_BYTES;
    let bytes = match memory.read(list, length) {
        Ok(bytes) => bytes,
        Err(cause) => return Ok(Err(cause)),
    };
    info.occupy(list, length, Reservation::BootLoaderData)?;
    for module in bytes.chunks_exact(MODULE_BYTES as usize).map(Fields) {
        let range = module.addr(0).zip(module.u64(8)).and_then(|(at, size)| PhysRange::of_length(at, size));
        info.module(range, findings)?;
    }
    Ok(Ok(()))
}
