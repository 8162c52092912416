//! Errors: why a file is not loaded ([`LoadError`]), why a program is refused ([`Refusal`]).

use core::fmt;

use crate::limits::{MAX_INSTRUCTIONS, MAX_MAP_BYTES, MAX_MAPS, MAX_PROGRAMS, MAX_SECTIONS};
use crate::name::Name;

/// Why a file was not loaded. Nothing is left of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// Not an ELF file that can be read, for this reason.
    Malformed(&'static str),
    /// An ELF file for another machine than little-endian BPF, or no relocatable one.
    NotBpf,
    /// No section holds a program.
    NoProgram,
    /// More sections, programs, maps or instructions than a file may have.
    TooMany(Limit),
    /// A program has no instructions at all.
    Empty(Name),
    /// A program's bytes are no whole number of instructions.
    Ragged(Name),
    /// A map is defined in a way that is not known or not allowed.
    BadMap(Name, MapRefusal),
    /// An instruction refers to something that is no map.
    BadReference(Name),
    /// A program was refused.
    Refused {
        /// The program.
        program: Name,
        /// The number of the instruction, from 0, as `llvm-objdump` counts.
        instruction: u32,
        /// Why.
        refusal: Refusal,
    },
    /// There is no memory for it.
    OutOfMemory,
}

/// A number that has a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Sections of a file.
    Sections,
    /// Programs of a file.
    Programs,
    /// Maps of a file.
    Maps,
    /// Instructions of a program.
    Instructions,
    /// Bytes of a file's maps.
    MapBytes,
}

/// Why a map is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapRefusal {
    /// The kind is not known.
    Kind(u32),
    /// Keys of an array are 4 bytes, others 1 to 4 words of 8 bytes.
    KeySize(u32),
    /// Values are words of 8 bytes, 512 at most; a histogram has no other value than its buckets.
    ValueSize(u32),
    /// Without room for a key, or for too many.
    Entries(u32),
    /// Its definition is not 20 bytes of the section `maps`.
    Definition,
}

/// Why an instruction is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No such instruction.
    UnknownOpcode(u8),
    /// A field that the instruction does not use is not zero.
    UnusedField(u8),
    /// No such register.
    NoSuchRegister(u8),
    /// The second half of a 64-bit load is missing or wrong.
    HalfInstruction,
    /// A map is named by a number instead of a relocation.
    MapByNumber,
    /// An atomic operation other than the addition of 64 bits.
    UnknownAtomic,
    /// A helper that does not exist.
    UnknownHelper(i32),
    /// A call of another program.
    CallsProgram,
    /// A jump to an instruction before the next one: a loop.
    JumpsBack,
    /// A jump past the end of the program.
    JumpsOut,
    /// A jump between the two halves of an instruction.
    JumpsInside,
    /// The program may go on past its last instruction.
    RunsOut,
    /// More paths are open at once than the verifier keeps.
    TooManyPaths,
    /// A register is read that has no value on some path.
    Uninitialised(u8),
    /// r10 is written.
    WritesFrame,
    /// A pointer is used as a number: stored, returned, compared or calculated with.
    LeaksPointer(u8),
    /// A register that holds no pointer is used as one.
    NoPointer(u8),
    /// The result of a lookup is used without being compared with 0.
    MaybeNull(u8),
    /// Arithmetic on a pointer that is not an addition or subtraction of a number.
    PointerArithmetic(u8),
    /// The access is, or may be, outside of what the pointer points to.
    OutOfBounds,
    /// The access is not, or may not be, aligned to its size.
    Misaligned,
    /// Bytes of the stack are read that were not written.
    UninitialisedStack,
    /// The context is written.
    WritesContext,
    /// A map's value is written otherwise than by 64 bits.
    PartialStore,
    /// Something other than a map's value is added to atomically.
    AtomicElsewhere,
    /// The argument of a call is not what the helper takes.
    BadArgument(u8),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownOpcode(opcode) => write!(f, "opcode {opcode:#04x} is unknown"),
            Self::UnusedField(opcode) => write!(f, "opcode {opcode:#04x} has a field that must be 0"),
            Self::NoSuchRegister(number) => write!(f, "there is no register r{number}"),
            Self::HalfInstruction => f.write_str("the second half of a 64-bit load is wrong"),
            Self::MapByNumber => f.write_str("a map is named by a number, not by a relocation"),
            Self::UnknownAtomic => f.write_str("of atomic operations, only additions of 64 bits are known"),
            Self::UnknownHelper(number) => write!(f, "there is no helper {number}"),
            Self::CallsProgram => f.write_str("a program cannot call another"),
            Self::JumpsBack => f.write_str("it jumps back, and programs may not loop"),
            Self::JumpsOut => f.write_str("it jumps past the program's end"),
            Self::JumpsInside => f.write_str("it jumps into the middle of an instruction"),
            Self::RunsOut => f.write_str("the program goes on past its last instruction"),
            Self::TooManyPaths => f.write_str("too many paths are open at once"),
            Self::Uninitialised(number) => write!(f, "r{number} has no value on some path"),
            Self::WritesFrame => f.write_str("r10 is read-only"),
            Self::LeaksPointer(number) => write!(f, "r{number} is a pointer, and a number is wanted"),
            Self::NoPointer(number) => write!(f, "r{number} is not a pointer"),
            Self::MaybeNull(number) => write!(f, "r{number} may be null: compare it with 0 first"),
            Self::PointerArithmetic(number) => {
                write!(f, "to the pointer in r{number}, only numbers are added")
            }
            Self::OutOfBounds => f.write_str("the access may be out of bounds"),
            Self::Misaligned => f.write_str("the access may be misaligned"),
            Self::UninitialisedStack => f.write_str("it reads bytes of the stack that were never written"),
            Self::WritesContext => f.write_str("the context is read-only"),
            Self::PartialStore => f.write_str("values of maps are written by 64 bits at a time"),
            Self::AtomicElsewhere => f.write_str("atomic additions are for values of maps"),
            Self::BadArgument(number) => write!(f, "r{number} is not what the helper takes"),
        }
    }
}

impl fmt::Display for MapRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "kind {kind:#x} is unknown"),
            Self::KeySize(bytes) => write!(f, "keys of {bytes} bytes are not allowed"),
            Self::ValueSize(bytes) => write!(f, "values of {bytes} bytes are not allowed"),
            Self::Entries(entries) => write!(f, "room for {entries} entries is not allowed"),
            Self::Definition => f.write_str("its definition is not 20 bytes of section 'maps'"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sections => write!(f, "{} sections", MAX_SECTIONS),
            Self::Programs => write!(f, "{} programs", MAX_PROGRAMS),
            Self::Maps => write!(f, "{} maps", MAX_MAPS),
            Self::Instructions => write!(f, "{} instructions", MAX_INSTRUCTIONS),
            Self::MapBytes => write!(f, "{} MiB of maps", MAX_MAP_BYTES >> 20),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the file cannot be read: {why}"),
            Self::NotBpf => f.write_str("the file is not a relocatable ELF file for BPF"),
            Self::NoProgram => f.write_str("the file has no program"),
            Self::TooMany(limit) => write!(f, "the file has more than {limit}"),
            Self::Empty(program) => write!(f, "program {program} is empty: it has no instructions"),
            Self::Ragged(program) => write!(f, "program {program} is not a whole number of instructions"),
            Self::BadMap(map, refusal) => write!(f, "map {map}: {refusal}"),
            Self::BadReference(program) => {
                write!(f, "program {program} refers to something that is not a map")
            }
            Self::Refused { program, instruction, refusal } => {
                write!(f, "program {program}, instruction {instruction}: {refusal}")
            }
            Self::OutOfMemory => f.write_str("there is no memory for it"),
        }
    }
}

impl core::error::Error for LoadError {}
