//! The initial RAM disk: a tar archive that the boot loader has put into memory, with files that the kernel reads while it
//! runs. It stays where it is, read through the direct map, as long as the machine runs.

use core::fmt;

use rhumb_machine::{Machine, PhysAddr, PhysRange};
use spin::Once;
use tar_no_std::{ArchiveEntry, CorruptDataError, TarArchiveRef};

use crate::cpu::machine::MACHINE;
use crate::cpu::once;
use crate::facts::Boot;

static ARCHIVE: Once<&'static [u8]> = Once::new();

/// Bytes of a header in a tar archive, which lies before the file's bytes and begins with its name.
const HEADER_BYTES: usize = 512;
/// The longest name in a header.
const NAME_BYTES: usize = 100;

/// A file of the RAM disk.
#[derive(Clone, Copy, Debug)]
pub struct File {
    pub name: &'static str,
    pub bytes: &'static [u8],
}

/// Why there is no RAM disk, though the loader left one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// It does not lie in memory that the direct map shows.
    OutOfReach(PhysRange),
    /// It is no tar archive.
    Corrupt(CorruptDataError),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfReach(range) => write!(f, "{range} is not memory in the direct map"),
            Self::Corrupt(error) => write!(f, "as a tar archive: {error}"),
        }
    }
}

/// Finds the RAM disk, if the loader has left one. Once, at boot, before the memory of other boot data is given back; its
/// own is kept (`mm::frames::boot_data`).
///
/// # Errors
/// [`DiskError`]; there are no files then.
pub fn start(boot: &Boot) -> Result<(), DiskError> {
    let Some(range) = boot.initial_ram_disk else { return Ok(()) };
    let limit = boot.options.direct_map_limit_bytes.map_or(PhysAddr::new(u64::MAX), PhysAddr::new);
    let is_ram = boot.memory.lock().ram().any(|ram| ram.covers(range));
    if !is_ram || range.end() > limit {
        return Err(DiskError::OutOfReach(range));
    }
    let start = MACHINE.direct(range.start()).as_ptr::<u8>();
    // SAFETY: the range is RAM within the direct map, which the loader has filled; the memory map holds it as reserved, so
    // that no allocator has it and no change of the map takes it; nothing writes it.
    let bytes = unsafe { core::slice::from_raw_parts(start, range.bytes() as usize) };
    // A loader may round the size up, and the archive ends with zeros anyway.
    let blocks = bytes.len() / HEADER_BYTES * HEADER_BYTES;
    let archive = &bytes[..blocks];
    TarArchiveRef::new(archive).map_err(DiskError::Corrupt)?;
    once::fill(&ARCHIVE, archive);
    Ok(())
}

/// Returns the files, in the order of the archive; none where there is no RAM disk.
pub fn files() -> impl Iterator<Item = File> {
    // The archive was found sound.
    let archive = ARCHIVE.get().and_then(|&bytes| Some((bytes, TarArchiveRef::new(bytes).ok()?)));
    archive.into_iter().flat_map(|(bytes, archive)| {
        archive
            .entries()
            .filter_map(move |entry| Some(File { name: name(bytes, &entry)?, bytes: entry.data() }))
    })
}

/// Returns the file of this name.
pub fn file(name: &str) -> Option<File> {
    files().find(|file| file.name == name)
}

/// Returns an entry's name where the archive has it, because the entry holds only a copy.
fn name(archive: &'static [u8], entry: &ArchiveEntry<'static>) -> Option<&'static str> {
    let at = (entry.data().as_ptr().addr()).checked_sub(archive.as_ptr().addr() + HEADER_BYTES)?;
    let field = archive.get(at..at + NAME_BYTES)?;
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
    str::from_utf8(&field[..end]).ok()
}
