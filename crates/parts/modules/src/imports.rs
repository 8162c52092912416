//! [`Exports`]: what a module may call; and the versions that a module carries of it.

use rhumb_module_abi::version::{RECORD_BYTES, VersionRecord};

use crate::error::{LoadError, Piece};

/// A symbol that the kernel exports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Export {
    /// Its address.
    pub address: u64,
    /// The hash of its declaration and of its types.
    pub version: u64,
}

/// The symbols that the kernel exports.
pub trait Exports {
    /// Returns the symbol of this name.
    fn find(&self, name: &str) -> Option<Export>;
}

/// The most version records that a module may carry, and the most symbols that it may import.
pub(crate) const MAX_RECORDS: usize = 1024;

/// The version records of a module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Versions<'file>(&'file [u8]);

impl<'file> Versions<'file> {
    /// The records of a module that carries none.
    pub(crate) const NONE: Self = Self(&[]);

    pub(crate) fn parse(bytes: &'file [u8]) -> Result<Self, LoadError<'file>> {
        if bytes.len().is_multiple_of(RECORD_BYTES) && bytes.len() <= MAX_RECORDS * RECORD_BYTES {
            Ok(Self(bytes))
        } else {
            Err(LoadError::Malformed(Piece::Versions))
        }
    }

    /// Returns the version of a symbol that the module carries.
    fn of(&self, name: &str) -> Option<u64> {
        let (records, _) = self.0.as_chunks::<RECORD_BYTES>();
        records
            .iter()
            .map(VersionRecord::read)
            .find(|record| record.name() == Some(name))
            .map(|record| record.version())
    }

    /// Compares the version of a symbol with the kernel's.
    pub(crate) fn check(&self, symbol: &'file str, kernel: u64) -> Result<(), LoadError<'file>> {
        match self.of(symbol) {
            Some(module) if module == kernel => Ok(()),
            Some(module) => Err(LoadError::OtherVersion { symbol, kernel, module }),
            None => Err(LoadError::Unversioned(symbol)),
        }
    }
}
