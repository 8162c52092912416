//! Page tables that cannot be written by mistake: they are read-only in the direct map, or out of it, and written in
//! one place.
//!
//! | [`Protection`] | tables in the direct map | a write |
//! |---|---|---|
//! | `Off` | read-write | as ever |
//! | `Windows` | read-only, or absent | through a CPU-local window ([`WindowedTables`]): two entries more, no flush of other CPUs |
//! | `Keys` | read-write, with a protection key that is closed | between opening and closing the key ([`KeyedTables`]): two writes of a register |
//!
//! The option `protect_tables=` says what is wanted ([`Wish`]); [`decide`] says what this CPU gets. Both wrappers are a
//! [`TableMemory`] around another, so that everything above writes tables as before.
//!
//! Where the tables' frames come from is a matter of its own: [`TableStore`] cuts them from whole large pages, so that
//! protecting them costs the map one page for each 511 tables.
//!
//! | module | owns |
//! |---|---|
//! | [`keyed`] | [`KeyedTables`], and [`KeyRegister`]: the CPU's register of keys |
//! | [`windowed`] | [`WindowedTables`] |
//! | [`store`] | [`TableStore`] |
//! | [`planted`] | faults that the tests plant |
//!
//! The key is of the *supervisor* kind (PKS): bits 62..59 of a leaf name one of sixteen, and the register IA32_PKRS has
//! two bits for each, "no access" and "no write". Source: Intel SDM volume 3, 5.6.2 and 2.7.
#![no_std]
#![deny(unsafe_code)]

pub mod keyed;
pub mod planted;
pub mod store;
pub mod windowed;

use core::fmt;
use core::str::FromStr;

#[cfg(doc)]
use rhumb_pagetable::TableMemory;

pub use keyed::{KeyRegister, KeyedTables};
pub use rhumb_pagetable::{Key, Rights};
pub use store::{NotGiven, StoreFault, TABLES_PER_BLOCK, TableStore, Tenure};
pub use windowed::WindowedTables;

/// How tables are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// Not at all.
    Off,
    /// Written through windows.
    Windows,
    /// Written while a protection key is open.
    Keys,
}

/// The protection that `protect_tables=` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Wish {
    /// `off`, and where nothing is said.
    #[default]
    Off,
    /// `on`: keys where the CPU has them, windows elsewhere.
    Best,
    /// `window`.
    Windows,
    /// `pks`.
    Keys,
}

/// Whether the CPU has protection keys for supervisor pages (CPUID 7.0 ECX bit 31), on every CPU of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SupervisorKeys {
    /// It has.
    Present,
    /// It has not.
    Absent,
}

/// A wish that this CPU cannot fulfil. The system goes on with windows, and says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoKeys;

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "protect_tables=pks: this CPU has no protection keys for supervisor pages; windows are used",
        )
    }
}

impl core::error::Error for NoKeys {}

/// Returns the protection that a wish gets on this CPU.
///
/// # Errors
/// [`NoKeys`] where keys were asked for by name and are not there. Never less protection than was asked for: use
/// windows.
pub const fn decide(wish: Wish, keys: SupervisorKeys) -> Result<Protection, NoKeys> {
    match (wish, keys) {
        (Wish::Off, _) => Ok(Protection::Off),
        (Wish::Windows, _) | (Wish::Best, SupervisorKeys::Absent) => Ok(Protection::Windows),
        (Wish::Best | Wish::Keys, SupervisorKeys::Present) => Ok(Protection::Keys),
        (Wish::Keys, SupervisorKeys::Absent) => Err(NoKeys),
    }
}

/// A word that is no [`Wish`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownWish;

impl fmt::Display for UnknownWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("protect_tables= is one of off, on, window, pks")
    }
}

impl core::error::Error for UnknownWish {}

impl FromStr for Wish {
    type Err = UnknownWish;

    fn from_str(word: &str) -> Result<Self, UnknownWish> {
        match word {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::Best),
            "window" => Ok(Self::Windows),
            "pks" => Ok(Self::Keys),
            _ => Err(UnknownWish),
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Windows => "window",
            Self::Keys => "pks",
        })
    }
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
