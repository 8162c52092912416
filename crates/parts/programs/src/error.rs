//! [`LoadError`]: why a file is not loaded, in one sentence.

use core::fmt;

use rhumb_machine::VirtRange;

use crate::limits::{MAX_ALIGN, MAX_HEADERS, MAX_SEGMENTS};

/// Why a file is not loaded. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// It does not begin as an ELF file.
    NotElf,
    /// It is for another kind of machine.
    OtherMachine,
    /// It is an ELF file of another kind: an object, a core dump.
    NotExecutable,
    /// It asks for an interpreter or for libraries.
    Dynamic,
    /// Its file header is of another version, or names program headers of another size.
    FileHeader,
    /// The file ends before the end of its program headers.
    NoHeaders,
    /// Its dynamic table lies outside the file, does not end in time, or there is a second one.
    DynamicTable,
    /// There are more program headers than [`MAX_HEADERS`].
    TooManyHeaders(usize),
    /// There are more segments than [`MAX_SEGMENTS`].
    TooManySegments,
    /// It has no segment to load.
    Empty,
    /// A segment is wrong.
    Segment {
        /// The number of its program header.
        header: usize,
        /// Its fault.
        why: Unfit,
    },
    /// It wants its code to be written at load time.
    WritesItsCode,
    /// It wants to execute its stack.
    ExecutableStack,
    /// Its first instruction is not in a segment that is executed.
    Entry(u64),
    /// It does not fit into the addresses that there are at this base.
    OutOfRange {
        /// The addresses that it wants.
        wanted: VirtRange,
        /// The addresses that there are.
        within: VirtRange,
    },
    /// It wants addresses that no address space has.
    TooLarge,
    /// The base is no multiple of the program's alignment, or a base was given to a program that has one.
    Base(u64),
}

/// A fault of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The file ends before its bytes.
    Truncated,
    /// It has more bytes in the file than in memory.
    Shrinks,
    /// It ends beyond the last address.
    Wraps,
    /// It begins before the segment before it ends, or on a page that both share.
    Overlaps,
    /// It is to be written and executed.
    WrittenAndExecuted,
    /// It is neither read nor written nor executed.
    Unreadable,
    /// Its alignment is no power of two, or larger than [`MAX_ALIGN`].
    Alignment(u64),
    /// Its address and its place in the file differ within its alignment, which is at least a page.
    Incongruent,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("has bytes beyond the end of the file"),
            Self::Shrinks => f.write_str("has more bytes in the file than in memory"),
            Self::Wraps => f.write_str("ends beyond the last address"),
            Self::Overlaps => f.write_str("is not on pages of its own, behind the segment before it"),
            Self::WrittenAndExecuted => f.write_str("wants to be written and executed"),
            Self::Unreadable => f.write_str("wants no access at all"),
            Self::Alignment(bytes) => {
                write!(f, "wants the alignment {bytes:#x}, not a power of two up to {MAX_ALIGN:#x}")
            }
            Self::Incongruent => f.write_str("lies in the file otherwise than in its page"),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("the file is not an ELF file"),
            Self::OtherMachine => f.write_str("the file is not for x86-64 with 64 bits"),
            Self::NotExecutable => f.write_str("the file is not an executable program"),
            Self::Dynamic => {
                f.write_str("the program wants a dynamic linker or libraries: link it statically")
            }
            Self::FileHeader => f.write_str("the file header is malformed"),
            Self::DynamicTable => f.write_str("the program's dynamic table is malformed"),
            Self::NoHeaders => f.write_str("the file is truncated: it ends before its program headers"),
            Self::TooManyHeaders(count) => write!(f, "{count} program headers are more than {MAX_HEADERS}"),
            Self::TooManySegments => write!(f, "the program has more than {MAX_SEGMENTS} segments"),
            Self::Empty => f.write_str("the program has no segment to load"),
            Self::Segment { header, why } => write!(f, "the segment of program header {header} {why}"),
            Self::WritesItsCode => f.write_str("the program wants its code to be written at load time"),
            Self::ExecutableStack => f.write_str("the program wants to execute its stack"),
            Self::Entry(address) => {
                write!(f, "the program begins at {address:#x}, which is not in an executed segment")
            }
            Self::OutOfRange { wanted, within } => {
                write!(f, "the program wants addresses {wanted}, which are not within {within}")
            }
            Self::TooLarge => f.write_str("the program is larger than an address space"),
            Self::Base(base) => write!(f, "the program cannot lie at {base:#x}"),
        }
    }
}

impl core::error::Error for LoadError {}
