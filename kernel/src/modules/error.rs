//! [`ModuleError`]: why a module is not loaded, or not unloaded, in one sentence.

use core::fmt;

use rhumb_code::CodeError;
use rhumb_modules::{LoadError, Part};
use rhumb_monitor::Text;

use crate::platform::ram_disk::Lack;

/// The most modules at a time.
pub const MAX_MODULES: usize = 16;

/// Why a module is not loaded, or not unloaded. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModuleError {
    /// There is no RAM disk that can be read.
    NoDisk(Lack),
    /// The RAM disk has no such file.
    NoFile,
    /// The name is too long for the list of modules.
    LongName,
    /// It is loaded already, or is being loaded or unloaded.
    Loaded,
    /// There are as many modules as the list has room for.
    Full,
    /// The file is no module for this kernel.
    Load(LoadError<'static>),
    /// There is no executable memory on this machine.
    NoPool,
    /// The pool of executable memory has no room for this part.
    Pool(Part, CodeError),
    /// There is no memory to link it in.
    NoMemory,
    /// Its header says something that is not so.
    Header(HeaderError),
    /// It names a command that is there already.
    Command(Text<32>),
    /// Its start failed, for this reason.
    Start(Text<112>),
    /// There is no such module.
    NotLoaded,
    /// It is in use.
    InUse {
        /// By how many users.
        users: u32,
    },
    /// It is being loaded or unloaded.
    Busy,
}

/// The fault of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Its name is not that of the file.
    OtherName,
    /// A text or a table is not in the module's read-only data, or is not UTF-8.
    StrayPointer,
    /// A function is not in the module's code.
    StrayFunction,
    /// It has more commands than the kernel takes.
    TooManyCommands,
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisk(lack) => lack.fmt(f),
            Self::NoFile => f.write_str("the RAM disk has no such module: 'ls' lists its files"),
            Self::LongName => f.write_str("the name is too long for a module's"),
            Self::Loaded => f.write_str("it is loaded already"),
            Self::Full => write!(f, "{MAX_MODULES} modules are loaded, and there can be no more"),
            Self::Load(error) => error.fmt(f),
            Self::NoPool => f.write_str("there is no pool of executable memory"),
            Self::Pool(part, error) => write!(f, "no memory for its {part}: {error}"),
            Self::NoMemory => f.write_str("there is no memory to link it in"),
            Self::Header(HeaderError::OtherName) => f.write_str("its name is not that of its file"),
            Self::Header(HeaderError::StrayPointer) => {
                f.write_str("its header points to something outside of it")
            }
            Self::Header(HeaderError::StrayFunction) => {
                f.write_str("its header names a function outside of its code")
            }
            Self::Header(HeaderError::TooManyCommands) => f.write_str("it has too many commands"),
            Self::Command(name) => write!(f, "its command '{name}' is there already"),
            Self::Start(reason) => write!(f, "it did not start: {reason}"),
            Self::NotLoaded => f.write_str("no module of this name is loaded: see 'modules'"),
            Self::InUse { users: 1 } => f.write_str("it is in use, by 1 user"),
            Self::InUse { users } => write!(f, "it is in use, by {users} users"),
            Self::Busy => f.write_str("it is being loaded or unloaded"),
        }
    }
}

impl From<LoadError<'static>> for ModuleError {
    fn from(error: LoadError<'static>) -> Self {
        Self::Load(error)
    }
}

impl From<HeaderError> for ModuleError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}
