//! ELF files of programs, as `clang -target bpf` and this crate's assembler write them; read by the crate `object`.
//!
//! | section | holds |
//! |---|---|
//! | `maps` | definitions of maps, 20 bytes each; a symbol names each |
//! | others with instructions | a program, by the name of its function; the section's name ends with the event, as in `trace/split` |
//! | relocations `R_BPF_64_64` | the maps that the programs load |
//!
//! All else (licence, types, debug data) is left alone.

use object::elf::{
    EM_BPF, ET_REL, FileHeader64, R_BPF_64_64, SHF_EXECINSTR, SHT_PROGBITS, SHT_SYMTAB, STT_FUNC, STT_NOTYPE,
    SectionHeader64, Sym64,
};
use object::read::elf::{FileHeader, Rel, Rela, SectionHeader, SectionTable, Sym, SymbolTable};
use object::{LittleEndian, SectionIndex, SymbolIndex};

use crate::error::{Limit, LoadError, MapRefusal};
use crate::limits::{MAX_INSTRUCTIONS, MAX_SECTIONS};
use crate::map::{DEFINITION_BYTES, Definition};
use crate::name::Name;
use crate::operation::INSTRUCTION_BYTES;
use crate::source::{References, Source};

/// The section of the definitions of maps.
pub(crate) const MAPS: &str = "maps";
/// The section in which newer compilers define maps by types, which is not read.
const TYPED_MAPS: &str = ".maps";

/// Bytes of a symbol's name that are looked at: more than a name keeps.
const MAX_NAME_BYTES: usize = 256;

const LE: LittleEndian = LittleEndian;

type Header = FileHeader64<LittleEndian>;
type Section = SectionHeader64<LittleEndian>;
type Symbol = Sym64<LittleEndian>;

/// A file. It is read in place: nothing is allocated for it, whatever it says of itself.
pub(crate) struct File<'file> {
    bytes: &'file [u8],
    sections: SectionTable<'file, Header>,
    symbols: SymbolTable<'file, Header>,
    /// The names of the symbols.
    names: &'file [u8],
}

impl<'file> File<'file> {
    /// Reads its headers.
    pub(crate) fn parse(bytes: &'file [u8]) -> Result<Self, LoadError> {
        let damaged = |_| LoadError::Malformed("its ELF headers are damaged, or not of 64 bits");
        let header = Header::parse(bytes).map_err(damaged)?;
        // The byte order, too.
        header.endian().map_err(damaged)?;
        if header.e_machine(LE) != EM_BPF || header.e_type(LE) != ET_REL {
            return Err(LoadError::NotBpf);
        }
        let sections = header.sections(LE, bytes).map_err(damaged)?;
        if sections.len() > MAX_SECTIONS {
            return Err(LoadError::TooMany(Limit::Sections));
        }
        let symbols = sections.symbols(LE, bytes, SHT_SYMTAB).map_err(damaged)?;
        let names = sections.section(symbols.string_section()).and_then(|names| names.data(LE, bytes));
        let file = Self { bytes, sections, symbols, names: names.unwrap_or_default() };
        if file.section(TYPED_MAPS).is_some() {
            return Err(LoadError::Malformed("its maps are defined by types in '.maps', not in 'maps'"));
        }
        Ok(file)
    }

    /// Returns the section of this name.
    fn section(&self, name: &str) -> Option<(SectionIndex, &'file Section)> {
        self.sections.section_by_name(LE, name.as_bytes())
    }

    /// Returns the symbols of a section, each with its address.
    fn symbols_of(&self, section: SectionIndex) -> impl Iterator<Item = (u64, &'file Symbol)> + '_ {
        self.symbols
            .enumerate()
            .filter(move |&(index, symbol)| self.section_of(symbol, index) == Some(section))
            .map(|(_, symbol)| (symbol.st_value(LE), symbol))
    }

    fn section_of(&self, symbol: &Symbol, index: SymbolIndex) -> Option<SectionIndex> {
        self.symbols.symbol_section(LE, symbol, index).ok().flatten()
    }

    /// Returns the name of a symbol, if it has one that is text. No more than [`MAX_NAME_BYTES`] are looked at: a file of
    /// some megabytes could have one name that is all of it, and symbols without number that have it.
    fn name_of(&self, symbol: &Symbol) -> Option<&'file str> {
        let name = self.names.get(symbol.st_name(LE) as usize..)?;
        let end = name.iter().take(MAX_NAME_BYTES).position(|&byte| byte == 0)?;
        core::str::from_utf8(&name[..end]).ok().filter(|name| !name.is_empty())
    }

    /// Calls `add` for each map, by the name of its symbol, until it fails.
    pub(crate) fn for_each_map(
        &self,
        mut add: impl FnMut(Name, &Definition) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let Some((index, section)) = self.section(MAPS) else { return Ok(()) };
        let bytes = section.data(LE, self.bytes).map_err(malformed)?;
        for (at, definition) in bytes.chunks(DEFINITION_BYTES).enumerate() {
            let offset = (at * DEFINITION_BYTES) as u64;
            let mut symbols = self.symbols_of(index).filter(|&(address, _)| address == offset);
            let name = symbols.find_map(|(_, symbol)| self.name_of(symbol).filter(|&name| name != MAPS));
            let name = name.map_or(Name::new("?"), Name::new);
            let parsed = Definition::parse(definition);
            add(name, &parsed.ok_or(LoadError::BadMap(name, MapRefusal::Definition))?)?;
        }
        Ok(())
    }

    /// Calls `add` for each program of a file with so many maps, until it fails.
    pub(crate) fn for_each_program(
        &self,
        maps: usize,
        mut add: impl FnMut(&Source<'_>, &Relocations<'_, '_>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let map_section = self.section(MAPS).map(|(index, _)| index);
        for (index, section) in self.sections.enumerate().filter(|(_, section)| is_program(section)) {
            let text = self.sections.section_name(LE, section).map_err(malformed)?;
            let text = core::str::from_utf8(text)
                .map_err(|_| LoadError::Malformed("the name of a section is not text"))?;
            let bytes = section.data(LE, self.bytes).map_err(malformed)?;
            if bytes.is_empty() {
                continue;
            }
            let program = self.program_name(index, text);
            let relocations = Relocations { file: self, section: index, map_section, maps, program };
            if relocations.all().nth(MAX_INSTRUCTIONS).is_some() {
                return Err(LoadError::Malformed("a section has more relocations than instructions"));
            }
            add(&Source { name: program, event: event_of(text), bytes }, &relocations)?;
        }
        Ok(())
    }

    /// Returns the name of the function that a section begins with; the section's own where it has none.
    fn program_name(&self, section: SectionIndex, text: &str) -> Name {
        let mut functions = self
            .symbols_of(section)
            .filter(|&(address, symbol)| address == 0 && matches!(symbol.st_type(), STT_FUNC | STT_NOTYPE));
        Name::new(functions.find_map(|(_, symbol)| self.name_of(symbol)).unwrap_or(text))
    }
}

fn malformed(_: object::Error) -> LoadError {
    LoadError::Malformed("a part lies outside of the file")
}

/// Tells whether a section holds a program.
fn is_program(section: &Section) -> bool {
    section.sh_type(LE) == SHT_PROGBITS && section.sh_flags(LE).contains(SHF_EXECINSTR)
}

/// Returns the event that a section's name ends with; nothing for `.text`.
fn event_of(section: &str) -> Name {
    match section.rsplit('/').next() {
        Some(event) if !event.starts_with('.') => Name::new(event),
        _ => Name::default(),
    }
}

/// The relocations of one program.
pub(crate) struct Relocations<'file, 'elf> {
    file: &'elf File<'file>,
    section: SectionIndex,
    map_section: Option<SectionIndex>,
    /// How many maps there are.
    maps: usize,
    program: Name,
}

/// A relocation.
struct Relocation {
    /// Its place in the section.
    offset: u64,
    symbol: SymbolIndex,
    /// Whether it is one of a map.
    is_64: bool,
    /// The distance from the symbol; `None` where the instruction has it.
    addend: Option<i64>,
}

impl Relocations<'_, '_> {
    /// Returns all of them, from whatever sections; none from one that lies outside of the file.
    fn all(&self) -> impl Iterator<Item = Relocation> + '_ {
        let (bytes, section) = (self.file.bytes, self.section.0);
        let own = self.file.sections.iter().filter(move |table| table.sh_info(LE) as usize == section);
        own.flat_map(move |table| {
            let rel = table.rel(LE, bytes).ok().flatten().map_or(&[][..], |(entries, _)| entries);
            let rela = table.rela(LE, bytes).ok().flatten().map_or(&[][..], |(entries, _)| entries);
            let rel = rel.iter().map(|entry| Relocation {
                offset: entry.r_offset(LE),
                symbol: SymbolIndex(entry.r_sym(LE) as usize),
                is_64: entry.r_type(LE) == R_BPF_64_64,
                addend: None,
            });
            let rela = rela.iter().map(|entry| Relocation {
                offset: Rela::r_offset(entry, LE),
                symbol: SymbolIndex(Rela::r_sym(entry, LE, false) as usize),
                is_64: Rela::r_type(entry, LE, false) == R_BPF_64_64,
                addend: Some(entry.r_addend(LE)),
            });
            rel.chain(rela)
        })
    }
}

impl References for Relocations<'_, '_> {
    fn map_at(&self, instruction: usize, number: u64) -> Result<Option<u8>, LoadError> {
        let offset = (instruction * INSTRUCTION_BYTES) as u64;
        let Some(relocation) = self.all().find(|relocation| relocation.offset == offset) else {
            return Ok(None);
        };
        let Relocation { symbol: index, is_64, addend, .. } = relocation;
        let bad = LoadError::BadReference(self.program);
        let symbol = self.file.symbols.symbol(index).map_err(|_| bad)?;
        let section = self.file.section_of(symbol, index);
        let is_map = is_64 && self.map_section.is_some() && section == self.map_section;
        // A compiler names a map that is static by the beginning of the section, and a distance.
        let distance = addend.map_or(number, i64::cast_unsigned);
        let address = symbol.st_value(LE).wrapping_add(distance);
        if !is_map || !address.is_multiple_of(DEFINITION_BYTES as u64) {
            return Err(bad);
        }
        let map = u8::try_from(address / DEFINITION_BYTES as u64).map_err(|_| bad)?;
        if usize::from(map) < self.maps { Ok(Some(map)) } else { Err(bad) }
    }
}
