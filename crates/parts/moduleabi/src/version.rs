//! [`VersionRecord`]: a symbol's name with its version, as a module carries it in its section [`SECTION`]; and the
//! versions of all that there is.

use crate::shape::{START, Shape, add_number, add_words};
use crate::types::*;

/// The section of a module in which its version records lie, one after the other.
pub const SECTION: &str = ".rhumb.versions";
/// Bytes for a name in a record, and so the longest name of a symbol.
pub const NAME_BYTES: usize = 56;

/// A version and a name, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct VersionRecord {
    /// The version, little-endian.
    pub version: [u8; 8],
    /// The name.
    pub name: [u8; NAME_BYTES],
}

/// Bytes of a record.
pub const RECORD_BYTES: usize = size_of::<VersionRecord>();

impl VersionRecord {
    /// Returns the record of a symbol.
    ///
    /// # Panics
    /// The name is too long: while compiling.
    pub const fn new(name: &str, version: u64) -> Self {
        let mut padded = [0; NAME_BYTES];
        assert!(name.len() <= NAME_BYTES, "the name of an export is longer than a record's room");
        let mut at = 0;
        while at < name.len() {
            padded[at] = name.as_bytes()[at];
            at += 1;
        }
        Self { version: version.to_le_bytes(), name: padded }
    }

    /// Returns the record in these bytes.
    pub fn read(bytes: &[u8; RECORD_BYTES]) -> Self {
        let (mut version, mut name) = ([0; 8], [0; NAME_BYTES]);
        version.copy_from_slice(&bytes[..8]);
        name.copy_from_slice(&bytes[8..]);
        Self { version, name }
    }

    /// Returns the name; `None` if it is not UTF-8.
    pub fn name(&self) -> Option<&str> {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
        str::from_utf8(&self.name[..end]).ok()
    }

    /// Returns the version.
    pub const fn version(&self) -> u64 {
        u64::from_le_bytes(self.version)
    }
}

/// The version of [`Header`], and so of all that it leads to.
pub const HEADER: u64 = add_number(add_number(START, Header::HASH), CommandEntry::HASH);

/// Returns the version of a declaration: its words, and the layouts of its types.
pub const fn of_declaration(words: &str, shapes: &[u64]) -> u64 {
    let mut hash = add_words(START, words);
    let mut at = 0;
    while at < shapes.len() {
        hash = add_number(hash, shapes[at]);
        at += 1;
    }
    hash
}

macro_rules! versions {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        /// The versions of the exported functions, by their names.
        #[allow(non_upper_case_globals, reason = "each has the name of its function")]
        pub mod of {
            use super::*;
            $(
                #[doc = concat!("The version of `", stringify!($name), "`.")]
                pub const $name: u64 = of_declaration(
                    stringify!(fn $name($($argument: $type),*) -> $result),
                    &[$(<$type as Shape>::HASH,)* <$result as Shape>::HASH],
                );
            )*
        }

        /// How many functions there are.
        pub const EXPORTS: usize = [$(stringify!($name)),*].len();

        /// The records of all functions and of the header: what a module carries.
        pub const RECORDS: [VersionRecord; EXPORTS + 1] = [
            $(VersionRecord::new(stringify!($name), of::$name),)*
            VersionRecord::new(HEADER_SYMBOL, HEADER),
        ];
    };
}

crate::for_each_export!(versions);
