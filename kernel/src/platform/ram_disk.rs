//! The initial RAM disk: a tar archive that the boot loader has put into memory, with files that the kernel reads while it
//! runs. It stays where it is, read through the direct map, as long as the machine runs.
//!
//! A file has the name that the archive gives it, without a `./` before it. Folders, links and all else that is no file are
//! left alone: a file in a folder has the folder in its name.

use core::fmt;

use rhumb_machine::{Machine, PhysAddr, PhysRange};
use spin::Once;
use tar_no_std::{CorruptDataError, PosixHeader, TarArchiveRef, TypeFlag};

use crate::cpu::machine::MACHINE;
use crate::cpu::once;
use crate::facts::Boot;

static DISK: Once<Result<&'static [u8], Lack>> = Once::new();

/// Bytes of a block of a tar archive. A header is one block; the file's bytes come after it.
const BLOCK_BYTES: usize = 512;

/// A file of the RAM disk.
#[derive(Clone, Copy, Debug)]
pub struct File {
    pub name: &'static str,
    pub bytes: &'static [u8],
}

/// Why there are no files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// The loader left no RAM disk.
    NoDisk,
    /// It does not lie in memory that the direct map shows.
    OutOfReach(PhysRange),
    /// It is no tar archive.
    Corrupt(CorruptDataError),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisk => f.write_str("the boot loader left no RAM disk"),
            Self::OutOfReach(range) => {
                write!(f, "the RAM disk cannot be read: {range} is not memory in the direct map")
            }
            Self::Corrupt(error) => write!(f, "the RAM disk cannot be read: as a tar archive, {error}"),
        }
    }
}

/// Finds the RAM disk, if the loader has left one. Once, at boot, before the memory of other boot data is given back; its
/// own is kept (`mm::frames::boot_data`). Logs why a disk that is there cannot be read.
pub fn start(boot: &Boot) {
    let found = find(boot);
    if let Err(lack) = found
        && lack != Lack::NoDisk
    {
        log::warn!("{lack}");
    }
    once::fill(&DISK, found);
}

fn find(boot: &Boot) -> Result<&'static [u8], Lack> {
    let range = boot.initial_ram_disk.ok_or(Lack::NoDisk)?;
    let limit = boot.options.direct_map_limit_bytes.map_or(PhysAddr::new(u64::MAX), PhysAddr::new);
    let is_ram = boot.memory.lock().ram().any(|ram| ram.covers(range));
    if !is_ram || range.end() > limit {
        return Err(Lack::OutOfReach(range));
    }
    let start = MACHINE.direct(range.start()).as_ptr::<u8>();
    // SAFETY: the range is RAM within the direct map, which the loader has filled; the memory map holds it as reserved, so
    // that no allocator has it and no change of the map takes it; nothing writes it.
    let bytes = unsafe { core::slice::from_raw_parts(start, range.bytes() as usize) };
    // A loader may round the size up, and the archive ends with zeros anyway.
    let archive = &bytes[..bytes.len() / BLOCK_BYTES * BLOCK_BYTES];
    TarArchiveRef::new(archive).map_err(Lack::Corrupt)?;
    Ok(archive)
}

/// Tells whether there is a RAM disk that can be read.
///
/// # Errors
/// [`Lack`]: there is none.
pub fn check() -> Result<(), Lack> {
    archive().map(|_| ())
}

fn archive() -> Result<&'static [u8], Lack> {
    DISK.get().copied().unwrap_or(Err(Lack::NoDisk))
}

/// Returns the files, in the order of the archive; none where there is no RAM disk that can be read.
pub fn files() -> impl Iterator<Item = File> {
    // The archive was found sound.
    let archive = archive().ok().and_then(|bytes| Some((bytes, TarArchiveRef::new(bytes).ok()?)));
    archive.into_iter().flat_map(|(bytes, archive)| {
        archive.headers().filter_map(move |(block, header)| file_at(bytes, block, header))
    })
}

/// Returns the file whose header is the block of this number; `None` for a header of anything else.
fn file_at(archive: &'static [u8], block: usize, header: &'static PosixHeader) -> Option<File> {
    header.typeflag.try_to_type_flag().ok().filter(|&kind| TypeFlag::is_regular_file(kind))?;
    let length: usize = header.size.as_number().ok()?;
    let bytes = archive.get((block + 1) * BLOCK_BYTES..)?.get(..length)?;
    let name = header.name.as_str().ok()?;
    Some(File { name: name.strip_prefix("./").unwrap_or(name), bytes })
}

/// Returns the file of this name.
pub fn file(name: &str) -> Option<File> {
    files().find(|file| file.name == name)
}
