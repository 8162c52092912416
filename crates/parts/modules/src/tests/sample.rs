//! A small module, made by hand; and a kernel that exports two functions.

use object::elf::{R_X86_64_64, SectionType};
use object::write::{Object, Relocation, RelocationFlags, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};
use rhumb_module_abi::types::{HEADER_SYMBOL, Header};
use rhumb_module_abi::version::{self, VersionRecord};

use crate::{Export, Exports, Image, LoadError, Part};

/// Where the parts lie in these tests, far from each other but within the top 2 GiB.
pub(crate) const AT: [u64; 3] = [0xffff_ffff_c000_1000, 0xffff_ffff_d000_2000, 0xffff_ffff_e000_3000];
pub(crate) const LOG: u64 = 0xffff_ffff_8100_1230;
pub(crate) const NOW: u64 = 0xffff_ffff_8100_4560;

/// A kernel that exports these two, and knows the header.
pub(crate) struct Kernel;

impl Exports for Kernel {
    fn find(&self, name: &str) -> Option<Export> {
        let (address, version) = match name {
            "rhumb_log" => (LOG, version::of::rhumb_log),
            "rhumb_now_ns" => (NOW, version::of::rhumb_now_ns),
            HEADER_SYMBOL => (0, version::HEADER),
            _ => return None,
        };
        Some(Export { address, version })
    }
}

/// An object in the making.
pub(crate) struct Sample {
    pub(crate) object: Object<'static>,
    pub(crate) text: SectionId,
    pub(crate) rodata: SectionId,
    pub(crate) data: SectionId,
    pub(crate) bss: SectionId,
    pub(crate) header: SectionId,
    pub(crate) versions: SectionId,
    /// A function 16 bytes into the text.
    pub(crate) function: SymbolId,
}

pub(crate) const TEXT_BYTES: u64 = 64;
pub(crate) const RODATA_BYTES: u64 = 40;
pub(crate) const DATA_BYTES: u64 = 24;
pub(crate) const BSS_BYTES: u64 = 100;

impl Sample {
    /// Returns a module without imports and without relocations but one, of its header to its function.
    pub(crate) fn new() -> Self {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let mut section = |name: &str, kind, bytes: Vec<u8>, align| {
            let id = object.add_section(Vec::new(), name.into(), kind);
            object.set_section_data(id, bytes, align);
            id
        };
        let text = section(".text", SectionKind::Text, (0..TEXT_BYTES as u8).collect(), 16);
        let rodata = section(".rodata", SectionKind::ReadOnlyData, vec![0xaa; RODATA_BYTES as usize], 4);
        let data = section(".data", SectionKind::Data, vec![0xdd; DATA_BYTES as usize], 32);
        let header = section(".rhumb.module", SectionKind::ReadOnlyData, vec![0; size_of::<Header>()], 8);
        let versions = section(version::SECTION, SectionKind::ReadOnlyData, Vec::new(), 1);
        let bss = object.add_section(Vec::new(), b".bss".into(), SectionKind::UninitializedData);
        object.append_section_bss(bss, BSS_BYTES, 64);
        let mut sample = Self { object, text, rodata, data, bss, header, versions, function: dummy() };
        sample.function = sample.define("start", text, 16, SymbolScope::Compilation);
        let symbol = sample.define(HEADER_SYMBOL, header, 0, SymbolScope::Linkage);
        sample.object.symbol_mut(symbol).size = size_of::<Header>() as u64;
        let function = sample.function;
        sample.relocate(header, 0, function, R_X86_64_64.0, 0);
        sample.version(HEADER_SYMBOL, version::HEADER);
        sample
    }

    pub(crate) fn define(
        &mut self,
        name: &str,
        section: SectionId,
        value: u64,
        scope: SymbolScope,
    ) -> SymbolId {
        self.symbol(name, SymbolSection::Section(section), value, scope)
    }

    fn symbol(&mut self, name: &str, section: SymbolSection, value: u64, scope: SymbolScope) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.into(),
            value,
            size: 0,
            kind: SymbolKind::Text,
            scope,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
    }

    /// Adds an import, without a version.
    pub(crate) fn import(&mut self, name: &str) -> SymbolId {
        self.symbol(name, SymbolSection::Undefined, 0, SymbolScope::Unknown)
    }

    pub(crate) fn version(&mut self, name: &str, version: u64) {
        let VersionRecord { version, name } = VersionRecord::new(name, version);
        let bytes: Vec<u8> = version.into_iter().chain(name).collect();
        self.object.append_section_data(self.versions, &bytes, 1);
    }

    pub(crate) fn relocate(
        &mut self,
        section: SectionId,
        offset: u64,
        symbol: SymbolId,
        r_type: u32,
        addend: i64,
    ) {
        let flags = RelocationFlags::Elf { r_type: object::elf::RelocationType(r_type) };
        self.object
            .add_relocation(section, Relocation { offset, symbol, addend, flags })
            .expect("any relocation");
    }

    pub(crate) fn flags(&mut self, section: SectionId, flags: object::elf::SectionFlags) {
        self.typed(section, object::elf::SHT_PROGBITS, flags);
    }

    pub(crate) fn typed(
        &mut self,
        section: SectionId,
        sh_type: SectionType,
        sh_flags: object::elf::SectionFlags,
    ) {
        self.object.section_mut(section).flags = SectionFlags::Elf { sh_type, sh_flags };
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        self.object.write().expect("the writer makes an object")
    }
}

fn dummy() -> SymbolId {
    Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little).add_symbol(Symbol {
        name: Vec::new(),
        value: 0,
        size: 0,
        kind: SymbolKind::Text,
        scope: SymbolScope::Compilation,
        weak: false,
        section: SymbolSection::Undefined,
        flags: SymbolFlags::None,
    })
}

/// A module with both imports, with a relocation of each kind that a compiler makes.
pub(crate) fn usual() -> Vec<u8> {
    use object::elf::*;
    let mut sample = Sample::new();
    let (log, now) = (sample.import("rhumb_log"), sample.import("rhumb_now_ns"));
    sample.version("rhumb_log", version::of::rhumb_log);
    sample.version("rhumb_now_ns", version::of::rhumb_now_ns);
    let (text, rodata, data) = (sample.text, sample.rodata, sample.data);
    let counter = sample.define("counter", sample.bss, 8, SymbolScope::Compilation);
    let table = sample.define("table", rodata, 8, SymbolScope::Compilation);
    let function = sample.function;
    sample.relocate(text, 1, log, R_X86_64_PLT32.0, -4);
    sample.relocate(text, 8, table, R_X86_64_32S.0, 3);
    sample.relocate(text, 20, counter, R_X86_64_PC32.0, -4);
    sample.relocate(text, 32, now, R_X86_64_GOTPCREL.0, -4);
    sample.relocate(text, 40, function, R_X86_64_REX_GOTPCRELX.0, -4);
    sample.relocate(rodata, 0, function, R_X86_64_64.0, 5);
    sample.relocate(data, 8, counter, R_X86_64_64.0, 0);
    sample.file()
}

/// Links a file for [`AT`] and returns its parts.
pub(crate) fn linked<'file>(file: &'file [u8]) -> Result<([Vec<u8>; 3], u64), LoadError<'file>> {
    let image = Image::parse(file)?;
    // Whatever lies in the buffers at first is gone.
    let mut parts = Part::ALL.map(|part| vec![0x55; image.layout().bytes(part) as usize]);
    let [code, read_only, data] = &mut parts;
    let linked = image.link(AT, &Kernel, &mut [code, read_only, data])?;
    Ok((parts, linked.header))
}
