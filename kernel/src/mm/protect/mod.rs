//! Protected page tables: nothing but the writer of tables can write them.
//!
//! ```text
//!  protect_tables=   how the direct map shows table frames         a write, with the lock of the tables held
//!  off               read-write, anywhere                          a store
//!  window            read-only, in whole blocks of 2 MiB           a window opened, stores, the window closed
//!  pks               of key 1, which is closed; in such blocks     the key opened on this CPU, stores, the key closed
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`audit`] | whether no table can be written, and every CPU has its key closed |
//!
//! **Boot** decides ([`protection::decide`]) before it builds its tables, so that they lie in blocks from the start; it
//! writes them as ever. When there are windows and a map that can be changed, and before other CPUs run, [`start`]
//! turns to the new way of writing, then protects the blocks: in this order, since a table can be written in the new
//! way before it is protected, and not in the old one after.
//!
//! **CPUs.** Each sets CR4.PKS and closes the key before it takes part in anything (`arch::control`). One without
//! protection keys is left out where they are used. The key is open with interrupts off only; a fault or a non-maskable
//! interrupt in between has its handler run with the key closed ([`Closed`](crate::arch::pkrs::Closed)).
//!
//! **Still writable.** By windows: each CPU's own window shows it the table of its windows (`mm::window_tables`), and
//! while a table is written, a window shows that. Both are the CPU's own and not in the direct map. By keys: nothing.

pub mod audit;

use core::fmt;

use rhumb_machine::Counted;
use rhumb_tableguard::Protection;

use super::protection::{self, in_force};
use super::{tables, windows};
use crate::arch::pkrs::KEY;
use crate::facts::Boot;
use crate::mm::direct_map::table_supply::store;

/// Protects the tables that boot has made. Once, at boot, before other CPUs run.
///
/// # Errors
/// The thing that is missing: tables stay as they are then.
pub fn start(_: &'static Boot) -> Result<(), StartError> {
    match protection::wanted() {
        Protection::Off => return Ok(()),
        Protection::Windows => tables::write_by_windows(windows::windows().ok_or(StartError::NoWindows)?),
        Protection::Keys => tables::write_by_key(KEY),
    }
    store::protect_all().map_err(StartError::Change)?;
    protection::come_into_force();
    log::info!("{Status}");
    Ok(())
}

/// Why tables cannot be protected.
#[derive(Debug)]
pub enum StartError {
    /// There are no windows.
    NoWindows,
    /// A block of boot's cannot be changed.
    Change(rhumb_directmap::ChangeError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWindows => f.write_str("there are no windows"),
            Self::Change(error) => error.fmt(f),
        }
    }
}

/// One line for people.
pub struct Status;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match in_force() {
            Protection::Off => f.write_str("page tables: not protected")?,
            Protection::Windows => f.write_str("page tables: read-only, written through windows")?,
            Protection::Keys => write!(f, "page tables: of {KEY}, which is open while they are written")?,
        }
        if in_force() != Protection::Off {
            let (blocks, free) = tables::look_at_store(|store, _| (store.blocks(), store.free()));
            write!(
                f,
                "; in {} of 2 MiB, {} of them spare",
                Counted(blocks, "block"),
                Counted(free, "frame")
            )?;
        }
        match protection::less() {
            Some(less) => write!(f, " ({less})"),
            None => Ok(()),
        }
    }
}
