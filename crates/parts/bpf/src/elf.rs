//! ELF files of programs, as `clang -target bpf` and this crate's assembler write them; read by the crate `object`.
//!
//! | section | holds |
//! |---|---|
//! | `maps` | definitions of maps, 20 bytes each; a symbol names each |
//! | others with instructions | a program, by the name of its function; the section's name ends with the event, as in `trace/split` |
//! | relocations `R_BPF_64_64` | the maps that the programs load |
//!
//! All else (licence, types, debug data) is left alone.

use object::elf::{EM_BPF, ET_REL, R_BPF_64_64, SHF_EXECINSTR, SHT_PROGBITS};
use object::read::elf::{ElfFile64, ElfSection64, FileHeader, SectionHeader};
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionIndex,
};

use crate::error::{LoadError, MapRefusal};
use crate::limits::MAX_INSTRUCTIONS;
use crate::map::{DEFINITION_BYTES, Definition};
use crate::name::Name;
use crate::operation::INSTRUCTION_BYTES;
use crate::source::{References, Source};

/// The section of the definitions of maps.
pub(crate) const MAPS: &str = "maps";
/// The section in which newer compilers define maps by types, which is not read.
const TYPED_MAPS: &str = ".maps";

type Elf<'file> = ElfFile64<'file, LittleEndian>;
type Section<'file, 'elf> = ElfSection64<'file, 'elf, LittleEndian>;

/// A file.
pub(crate) struct File<'file>(Elf<'file>);

impl<'file> File<'file> {
    /// Reads its headers.
    pub(crate) fn parse(bytes: &'file [u8]) -> Result<Self, LoadError> {
        let file = Elf::parse(bytes)
            .map_err(|_| LoadError::Malformed("its ELF headers are damaged, or not of 64 bits"))?;
        let (header, endian) = (file.elf_header(), file.endian());
        if header.e_machine(endian) != EM_BPF || header.e_type(endian) != ET_REL {
            return Err(LoadError::NotBpf);
        }
        if file.section_by_name(TYPED_MAPS).is_some() {
            return Err(LoadError::Malformed("its maps are defined by types in '.maps', not in 'maps'"));
        }
        Ok(Self(file))
    }

    /// Calls `add` for each map, by the name of its symbol, until it fails.
    pub(crate) fn for_each_map(
        &self,
        mut add: impl FnMut(Name, &Definition) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let Some(section) = self.0.section_by_name(MAPS) else { return Ok(()) };
        let bytes = section.data().map_err(malformed)?;
        for (at, definition) in bytes.chunks(DEFINITION_BYTES).enumerate() {
            let offset = (at * DEFINITION_BYTES) as u64;
            let symbol = self.0.symbols().find(|symbol| {
                symbol.section_index() == Some(section.index())
                    && symbol.address() == offset
                    && symbol.name().is_ok_and(|name| !name.is_empty() && name != MAPS)
            });
            let name = symbol.and_then(|symbol| symbol.name().ok()).map_or(Name::new("?"), Name::new);
            let parsed = Definition::parse(definition);
            add(name, &parsed.ok_or(LoadError::BadMap(name, MapRefusal::Definition))?)?;
        }
        Ok(())
    }

    /// Calls `add` for each program of a file with so many maps, until it fails.
    pub(crate) fn for_each_program(
        &self,
        maps: usize,
        mut add: impl FnMut(&Source<'_>, &Relocations<'file, '_>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let map_section = self.0.section_by_name(MAPS).map(|section| section.index());
        for section in self.0.sections().filter(is_program) {
            let text = section.name().map_err(malformed)?;
            let bytes = section.data().map_err(malformed)?;
            if bytes.is_empty() {
                continue;
            }
            if section.relocations().nth(MAX_INSTRUCTIONS).is_some() {
                return Err(LoadError::Malformed("a section has more relocations than instructions"));
            }
            let program = program_name(&self.0, &section, text);
            let source = Source { name: program, event: event_of(text), bytes };
            add(&source, &Relocations { file: &self.0, section, map_section, maps, program })?;
        }
        Ok(())
    }
}

fn malformed(_: object::Error) -> LoadError {
    LoadError::Malformed("a part lies outside of the file")
}

/// Tells whether a section holds a program.
fn is_program(section: &Section<'_, '_>) -> bool {
    let header = section.elf_section_header();
    header.sh_type(LittleEndian) == SHT_PROGBITS && header.sh_flags(LittleEndian).contains(SHF_EXECINSTR)
}

/// Returns the event that a section's name ends with; nothing for `.text`.
fn event_of(section: &str) -> Name {
    match section.rsplit('/').next() {
        Some(event) if !event.starts_with('.') => Name::new(event),
        _ => Name::default(),
    }
}

/// Returns the name of the function that a section begins with; the section's own where it has none.
fn program_name(file: &Elf<'_>, section: &Section<'_, '_>, text: &str) -> Name {
    let function = file.symbols().find(|symbol| {
        symbol.kind() == object::SymbolKind::Text
            && symbol.section_index() == Some(section.index())
            && symbol.address() == 0
    });
    Name::new(function.and_then(|symbol| symbol.name().ok()).filter(|name| !name.is_empty()).unwrap_or(text))
}

/// The relocations of one program.
pub(crate) struct Relocations<'file, 'elf> {
    file: &'elf Elf<'file>,
    section: Section<'file, 'elf>,
    map_section: Option<SectionIndex>,
    /// How many maps there are.
    maps: usize,
    program: Name,
}

impl References for Relocations<'_, '_> {
    fn map_at(&self, instruction: usize) -> Result<Option<u8>, LoadError> {
        let offset = (instruction * INSTRUCTION_BYTES) as u64;
        let Some((_, relocation)) = self.section.relocations().find(|relocation| relocation.0 == offset)
        else {
            return Ok(None);
        };
        let bad = LoadError::BadReference(self.program);
        let RelocationFlags::Elf { r_type, .. } = relocation.flags() else { return Err(bad) };
        let RelocationTarget::Symbol(symbol) = relocation.target() else { return Err(bad) };
        let symbol = self.file.symbol_by_index(symbol).map_err(|_| bad)?;
        let is_map =
            r_type == R_BPF_64_64 && self.map_section.is_some() && symbol.section_index() == self.map_section;
        let address = symbol.address();
        if !is_map || !address.is_multiple_of(DEFINITION_BYTES as u64) {
            return Err(bad);
        }
        let map = u8::try_from(address / DEFINITION_BYTES as u64).map_err(|_| bad)?;
        if usize::from(map) < self.maps { Ok(Some(map)) } else { Err(bad) }
    }
}
