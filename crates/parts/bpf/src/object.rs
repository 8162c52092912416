//! [`Object`]: the maps and programs of one file.

use alloc::vec::Vec;

use rhumb_machine::IrqOff;

use crate::context::Context;
use crate::elf;
use crate::error::{Limit, LoadError, Refusal};
use crate::limits::{MAX_INSTRUCTIONS, MAX_MAP_BYTES, MAX_MAPS, MAX_PROGRAMS};
use crate::map::{Definition, Map, filled};
use crate::name::Name;
use crate::operation::{Fields, INSTRUCTION_BYTES, LOAD_NUMBER, Operation, decode};
use crate::program::{Environment, Fault, Program};
use crate::source::{References, Source};
use crate::verify::verify;

/// The maps and programs of one file.
#[derive(Debug)]
pub struct Object {
    name: Name,
    maps: Vec<Map>,
    programs: Vec<Program>,
}

/// A program that loads no map.
struct NoMaps;

impl References for NoMaps {
    fn map_at(&self, _: usize, _: u64) -> Result<Option<u8>, LoadError> {
        Ok(None)
    }
}

impl Object {
    /// Loads an ELF file, on a machine of so many CPUs: each section of instructions is a program, the section `maps` has
    /// the definitions of maps. All programs are verified.
    ///
    /// Cost: proportional to the file; memory for the maps, 16 bytes for each instruction, and at most 500 KiB while it
    /// verifies.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is left then.
    pub fn from_elf(name: &str, file: &[u8], cpus: usize) -> Result<Self, LoadError> {
        let file = elf::File::parse(file)?;
        let mut object = Self::empty(Name::new(name));
        file.for_each_map(|name, definition| object.add_map(name, definition, cpus))?;
        let maps = object.maps.len();
        file.for_each_program(maps, |source, references| object.add_program(source, references))?;
        if object.programs.is_empty() { Err(LoadError::NoProgram) } else { Ok(object) }
    }

    /// Loads one program that is given as raw instructions, and has no maps.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is left then.
    pub fn from_raw(name: &str, instructions: &[u8]) -> Result<Self, LoadError> {
        let name = Name::new(name);
        let mut object = Self::empty(name);
        object.add_program(&Source { name, event: Name::default(), bytes: instructions }, &NoMaps)?;
        Ok(object)
    }

    const fn empty(name: Name) -> Self {
        Self { name, maps: Vec::new(), programs: Vec::new() }
    }

    /// Adds a map.
    fn add_map(&mut self, name: Name, definition: &Definition, cpus: usize) -> Result<(), LoadError> {
        if self.maps.len() == MAX_MAPS {
            return Err(LoadError::TooMany(Limit::Maps));
        }
        let layout = crate::map::Layout::of(definition, cpus);
        let bytes = layout.map_err(|refusal| LoadError::BadMap(name, refusal))?.bytes();
        if self.bytes().saturating_add(bytes) > MAX_MAP_BYTES {
            return Err(LoadError::TooMany(Limit::MapBytes));
        }
        let map = Map::new(name, definition, cpus)?;
        self.maps.try_reserve_exact(1).map_err(|_| LoadError::OutOfMemory)?;
        self.maps.push(map);
        Ok(())
    }

    /// Decodes, verifies and adds a program. All maps have been added.
    fn add_program(&mut self, source: &Source<'_>, references: &impl References) -> Result<(), LoadError> {
        if self.programs.len() == MAX_PROGRAMS {
            return Err(LoadError::TooMany(Limit::Programs));
        }
        let operations = decode_all(source, references)?;
        let refused = |(instruction, refusal)| refused(source.name, instruction, refusal);
        verify(&operations, &self.maps)?.map_err(refused)?;
        self.programs.try_reserve_exact(1).map_err(|_| LoadError::OutOfMemory)?;
        self.programs.push(Program { name: source.name, event: source.event, operations });
        Ok(())
    }

    /// Returns its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Returns its maps.
    pub fn maps(&self) -> &[Map] {
        &self.maps
    }

    /// Returns its programs.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Returns how many bytes its maps take.
    pub fn bytes(&self) -> usize {
        self.maps.iter().map(Map::bytes).sum()
    }

    /// Runs one of its programs, and returns r0. Interrupts are off for as long as it runs, which is bounded
    /// ([`MAX_INSTRUCTIONS`]).
    ///
    /// # Errors
    /// [`Fault`]; `None` where it has no such program.
    pub fn run(
        &self,
        program: usize,
        context: &Context,
        environment: &impl Environment,
        irq_off: IrqOff<'_>,
    ) -> Option<Result<u64, Fault>> {
        Some(self.programs.get(program)?.run(&self.maps, context, environment, irq_off))
    }
}

fn refused(program: Name, instruction: usize, refusal: Refusal) -> LoadError {
    LoadError::Refused { program, instruction: instruction as u32, refusal }
}

/// Decodes a program.
fn decode_all(source: &Source<'_>, references: &impl References) -> Result<Vec<Operation>, LoadError> {
    let (instructions, rest) = source.bytes.as_chunks::<INSTRUCTION_BYTES>();
    if source.bytes.is_empty() {
        return Err(LoadError::Empty(source.name));
    }
    if !rest.is_empty() {
        return Err(LoadError::Ragged(source.name));
    }
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(LoadError::TooMany(Limit::Instructions));
    }
    let mut operations = filled(instructions.len(), || Operation::Second)?;
    let mut at = 0;
    while let Some(&bytes) = instructions.get(at) {
        let fields = Fields::of(bytes);
        let second = instructions.get(at + 1).map(|&bytes| Fields::of(bytes));
        let takes_two = fields.opcode == LOAD_NUMBER;
        let map = match second {
            Some(second) if takes_two => references.map_at(at, fields.number_with(second))?,
            _ => None,
        };
        operations[at] = decode(fields, second, map).map_err(|refusal| refused(source.name, at, refusal))?;
        at += if takes_two { 2 } else { 1 };
    }
    Ok(operations)
}
