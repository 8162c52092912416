//! The protection of page tables that boot has chosen, and whether it is in force.
//!
//! Boot decides ([`decide`]) before it builds its tables, so that they lie in whole blocks from the start. The kinds of
//! protection, and how one comes into force, are in [`super::protect`].

use core::fmt;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

use rhumb_bootinfo::Options;
use rhumb_directmap::{Change, State};
use rhumb_tableguard::{NoKeys, Protection, SupervisorKeys, Wish, decide as choose};
use spin::Once;

use crate::arch::features::features;
use crate::arch::pkrs::{self, KEY};
use crate::cpu::once;

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
pub enum Less {
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

/// Returns why there is less protection than was asked for, if there is less.
pub fn less() -> Option<Less> {
    CHOSEN.get().and_then(|chosen| chosen.less)
}

/// Says that tables are protected as boot has chosen. Once, by [`super::protect`].
pub(super) fn come_into_force() {
    IN_FORCE.store(true, Release);
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
