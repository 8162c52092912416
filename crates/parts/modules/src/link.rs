//! [`Image::link`]: the bytes of each part, for the addresses where they will lie.

use object::elf::{SHN_ABS, SHN_UNDEF, SHT_NOBITS};
use object::read::elf::{Rela, SectionHeader, Sym};
use rhumb_module_abi::types::HEADER_SYMBOL;

use crate::error::{LoadError, Piece};
use crate::image::{Image, LE, Relocation};
use crate::imports::{Exports, MAX_RECORDS};
use crate::layout::Placed;
use crate::part::Part;
use crate::relocate::{self, Base};

/// A module whose parts are ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Linked {
    /// The address of its header, in the read-only part.
    pub header: u64,
}

impl<'file> Image<'file> {
    /// Checks that the kernel exports all that the module imports, in the versions that the module was built against.
    ///
    /// # Errors
    /// [`LoadError::Undefined`], [`LoadError::Unversioned`], [`LoadError::OtherVersion`].
    pub fn check_imports(&self, exports: &impl Exports) -> Result<(), LoadError<'file>> {
        let header = exports.find(HEADER_SYMBOL).ok_or(LoadError::Undefined(HEADER_SYMBOL))?;
        self.versions.check(HEADER_SYMBOL, header.version)?;
        // The first symbol is none.
        let imports = self.symbols.iter().skip(1).filter(|symbol| symbol.st_shndx(LE) == SHN_UNDEF);
        for (index, symbol) in imports.enumerate() {
            // Each has one version record, so there are no more of them; the search in the records is bounded by both.
            if index == MAX_RECORDS {
                return Err(LoadError::Malformed(Piece::Symbols));
            }
            let name = self.symbol_name(symbol)?;
            let export = exports.find(name).ok_or(LoadError::Undefined(name))?;
            self.versions.check(name, export.version)?;
        }
        Ok(())
    }

    /// Writes the parts as they are to lie at the addresses `at`, by [`Part`]. Each buffer has as many bytes as
    /// [`crate::Layout::bytes`] says, and may hold anything.
    ///
    /// # Errors
    /// [`LoadError`]: an import is not to be had, or a relocation cannot be made; the buffers hold anything then.
    ///
    /// # Panics
    /// A buffer has another length.
    pub fn link(
        &self,
        at: [u64; 3],
        exports: &impl Exports,
        parts: &mut [&mut [u8]; 3],
    ) -> Result<Linked, LoadError<'file>> {
        for part in Part::ALL {
            let bytes = self.layout.bytes(part);
            assert_eq!(parts[part.index()].len() as u64, bytes, "the buffer is not as long as the {part}");
        }
        self.check_imports(exports)?;
        for part in parts.iter_mut() {
            part.fill(0);
        }
        for placed in self.layout.sections() {
            if self.sections.get(placed.section).is_some_and(|section| section.sh_type(LE) != SHT_NOBITS) {
                let bytes = self.section_bytes(placed.section)?;
                place_of(parts, placed)?.copy_from_slice(bytes);
            }
        }
        for (symbol, slot) in self.layout.indirect() {
            let address = self.address(symbol as usize, at, exports)?;
            let slot = slot as usize;
            let place = parts[Part::ReadOnly.index()].get_mut(slot..slot + 8);
            place.ok_or(LoadError::TooManyIndirect)?.copy_from_slice(&address.to_le_bytes());
        }
        for relocations in self.relocations() {
            let (section, relocations) = relocations?;
            let Some(placed) = self.layout.section(section) else { continue };
            for relocation in relocations {
                self.apply(relocation, placed, at, exports, parts)?;
            }
        }
        Ok(Linked { header: at[Part::ReadOnly.index()].wrapping_add(self.header_at) })
    }

    /// Makes one relocation in the section at `placed`.
    fn apply(
        &self,
        relocation: &Relocation,
        placed: &Placed,
        at: [u64; 3],
        exports: &impl Exports,
        parts: &mut [&mut [u8]; 3],
    ) -> Result<(), LoadError<'file>> {
        let (offset, number) = (relocation.r_offset(LE), relocation.r_type(LE, false).0);
        let section = self.section_name(placed.section);
        if number == NOTHING {
            return Ok(());
        }
        let kind =
            relocate::kind(number).ok_or(LoadError::UnknownRelocation { section, offset, kind: number })?;
        let stray = LoadError::StrayRelocation { section, offset };
        let end = offset.checked_add(kind.field.bytes()).ok_or(stray)?;
        let place = place_of(parts, placed)?.get_mut(offset as usize..end as usize).ok_or(stray)?;

        let symbol = relocation.r_sym(LE, false);
        let base = match kind.base {
            Base::Symbol => self.address(symbol as usize, at, exports)?,
            Base::Slot => {
                let slot = self.layout.indirect().find(|&(other, _)| other == symbol).map(|(_, slot)| slot);
                let slot = slot.ok_or(LoadError::TooManyIndirect)?;
                at[Part::ReadOnly.index()].wrapping_add(slot)
            }
        };
        let mut value = i128::from(base) + i128::from(relocation.r_addend(LE));
        if kind.is_relative {
            let here = at[placed.part.index()].wrapping_add(placed.offset).wrapping_add(offset);
            value -= i128::from(here);
        }
        if kind.field.write(place, value) {
            Ok(())
        } else {
            Err(LoadError::OutOfReach { section, offset, value })
        }
    }

    /// Returns the address of a symbol.
    fn address(&self, index: usize, at: [u64; 3], exports: &impl Exports) -> Result<u64, LoadError<'file>> {
        let bad = LoadError::BadSymbol { index };
        let symbol = self.symbols.get(index).filter(|_| index != 0).ok_or(bad)?;
        let value = symbol.st_value(LE);
        match symbol.st_shndx(LE) {
            SHN_UNDEF => {
                let name = self.symbol_name(symbol)?;
                exports.find(name).map(|export| export.address).ok_or(LoadError::Undefined(name))
            }
            SHN_ABS => Ok(value),
            section => {
                let placed = self.layout.section(usize::from(section.0)).ok_or(bad)?;
                if value > placed.bytes {
                    return Err(bad);
                }
                Ok(at[placed.part.index()].wrapping_add(placed.offset).wrapping_add(value))
            }
        }
    }
}

/// The number of the relocation that does nothing.
const NOTHING: u32 = object::elf::R_X86_64_NONE.0;

/// Returns the bytes of a section in the parts.
fn place_of<'a, 'file>(
    parts: &'a mut [&mut [u8]; 3],
    placed: &Placed,
) -> Result<&'a mut [u8], LoadError<'file>> {
    let start = placed.offset as usize;
    let place = parts[placed.part.index()].get_mut(start..start + placed.bytes as usize);
    place.ok_or(LoadError::Malformed(Piece::SectionBytes))
}
