//! Completing a linked kernel: names of functions, written into the padding that its linker script keeps for them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use object::elf::{PF_X, PT_LOAD, STT_FILE, STT_OBJECT, STT_SECTION};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{LittleEndian, Object, ObjectSymbol};
use rhumb_symbols::SymbolTable;
use rhumb_symbols::writer::{self, Input};

/// Copies the ELF file `linked` to `complete`, with the table of its functions between `__symbols_start` and
/// `__symbols_end`.
///
/// # Errors
/// A file cannot be read or written, `linked` is no ELF file of this kernel, or the table does not fit.
pub(crate) fn complete(linked: &Path, complete: &Path) -> Result<()> {
    let mut image = fs::read(linked).with_context(|| format!("{} cannot be read", linked.display()))?;
    embed(&mut image).with_context(|| format!("no symbol table for {}", linked.display()))?;
    // Renamed into place: another run of this tool, or of QEMU, sees the old file or the new one.
    let fresh = complete.with_extension(format!("elf.{}", std::process::id()));
    fs::write(&fresh, &image).with_context(|| format!("{} cannot be written", fresh.display()))?;
    fs::rename(&fresh, complete).with_context(|| format!("{} cannot be replaced", complete.display()))
}

/// Returns the table of the functions in the ELF file `kernel`.
///
/// # Errors
/// It cannot be read, or is no ELF file of one image.
pub(crate) fn table_of(kernel: &Path) -> Result<Vec<u8>> {
    let image = fs::read(kernel).context("the file cannot be read")?;
    let elf = ElfFile64::<LittleEndian>::parse(&*image).context("not a 64-bit ELF file")?;
    table(&elf)
}

fn table(elf: &ElfFile64<'_, LittleEndian>) -> Result<Vec<u8>> {
    writer::encode(&functions(elf)).context("the symbols cannot be written as a table")
}

/// Writes the table into an ELF image.
fn embed(image: &mut [u8]) -> Result<()> {
    let elf = ElfFile64::<LittleEndian>::parse(&*image).context("not a 64-bit ELF file")?;
    let address = |name: &str| {
        let symbol = elf.symbol_by_name(name).map(|symbol| symbol.address());
        symbol.with_context(|| format!("the linker script does not define {name}"))
    };
    let (start, end) = (address("__symbols_start")?, address("__symbols_end")?);
    let offset = file_offset(&elf, start, end)?;

    let table = table(&elf)?;
    SymbolTable::parse(&table).context("the table that was just made is not valid")?;
    let room = end.saturating_sub(start) as usize;
    ensure!(
        table.len() <= room,
        "the symbols take {} bytes, but only {room} are left after read-only data: raise SYMBOLS_MIN in kernel/link.ld",
        table.len()
    );
    image[offset..offset + table.len()].copy_from_slice(&table);
    Ok(())
}

/// Returns where in the file the addresses `start..end` are.
fn file_offset(elf: &ElfFile64<'_, LittleEndian>, start: u64, end: u64) -> Result<usize> {
    let endian = elf.endian();
    for segment in elf.elf_program_headers().iter().filter(|segment| segment.p_type(endian) == PT_LOAD) {
        let (from, size) = (segment.p_vaddr(endian), segment.p_filesz(endian));
        if start >= from && end <= from + size && start <= end {
            let offset = (segment.p_offset(endian) + (start - from)) as usize;
            ensure!(
                offset as u64 + (end - start) <= elf.data().len() as u64,
                "the file is shorter than its headers say"
            );
            return Ok(offset);
        }
    }
    bail!("no segment of the file holds {start:#x}..{end:#x}, which the linker script keeps for them")
}

/// Returns all symbols in executable segments, demangled. An assembly label has no size and often no type; the linker
/// script's own marks are left out.
fn functions(elf: &ElfFile64<'_, LittleEndian>) -> Vec<Input> {
    let endian = elf.endian();
    let code: Vec<_> = elf
        .elf_program_headers()
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_flags(endian).contains(PF_X))
        .map(|segment| segment.p_vaddr(endian)..segment.p_vaddr(endian) + segment.p_memsz(endian))
        .collect();
    elf.symbols()
        .filter(|symbol| !matches!(symbol.elf_symbol().st_type(), STT_OBJECT | STT_SECTION | STT_FILE))
        .filter(|symbol| code.iter().any(|range| range.contains(&symbol.address())))
        .filter_map(|symbol| {
            let name = symbol
                .name()
                .ok()
                .filter(|name| !name.is_empty() && (symbol.size() > 0 || !name.starts_with("__")))?;
            let name = format!("{:#}", rustc_demangle::demangle(name));
            Some(Input { address: symbol.address(), size_bytes: symbol.size(), name })
        })
        .collect()
}
