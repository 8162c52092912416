//! [`LoadError`]: why a file is not loaded, in one sentence.

use core::fmt;

use rhumb_module_abi::types::HEADER_SYMBOL;

use crate::names::Shown;
use crate::part::{MAX_ALIGN, MAX_PART_BYTES, MAX_SECTIONS, MAX_SYMBOLS, Part};

/// Why a file is not loaded. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError<'file> {
    /// It is no relocatable object for x86-64.
    NotAnObject(NotAnObject),
    /// The file ends before this.
    Truncated(Piece),
    /// This is not as the format demands.
    Malformed(Piece),
    /// The object has more sections than [`MAX_SECTIONS`].
    TooManySections(usize),
    /// The object has more symbols than [`MAX_SYMBOLS`].
    TooManySymbols(usize),
    /// A section that the loader has no place for.
    UnfitSection {
        /// Its name.
        name: &'file str,
        /// The reason.
        why: Unfit,
    },
    /// A part has more than [`MAX_PART_BYTES`].
    PartTooLarge(Part),
    /// The object defines no header: it is no module.
    NoHeader,
    /// The header is not where a header can be.
    BadHeader,
    /// The kernel exports no such symbol.
    Undefined(&'file str),
    /// The module does not say which version of the symbol it was built against.
    Unversioned(&'file str),
    /// The module was built against another version.
    OtherVersion {
        /// The symbol.
        symbol: &'file str,
        /// The version of the kernel that runs.
        kernel: u64,
        /// The version that the module carries.
        module: u64,
    },
    /// A relocation of a kind that the loader does not know.
    UnknownRelocation {
        /// Its section.
        section: &'file str,
        /// Where in it.
        offset: u64,
        /// The kind.
        kind: u32,
    },
    /// A relocation whose place lies outside its section.
    StrayRelocation {
        /// Its section.
        section: &'file str,
        /// Where it would be.
        offset: u64,
    },
    /// A value that does not fit where the relocation puts it.
    OutOfReach {
        /// The section.
        section: &'file str,
        /// Where in it.
        offset: u64,
        /// The value.
        value: i128,
    },
    /// A relocation that names a symbol which has no address.
    BadSymbol {
        /// The symbol's number.
        index: usize,
    },
    /// More symbols are reached through the table of addresses than there is room for.
    TooManyIndirect,
}

/// Why a file is no relocatable object for x86-64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAnObject {
    /// It does not begin as an ELF file.
    NotElf,
    /// It is for another kind of machine.
    OtherMachine,
    /// It is linked already.
    NotRelocatable,
}

/// A piece of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// The header of the file.
    FileHeader,
    /// The table of sections.
    SectionHeaders,
    /// The names of sections.
    SectionNames,
    /// The bytes of a section.
    SectionBytes,
    /// The symbols.
    Symbols,
    /// The names of symbols.
    SymbolNames,
    /// The relocations.
    Relocations,
    /// The versions of imports.
    Versions,
}

/// Why there is no place for a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It is to be written and executed.
    WrittenAndExecuted,
    /// A copy of it for each thread is wanted.
    ThreadLocal,
    /// It is of a type that the loader does not know.
    Type(u32),
    /// Its alignment is no power of two, or larger than [`MAX_ALIGN`].
    Alignment(u64),
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FileHeader => "the file header",
            Self::SectionHeaders => "the section headers",
            Self::SectionNames => "the names of sections",
            Self::SectionBytes => "the bytes of a section",
            Self::Symbols => "the symbols",
            Self::SymbolNames => "the names of symbols",
            Self::Relocations => "the relocations",
            Self::Versions => "the versions of imports",
        })
    }
}

impl fmt::Display for LoadError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject(NotAnObject::NotElf) => f.write_str("the file is not an ELF file"),
            Self::NotAnObject(NotAnObject::OtherMachine) => {
                f.write_str("the file is not for x86-64 with 64 bits")
            }
            Self::NotAnObject(NotAnObject::NotRelocatable) => {
                f.write_str("the file is not a relocatable object")
            }
            Self::Truncated(piece) => write!(f, "the file is truncated: it ends before the end of {piece}"),
            Self::Malformed(piece) => write!(f, "the file is malformed: see {piece}"),
            Self::TooManySections(count) => write!(f, "{count} sections are more than {MAX_SECTIONS}"),
            Self::TooManySymbols(count) => write!(f, "{count} symbols are more than {MAX_SYMBOLS}"),
            Self::UnfitSection { name, why } => {
                write!(f, "section {} ", Shown(name))?;
                match why {
                    Unfit::WrittenAndExecuted => f.write_str("wants to be written and executed"),
                    Unfit::ThreadLocal => f.write_str("is thread-local"),
                    Unfit::Type(number) => write!(f, "has type {number}, which cannot be loaded"),
                    Unfit::Alignment(bytes) => {
                        write!(f, "wants an alignment of {bytes} bytes, not one up to {MAX_ALIGN}")
                    }
                }
            }
            Self::PartTooLarge(part) => {
                write!(f, "its {part} takes more than {} MiB", MAX_PART_BYTES >> 20)
            }
            Self::NoHeader => write!(f, "the file is not a module: it does not define {HEADER_SYMBOL}"),
            Self::BadHeader => write!(f, "{HEADER_SYMBOL} is not in read-only data, whole and aligned"),
            Self::Undefined(symbol) => write!(f, "symbol {} is not exported by this kernel", Shown(symbol)),
            Self::Unversioned(symbol) => write!(f, "symbol {} has no version in the module", Shown(symbol)),
            Self::OtherVersion { symbol, kernel, module } => {
                let symbol = Shown(symbol);
                write!(
                    f,
                    "symbol {symbol} has version {kernel:016x} in this kernel, {module:016x} in the module"
                )
            }
            Self::UnknownRelocation { section, offset, kind } => {
                write!(f, "relocation {kind} at {}+{offset:#x} is of an unknown kind", Shown(section))
            }
            Self::StrayRelocation { section, offset } => {
                write!(f, "a relocation at {}+{offset:#x} lies outside the section", Shown(section))
            }
            Self::OutOfReach { section, offset, value } => {
                write!(f, "the value {value:#x} does not fit at {}+{offset:#x}", Shown(section))
            }
            Self::BadSymbol { index } => {
                write!(f, "symbol number {index} is relocated to, but has no address")
            }
            Self::TooManyIndirect => f.write_str("too many symbols are reached through a table of addresses"),
        }
    }
}

impl core::error::Error for LoadError<'_> {}
