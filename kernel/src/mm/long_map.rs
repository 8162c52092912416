//! Long mappings: pages past the direct map's end that all CPUs see until their holder gives them up.
//!
//! Boot has made one page table for them, where there is memory past the map's end; here is where it is found, how its
//! entries are written, and all else is [`rhumb_longmap`]. On a machine whose direct map shows all RAM there are no slots,
//! and each mapping is a place in that map.

use alloc::vec::Vec;
use core::fmt;

use rhumb_frames::{Anywhere, Frame, Frames};
use rhumb_longmap::{LongMap, LongMapping, MapError, Record, Refused, SLOTS, SlotTable};
use rhumb_machine::{Machine, PageSize, Pfn, VirtAddr};
use rhumb_pagetable::{Entry, FlushCause, FlushStats, TableMemory};
use spin::Once;

use super::owners::Owner;
use super::tables;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{call, tlb};
use crate::facts::Boot;
use crate::layout;

/// The long mappings of this kernel.
pub type KernelLongMap = LongMap<KernelMachine, KernelSlots>;
/// A long mapping of this kernel.
pub type Mapping = LongMapping<'static, KernelMachine, KernelSlots>;

static MAP: Once<KernelLongMap> = Once::new();

/// Why there are no long mappings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// Boot has left no table for them.
    NoTable,
    /// There is no memory for the records.
    NoMemory,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTable => "boot has left no table for them",
            Self::NoMemory => "there is no memory for their records",
        })
    }
}

/// Finds the table. The mappings show frames of `frames`. Once, at boot, when there are object caches.
///
/// # Errors
/// [`StartError`]: there are no long mappings then.
pub fn start(boot: &Boot, frames: &'static Frames<KernelMachine>) -> Result<(), StartError> {
    let mut records = Vec::new();
    let mut table = Pfn::new(0);
    if boot.direct_map.high_bytes > 0 {
        let walk = tables::walk(layout::LONG_MAPPINGS);
        table = walk.steps().last().filter(|step| step.level == 1).ok_or(StartError::NoTable)?.table;
        records.try_reserve_exact(SLOTS).map_err(|_| StartError::NoMemory)?;
        records.resize(SLOTS, Record::none());
    }
    MAP.call_once(|| LongMap::new(frames, KernelSlots(table), records.leak()));
    Ok(())
}

/// Returns the long mappings, for reports and checks; `None` before [`start`].
pub fn long_map() -> Option<&'static KernelLongMap> {
    MAP.get()
}

/// Shows a frame to all CPUs until the mapping goes. With no lock held for which a CPU may wait that does not answer
/// calls.
///
/// # Errors
/// See [`LongMap::map`].
#[track_caller]
pub fn map(frame: Frame<Anywhere>, owner: Owner) -> Result<Mapping, Refused> {
    let Some(map) = long_map() else { return Err(Refused { frame, error: MapError::AllTaken }) };
    let guard = MACHINE.pin();
    map.map(guard.pinned(), frame, owner.in_frames())
}

/// The table of the slots, as boot has made it.
#[derive(Debug)]
pub struct KernelSlots(Pfn);

// SAFETY: the table is the one that the walk of the slots' addresses ends at, nothing else is mapped there, and `start`
// makes the only value. There are slots only where there is a table. An entry is written as those of all tables are.
unsafe impl SlotTable for KernelSlots {
    fn write(&self, slot: usize, entry: Entry) {
        // SAFETY: the entry is of the table of the slots, and shows the frame of a mapping, whose handle the mapping has
        // (I5); frames that are executable have another handle (I4). The mappings flush a slot before they use it again
        // (I6).
        unsafe { tables::writer() }.write(self.0, slot, entry);
    }

    fn read(&self, slot: usize) -> Entry {
        tables::reader().read(self.0, slot)
    }

    fn address(&self, slot: usize) -> VirtAddr {
        layout::LONG_MAPPINGS.plus(slot as u64 * PageSize::Size4K.bytes())
    }

    fn note_flush(&self, flushed: FlushStats) {
        tlb::COUNTERS.count(FlushCause::KernelMap, flushed);
    }

    fn relax(&self) {
        call::serve_if_here();
        core::hint::spin_loop();
    }
}
