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
//! **Boot** decides ([`decide`]) before it builds its tables, so that they lie in blocks from the start; it writes them
//! as ever. When there are windows and a map that can be changed, and before other CPUs run, [`start`] turns to the new
//! way of writing, then protects the blocks: in this order, since a table can be written in the new way before it is
//! protected, and not in the old one after.
//!
//! **CPUs.** Each sets CR4.PKS and closes the key before it takes part in anything (`arch::cpu`). One without
//! protection keys is left out where they are used. The key is open with interrupts off only; a fault or a non-maskable
//! interrupt in between has its handler run with the key closed ([`pkrs::Closed`]).
//!
//! **Still writable.** By windows: each CPU's own window shows it the table of its windows (`mm::windows`), and
//! while a table is written, a window shows that. Both are the CPU's own and not in the direct map. By keys: nothing.

pub mod audit;

use core::fmt;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

use rhumb_bootinfo::Options;
use rhumb_directmap::{Change, State};
use rhumb_machine::Counted;
use rhumb_tableguard::{NoKeys, Protection, SupervisorKeys, Wish, decide as choose};
use spin::Once;

use super::tables;
use super::windows;
use crate::arch::features::features;
use crate::arch::pkrs::{self, KEY};
use crate::cpu::once;
use crate::facts::Boot;
use crate::mm::table_supply::store;

static CHOSEN: Once<Chosen> = Once::new();
static IN_FORCE: AtomicBool = AtomicBool::new(false);

/// The decision of boot.
#[derive(Clone, Copy)]
struct Chosen {
    protection: Protection,
    /// Why it is less than was asked for.
    less: Option<Less>,
}

/// Why there is less protection than was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Less {
    NoKeys(NoKeys),
    NoBlock,
}

impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeys(error) => error.fmt(f),
            Self::NoBlock => {
                f.write_str("protect_tables=: no block of 2 MiB is free for tables; they stay as they are")
            }
        }
    }
}

/// Decides, and warns where that is less than was asked for. Once, by boot; `has_block` says whether a block can be had
/// for the first tables.
pub fn decide(options: &Options, has_block: impl FnOnce() -> bool) {
    let wish: Wish = options.protect_tables.and_then(|word| word.parse().ok()).unwrap_or_default();
    let keys = if features().pks { SupervisorKeys::Present } else { SupervisorKeys::Absent };
    let (mut protection, mut less) = match choose(wish, keys) {
        Ok(protection) => (protection, None),
        Err(error) => (Protection::Windows, Some(Less::NoKeys(error))),
    };
    if protection != Protection::Off && !has_block() {
        (protection, less) = (Protection::Off, Some(Less::NoBlock));
    }
    if let Some(less) = less {
        log::warn!("{less}");
    }
    once::fill(&CHOSEN, Chosen { protection, less });
    if protection == Protection::Keys {
        pkrs::use_keys();
    }
}

/// Returns how tables are to be protected; off before boot has decided.
pub fn wanted() -> Protection {
    CHOSEN.get().map_or(Protection::Off, |chosen| chosen.protection)
}

/// Returns how tables are protected now.
pub fn in_force() -> Protection {
    if IN_FORCE.load(Acquire) { wanted() } else { Protection::Off }
}

/// Returns how frames of tables are changed where they are protected.
pub fn change() -> Option<Change> {
    match wanted() {
        Protection::Off => None,
        Protection::Windows => Some(Change::ReadOnly),
        Protection::Keys => Some(Change::Key(Some(KEY))),
    }
}

/// Returns the change that protects frames of tables in the direct map.
pub fn state() -> Option<State> {
    State::ORDINARY.after(change()?).ok()
}

/// Protects the tables that boot has made. Once, at boot, before other CPUs run.
///
/// # Errors
/// The thing that is missing: tables stay as they are then.
pub fn start(_: &'static Boot) -> Result<(), StartError> {
    match wanted() {
        Protection::Off => return Ok(()),
        Protection::Windows => tables::write_by_windows(windows::windows().ok_or(StartError::NoWindows)?),
        Protection::Keys => tables::write_by_key(KEY),
    }
    store::protect_all().map_err(StartError::Change)?;
    IN_FORCE.store(true, Release);
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
        match CHOSEN.get().and_then(|chosen| chosen.less) {
            Some(less) => write!(f, " ({less})"),
            None => Ok(()),
        }
    }
}
