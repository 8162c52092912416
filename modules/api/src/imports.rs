//! The declarations of the kernel's functions, and the versions that they are declared in: both from the one list that
//! the kernel makes its table from.

use rhumb_module_abi::types::{Block, Header, Never, NodeMemory, Out, Text};
use rhumb_module_abi::version::{EXPORTS, RECORDS, VersionRecord};

macro_rules! declare {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        unsafe extern "C" {
            $($(#[$doc])* pub(crate) fn $name($($argument: $type),*) -> $result;)*
        }
    };
}

rhumb_module_abi::for_each_export!(declare);

/// The versions that the loader compares. The linker script keeps the section.
#[used]
// SAFETY: the section is only read, by the loader, which expects records of this form in it.
#[unsafe(link_section = ".rhumb.versions")]
static VERSIONS: [VersionRecord; EXPORTS + 1] = RECORDS;
