//! Giving tables back to the allocator: those past the reserve's level, and those that the map has kept since merges.
//!
//! While memory is ample, the tables of the last merges, and the reserve that these have filled, are worth their
//! memory, because the next splits take them. When memory is short they go back: the supply is one of the allocator's
//! reclaimers. A reclaimer may take the map's lock, because no code asks for memory with that lock held.

use rhumb_frames::{Frames, Reclaimer, Shortage, TooManyReclaimers};
use rhumb_machine::{Order, Pinned};
use x86_64::instructions::interrupts;

use super::stock::Stock;
use super::{reserve, store};
use crate::cpu::machine::KernelMachine;
use crate::mm::direct_map::{free_kept_tables, with};

/// Tables that one hold of the lock clears, with 512 writes for each.
const CLEARED: u64 = 8;

/// Registers the supply with the allocator, so that a request that finds no memory has tables freed. Once, at boot.
///
/// # Errors
/// The allocator has no place for the reclaimer.
pub fn start(frames: &Frames<KernelMachine>) -> Result<(), TooManyReclaimers> {
    frames.register_reclaimer(&SpareTables)
}

/// The reclaimer that the allocator is told of at boot.
struct SpareTables;

impl Reclaimer for SpareTables {
    fn name(&self) -> &str {
        "tables of the direct map"
    }

    /// Does nothing with interrupts off. Freeing kept tables takes a flush of the other CPUs, and the caller may hold a
    /// lock for which another CPU waits with its interrupts off, so that it would not answer the flush.
    fn reclaim(&self, _: Pinned<'_>, _: &Shortage) -> u64 {
        if interrupts::are_enabled() { give_back() } else { 0 }
    }
}

/// Gives back the tables that the supply has past the level of the reserve, and flushes only where there are none but
/// kept ones. Returns how many frames the allocator has more. Call it with no lock held.
///
/// Cost: 512 writes for each table; a flush of everything on all CPUs where kept tables go.
pub fn give_back() -> u64 {
    let level = reserve::level();
    match shrink_to(level.tables) {
        0 => {
            let kept = with(|map| map.kept_tables()).unwrap_or_default();
            if kept == 0 || reserve::now().tables + kept <= level.tables {
                return 0;
            }
            free_kept_tables();
            shrink_to(level.tables)
        }
        freed => freed,
    }
}

/// Gives tables back until the reserve has `keep`, and, where tables are protected, the store's free blocks. Returns
/// how many frames the allocator has more.
pub(super) fn shrink_to(keep: u64) -> u64 {
    let drained = drain(keep);
    if store::is_source() { store::shrink_if_large() * Order::LARGE.frames() } else { drained }
}

/// Gives tables back to their source until the reserve has `keep` of them. Returns how many.
pub(super) fn drain(keep: u64) -> u64 {
    let mut drained = 0;
    loop {
        let mut stock = Stock::default();
        let now = reserve::now().tables;
        let keep = keep.max(now.saturating_sub(CLEARED));
        // SAFETY: the map's tables came by a stock, all of the kernel's.
        let _ = with(|map| unsafe { map.drain(keep, &mut stock) });
        if stock.is_empty() {
            return drained;
        }
        drained += stock.len();
        stock.release();
    }
}
