//! Programs from text, as ELF files: for build scripts and tests.
//!
//! ```text
//! ; Comments go on to the end of the line.
//! map splits hash key=owner,reason entries=256     a map: kind, what the words of its keys are, room; value=16 for more words
//!
//! program on_split split                           a program: its name, the event that it is for
//!     ldxdw r6, [r1+owner]                         fields of the context by name
//!     lddw r1, @splits                             a map by name
//!     call map_add                                 a helper by name
//!     jeq r0, 0, done                              a label, which lies further on
//!     xadddw [r6+0], r7                            an atomic addition
//! done:
//!     exit
//! ```
//! Every other line is one of `rbpf`'s assembler, which encodes it.

use std::borrow::ToOwned;
use std::collections::HashMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use object::write::{Object, Relocation, StandardSegment, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope,
};

use crate::context::Field;
use crate::elf::MAPS;
use crate::helper::Helper;
use crate::map::{Definition, MapKind, Part};
use crate::operation::INSTRUCTION_BYTES;

/// A fault of a text, and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssembleError {
    /// The line, from 1.
    pub line: usize,
    /// The fault.
    pub what: String,
}

impl core::fmt::Display for AssembleError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl core::error::Error for AssembleError {}

/// Makes an ELF file of a text.
///
/// # Errors
/// The first line that is not understood.
pub fn assemble(text: &str) -> Result<Vec<u8>, AssembleError> {
    let file = parse(text)?;
    write(&file).map_err(|error| AssembleError { line: 0, what: error.to_string() })
}

/// Makes the bytes of one program that uses no map.
///
/// # Errors
/// The first line that is not understood, or a map.
pub fn assemble_raw(text: &str) -> Result<Vec<u8>, AssembleError> {
    let whole = format!("program raw\n{text}");
    let error = |error: AssembleError| AssembleError { line: error.line.saturating_sub(1), ..error };
    let file = parse(&whole).map_err(error)?;
    let only = file.programs.into_iter().next().filter(|program| program.maps.is_empty());
    only.map(|program| program.bytes).ok_or(AssembleError { line: 0, what: "it uses a map".into() })
}

#[derive(Default)]
struct File {
    maps: Vec<(String, Definition)>,
    programs: Vec<Source>,
}

#[derive(Default)]
struct Source {
    name: String,
    event: String,
    /// Its lines for `rbpf`'s assembler, with their numbers.
    lines: Vec<(usize, String)>,
    /// How many instructions the lines are.
    instructions: usize,
    /// Stores that are to become atomic additions: `rbpf` knows none.
    additions: Vec<usize>,
    bytes: Vec<u8>,
    /// Where a map is loaded: the byte, and the map.
    maps: Vec<(u64, usize)>,
    /// Jumps to labels: the line, the instruction, the label.
    jumps: Vec<(usize, usize, String)>,
    labels: HashMap<String, usize>,
}

impl Source {
    /// Encodes the lines, and fills in how far the jumps go.
    fn link(&mut self) -> Result<(), AssembleError> {
        let text: String = self.lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        let assemble = rbpf::assembler::assemble;
        self.bytes = assemble(&text).map_err(|what| {
            // One line at a time takes long, but finds the line.
            let wrong = self.lines.iter().find(|(_, line)| assemble(line).is_err());
            let (line, text) = wrong.map_or((0, ""), |(number, line)| (*number, line.as_str()));
            AssembleError { line, what: format!("'{text}': {}", what.replace('\n', " ")) }
        })?;
        for (line, at, label) in self.jumps.drain(..) {
            let error = |what: String| AssembleError { line, what };
            let target = self.labels.get(&label).ok_or_else(|| error(format!("no label '{label}'")))?;
            let ahead = *target as i64 - (at as i64 + 1);
            let ahead = i16::try_from(ahead).map_err(|_| error(format!("'{label}' is too far away")))?;
            self.bytes[at * INSTRUCTION_BYTES + 2..][..2].copy_from_slice(&ahead.to_le_bytes());
        }
        for &at in &self.additions {
            self.bytes[at * INSTRUCTION_BYTES] = ATOMIC_ADD;
        }
        Ok(())
    }
}

/// The opcode of an atomic addition of 64 bits.
const ATOMIC_ADD: u8 = 0xdb;

fn parse(text: &str) -> Result<File, AssembleError> {
    let mut file = File::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split(';').next().unwrap_or_default().trim();
        let error = |what: String| AssembleError { line: number, what };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["map", name, kind, settings @ ..] => {
                let definition = definition(kind, settings).map_err(error)?;
                file.maps.push(((*name).to_owned(), definition));
            }
            ["program", name, event @ ..] => {
                let event = event.first().copied().unwrap_or_default().to_owned();
                file.programs.push(Source { name: (*name).to_owned(), event, ..Source::default() });
            }
            _ => {
                let File { maps, programs } = &mut file;
                let program = programs.last_mut().ok_or_else(|| error("no program has begun".into()))?;
                instruction(program, maps, line, number).map_err(error)?;
            }
        }
    }
    file.programs.iter_mut().try_for_each(Source::link)?;
    Ok(file)
}

/// Returns the definition of a map.
fn definition(kind: &str, settings: &[&str]) -> Result<Definition, String> {
    let number = MapKind::number(kind).ok_or_else(|| format!("no kind of map is called '{kind}'"))?;
    let is_array = kind.ends_with("array");
    let mut definition = Definition { kind: number, key_bytes: 4, value_bytes: 8, entries: 1, parts: 0 };
    if !is_array {
        definition.key_bytes = 8;
    }
    for setting in settings {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("'{setting}' is no setting"))?;
        let number = || value.parse().map_err(|_| format!("'{value}' is not a number"));
        match name {
            "value" => definition.value_bytes = number()?,
            "entries" => definition.entries = number()?,
            "key" => {
                let parts: Vec<&str> = value.split(',').collect();
                if !is_array {
                    definition.key_bytes = 8 * parts.len() as u32;
                }
                definition.parts = 0;
                for (index, part) in parts.iter().enumerate().take(crate::map::MAX_KEY_WORDS) {
                    let known = Part::ALL.iter().position(|known| known.1 == *part);
                    let known = known.ok_or_else(|| format!("a key has no '{part}'"))?;
                    definition.parts |= (known as u32) << (4 * index);
                }
            }
            _ => return Err(format!("'{name}' is no setting")),
        }
    }
    Ok(definition)
}

/// Adds one instruction, or a label.
fn instruction(
    program: &mut Source,
    maps: &[(String, Definition)],
    line: &str,
    number: usize,
) -> Result<(), String> {
    let at = program.instructions;
    if let Some(label) = line.strip_suffix(':') {
        let is_new = program.labels.insert(label.to_owned(), at).is_none();
        return if is_new { Ok(()) } else { Err(format!("'{label}' is there already")) };
    }
    let (name, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let operands: Vec<&str> = operands.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let encoded = match (name, operands.as_slice()) {
        ("call", [helper]) if Helper::named(helper).is_some() => {
            format!("call {}", Helper::named(helper).map_or(0, Helper::number))
        }
        ("lddw", [register, map]) if map.starts_with('@') => {
            let map = &map[1..];
            let known = maps.iter().position(|known| known.0 == map);
            let known = known.ok_or_else(|| format!("no map is called '{map}'"))?;
            program.maps.push(((at * INSTRUCTION_BYTES) as u64, known));
            format!("lddw {register}, 0")
        }
        ("xadddw", [memory, register]) => {
            program.additions.push(at);
            format!("stxdw {}, {register}", fields_of(memory))
        }
        (jump, [before @ .., label])
            if jump.starts_with('j') && label.starts_with(|first: char| first.is_ascii_alphabetic()) =>
        {
            program.jumps.push((number, at, (*label).to_owned()));
            let before: String = before.iter().map(|operand| format!("{operand}, ")).collect();
            format!("{jump} {before}+0")
        }
        _ => fields_of(line),
    };
    program.lines.push((number, encoded));
    program.instructions += if name == "lddw" { 2 } else { 1 };
    Ok(())
}

/// Replaces names of the context's fields by their offsets.
fn fields_of(text: &str) -> String {
    Field::ALL.iter().fold(text.to_owned(), |text, field| {
        text.replace(&format!("+{}]", field.name()), &format!("+{}]", field.offset()))
    })
}

fn write(file: &File) -> Result<Vec<u8>, object::write::Error> {
    let mut out = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let symbol = |name: &str, kind, section, value, size| Symbol {
        name: name.as_bytes().to_vec(),
        value,
        size,
        kind,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    };
    let mut maps: Vec<SymbolId> = Vec::new();
    if !file.maps.is_empty() {
        let name = out.segment_name(StandardSegment::Data).to_vec();
        let section = out.add_section(name, MAPS.as_bytes().to_vec(), SectionKind::Data);
        for (name, definition) in &file.maps {
            let bytes = definition.to_bytes();
            let offset = out.append_section_data(section, &bytes, 4);
            maps.push(out.add_symbol(symbol(name, SymbolKind::Data, section, offset, bytes.len() as u64)));
        }
    }
    for program in &file.programs {
        let segment = out.segment_name(StandardSegment::Text).to_vec();
        let section = match program.event.as_str() {
            "" => program.name.clone(),
            event => format!("trace/{event}"),
        };
        let section = out.add_section(segment, section.into_bytes(), SectionKind::Text);
        out.append_section_data(section, &program.bytes, 8);
        let size = program.bytes.len() as u64;
        out.add_symbol(symbol(&program.name, SymbolKind::Text, section, 0, size));
        for &(offset, map) in &program.maps {
            let flags = RelocationFlags::Generic {
                kind: RelocationKind::Absolute,
                encoding: RelocationEncoding::Generic,
                size: 64,
            };
            out.add_relocation(section, Relocation { offset, symbol: maps[map], addend: 0, flags })?;
        }
    }
    out.write()
}
