//! [`Image`]: an object, looked at once.

use object::LittleEndian;
use object::elf::{
    EM_X86_64, ET_REL, FileHeader64, Rela64, SHF_ALLOC, SHF_EXECINSTR, SHF_TLS, SHF_WRITE, SHN_UNDEF,
    SHT_NOBITS, SHT_NULL, SHT_PROGBITS, SHT_REL, SHT_RELA, SHT_STRTAB, SHT_SYMTAB, SectionHeader64, Sym64,
};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use rhumb_module_abi::types::{HEADER_SYMBOL, Header};
use rhumb_module_abi::version::SECTION as VERSIONS;

use crate::error::{LoadError, NotAnObject, Piece, Unfit};
use crate::imports::Versions;
use crate::layout::Layout;
use crate::names::Names;
use crate::part::{MAX_ALIGN, MAX_SECTIONS, MAX_SYMBOLS, Part};
use crate::relocate::{self, Base};

pub(crate) const LE: LittleEndian = LittleEndian;
type Elf = FileHeader64<LittleEndian>;
pub(crate) type Section = SectionHeader64<LittleEndian>;
pub(crate) type Symbol = Sym64<LittleEndian>;
pub(crate) type Relocation = Rela64<LittleEndian>;

/// The section with the names of a module's functions, as `rhumb_symbols` has them, counted from the start of its code.
pub const SYMBOLS: &str = ".rhumb.symbols";
/// Sections that begin so hold addresses, and are read-only once these are written.
const READ_ONLY_AFTER_LINKING: &str = ".data.rel.ro";

/// Bytes of an ELF file's identification and header.
const FILE_HEADER_BYTES: usize = size_of::<Elf>();

/// An object that can be linked, if the kernel has all that it imports.
#[derive(Clone, Debug)]
pub struct Image<'file> {
    pub(crate) file: &'file [u8],
    pub(crate) sections: &'file [Section],
    section_names: Names<'file>,
    pub(crate) symbols: &'file [Symbol],
    symbol_names: Names<'file>,
    pub(crate) versions: Versions<'file>,
    pub(crate) layout: Layout,
    /// Where in the read-only part the header lies.
    pub(crate) header_at: u64,
    /// The table of names, as the file has it.
    names: &'file [u8],
}

impl<'file> Image<'file> {
    /// Looks at a file, which may be anything. Cost: one pass over sections, symbols and relocations.
    ///
    /// # Errors
    /// [`LoadError`]: it is no module.
    pub fn parse(file: &'file [u8]) -> Result<Self, LoadError<'file>> {
        let sections = section_headers(file)?;
        let names_of = |number: usize, piece| {
            let section = sections.get(number).filter(|section| section.sh_type(LE) == SHT_STRTAB);
            let section = section.ok_or(LoadError::Malformed(piece))?;
            section.data(LE, file).map(Names).map_err(|_| LoadError::Truncated(piece))
        };
        let header = Elf::parse(file).map_err(|_| LoadError::NotAnObject(NotAnObject::NotElf))?;
        let section_names = names_of(usize::from(header.e_shstrndx(LE).0), Piece::SectionNames)?;
        let mut tables = sections.iter().filter(|section| section.sh_type(LE) == SHT_SYMTAB);
        let table = tables.next().ok_or(LoadError::NoHeader)?;
        if tables.next().is_some() {
            return Err(LoadError::Malformed(Piece::Symbols));
        }
        let symbols =
            table.data_as_array::<Symbol, _>(LE, file).map_err(|_| LoadError::Truncated(Piece::Symbols))?;
        if symbols.len() > MAX_SYMBOLS {
            return Err(LoadError::TooManySymbols(symbols.len()));
        }
        let symbol_names = names_of(table.sh_link(LE) as usize, Piece::SymbolNames)?;
        let mut image = Self {
            file,
            sections,
            section_names,
            symbols,
            symbol_names,
            versions: Versions::NONE,
            layout: Layout::default(),
            header_at: 0,
            names: &[],
        };
        image.place_sections()?;
        image.find_header()?;
        image.place_indirect()?;
        Ok(image)
    }

    /// Returns which section goes where, and how large the parts are.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the table of names that the module brings along, as bytes of any content; empty where it brings none.
    pub const fn names(&self) -> &'file [u8] {
        self.names
    }

    /// Returns the beginning of the name of a section of this number.
    pub(crate) fn section_name(&self, number: usize) -> &'file str {
        self.sections.get(number).map_or("", |section| self.section_names.beginning(section.sh_name(LE)))
    }

    /// Returns the name of a symbol.
    pub(crate) fn symbol_name(&self, symbol: &Symbol) -> Result<&'file str, LoadError<'file>> {
        self.symbol_names.name(symbol.st_name(LE)).ok_or(LoadError::Malformed(Piece::SymbolNames))
    }

    /// Returns the bytes of a section of this number; none for one without bytes in the file.
    pub(crate) fn section_bytes(&self, number: usize) -> Result<&'file [u8], LoadError<'file>> {
        let section = self.sections.get(number).ok_or(LoadError::Malformed(Piece::SectionHeaders))?;
        section.data(LE, self.file).map_err(|_| LoadError::Truncated(Piece::SectionBytes))
    }

    /// Returns each section of relocations of a section that is loaded, as that section's number and the relocations.
    pub(crate) fn relocations(
        &self,
    ) -> impl Iterator<Item = Result<(usize, &'file [Relocation]), LoadError<'file>>> + use<'file, '_> {
        self.sections.iter().filter_map(|section| {
            let target = section.sh_info(LE) as usize;
            let is_loaded = self.layout.section(target).is_some();
            let relocations = match section.sh_type(LE) {
                SHT_RELA if is_loaded => section
                    .data_as_array::<Relocation, _>(LE, self.file)
                    .map_err(|_| LoadError::Truncated(Piece::Relocations)),
                SHT_REL if is_loaded => Err(LoadError::Malformed(Piece::Relocations)),
                _ => return None,
            };
            Some(relocations.map(|relocations| (target, relocations)))
        })
    }

    fn place_sections(&mut self) -> Result<(), LoadError<'file>> {
        for (number, section) in self.sections.iter().enumerate() {
            let name = self.section_name(number);
            let flags = section.sh_flags(LE);
            // A table that is not loaded is checked where it is used; the bytes of all others are checked here.
            if name == VERSIONS {
                self.versions = Versions::parse(self.section_bytes(number)?)?;
                continue;
            }
            if name == SYMBOLS {
                self.names = self.section_bytes(number)?;
                continue;
            }
            if !flags.contains(SHF_ALLOC) || section.sh_type(LE) == SHT_NULL {
                continue;
            }
            let unfit = |why| LoadError::UnfitSection { name, why };
            let part = match (flags.contains(SHF_EXECINSTR), flags.contains(SHF_WRITE)) {
                (true, true) => return Err(unfit(Unfit::WrittenAndExecuted)),
                (true, false) => Part::Code,
                (false, true) if !name.starts_with(READ_ONLY_AFTER_LINKING) => Part::Data,
                (false, _) => Part::ReadOnly,
            };
            if flags.contains(SHF_TLS) {
                return Err(unfit(Unfit::ThreadLocal));
            }
            match section.sh_type(LE) {
                SHT_PROGBITS => _ = self.section_bytes(number)?,
                SHT_NOBITS => {}
                other => return Err(unfit(Unfit::Type(other.0))),
            }
            let align = section.sh_addralign(LE).max(1);
            if !align.is_power_of_two() || align > MAX_ALIGN {
                return Err(unfit(Unfit::Alignment(align)));
            }
            self.layout.add(number, part, section.sh_size(LE), align)?;
        }
        Ok(())
    }

    fn find_header(&mut self) -> Result<(), LoadError<'file>> {
        let is_header = |symbol: &&Symbol| {
            symbol.st_shndx(LE) != SHN_UNDEF
                && !symbol.is_local()
                && self.symbol_name(symbol) == Ok(HEADER_SYMBOL)
        };
        let symbol = self.symbols.iter().find(is_header).ok_or(LoadError::NoHeader)?;
        let section = self.layout.section(usize::from(symbol.st_shndx(LE).0)).ok_or(LoadError::BadHeader)?;
        let at = symbol.st_value(LE);
        let fits = at.checked_add(size_of::<Header>() as u64).is_some_and(|end| end <= section.bytes);
        let place = section.offset.saturating_add(at);
        let is_aligned = place.is_multiple_of(align_of::<Header>() as u64)
            && self.layout.align(Part::ReadOnly) >= align_of::<Header>() as u64;
        if section.part != Part::ReadOnly || !fits || !is_aligned {
            return Err(LoadError::BadHeader);
        }
        self.header_at = place;
        Ok(())
    }

    /// Gives each symbol that is reached through the table of addresses a slot there.
    fn place_indirect(&mut self) -> Result<(), LoadError<'file>> {
        let mut layout = self.layout.clone();
        let mut bytes = 0_usize;
        for relocations in self.relocations() {
            let (_, relocations) = relocations?;
            // Tables that share their bytes could be more than the file, as often as there are sections.
            bytes = bytes.saturating_add(size_of_val(relocations));
            if bytes > self.file.len() {
                return Err(LoadError::Malformed(Piece::Relocations));
            }
            for relocation in relocations {
                let is_indirect = relocate::kind(relocation.r_type(LE, false).0)
                    .is_some_and(|kind| kind.base == Base::Slot);
                if is_indirect {
                    layout.add_indirect(relocation.r_sym(LE, false))?;
                }
            }
        }
        layout.place_indirect()?;
        self.layout = layout;
        Ok(())
    }
}

/// Returns the table of sections of a relocatable object for x86-64.
fn section_headers(file: &[u8]) -> Result<&[Section], LoadError<'_>> {
    let wrong = LoadError::NotAnObject;
    if !file.starts_with(b"\x7fELF") {
        return Err(wrong(NotAnObject::NotElf));
    }
    if file.len() < FILE_HEADER_BYTES {
        return Err(LoadError::Truncated(Piece::FileHeader));
    }
    let header = Elf::parse(file).map_err(|_| wrong(NotAnObject::OtherMachine))?;
    if !header.is_little_endian() || header.e_machine(LE) != EM_X86_64 {
        return Err(wrong(NotAnObject::OtherMachine));
    }
    if header.e_type(LE) != ET_REL {
        return Err(wrong(NotAnObject::NotRelocatable));
    }
    let sections =
        header.section_headers(LE, file).map_err(|_| LoadError::Truncated(Piece::SectionHeaders))?;
    if sections.len() > MAX_SECTIONS {
        return Err(LoadError::TooManySections(sections.len()));
    }
    Ok(sections)
}
