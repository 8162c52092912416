//! [`DirectMap`] as it is, on simulated tables.

use rhumb_directmap::{
    At, Batch, BootMap, Cause, Change, DirectMap, Hold, Limits, OffLimits, OwnerId, OwnerName,
    RECORDS_PER_PAGE, RecordPage,
};
use rhumb_machine::{CpuId, PfnRange};

use crate::directmap::stage::{Effect, Stage};
use crate::directmap::tables::{Built, TABLES, Tables, build};
use crate::directmap::way::{Asked, Done, Way};
use crate::driver::Unfit;

/// See the module.
pub(in crate::directmap) struct Rhumb {
    map: DirectMap<Tables, OffLimits<'static>>,
    owner: OwnerId,
    /// The state that the changes in force gave to their frames.
    made: Change,
}

/// Records of splits and owners, beside those of holds.
const OTHER_RECORDS: usize = 1500;

impl Rhumb {
    /// Returns the effect on a host's map of undoing `self.made`.
    fn undoing(&self, frames: PfnRange) -> Effect {
        match self.made {
            Change::NotPresent => Effect::Returned(frames),
            _ => Effect::Writable(frames),
        }
    }

    fn finish(&mut self, stage: &Stage<'_>, batch: Batch, effect: Effect) {
        let flushed = stage.flush(batch, effect);
        let _ = self.map.reclaim_tables(flushed);
    }
}

/// Returns the effect of a change on a host's map.
pub(in crate::directmap) fn effect_of(change: Change, frames: PfnRange) -> Effect {
    match change {
        Change::NotPresent => Effect::Removed(frames),
        Change::ReadOnly => Effect::ReadOnly(frames),
        _ => Effect::Writable(frames),
    }
}

/// Returns a map as boot leaves it, of the machine that `machine` identifies, with a reserve for `holds` changed
/// ranges, and an owner that may change it without limit.
pub(in crate::directmap) fn fresh_map(
    ram_bytes: u64,
    holds: usize,
    machine: u32,
) -> Result<(DirectMap<Tables, OffLimits<'static>>, OwnerId), Unfit> {
    let Built { boot_map, tables, mut source } = build(ram_bytes)?;
    let mut map = DirectMap::new(BootMap { machine, ..boot_map }, tables, OffLimits(&[]));
    // SAFETY: the source counts this map's tables.
    unsafe { map.refill(TABLES - source.0, &mut source) }.map_err(|error| Unfit(error.to_string()))?;
    for _ in 0..(holds + OTHER_RECORDS).div_ceil(RECORDS_PER_PAGE) {
        // The journal keeps its pages permanently.
        map.add_record_page(Box::leak(Box::new(RecordPage::new())));
    }
    let owner =
        map.add_owner(OwnerName::of("bench"), Limits::NONE).map_err(|error| Unfit(error.to_string()))?;
    // SAFETY: no table is written.
    unsafe { map.memory_mut() }.writes = 0;
    Ok((map, owner))
}

impl Way for Rhumb {
    const NAME: &'static str = crate::report::OURS;

    type Held = Hold;

    fn new(ram_bytes: u64, holds: usize) -> Result<Self, Unfit> {
        let (map, owner) = fresh_map(ram_bytes, holds, 0)?;
        Ok(Self { map, owner, made: Change::NotPresent })
    }

    fn change(
        &mut self,
        stage: &Stage<'_>,
        (frames, change): (PfnRange, Change),
        asked: Asked,
        held: &mut Vec<Hold>,
    ) -> Result<(), Unfit> {
        let (cause, at) = (Cause::new(self.owner, "a bench"), At { cpu: CpuId::BOOT, time_ns: 0 });
        self.made = change;
        let mut batch = Batch::new();
        let mut one = |range| {
            // SAFETY: on a stage with a host's map no code touches the frames meanwhile; elsewhere they are made up.
            let new = unsafe { self.map.change(range, change, cause, at, &mut batch) };
            new.map(|new| held.push(new)).map_err(|error| Unfit(error.to_string()))
        };
        match asked {
            Asked::AsRange => one(frames)?,
            Asked::PageByPage => {
                frames.iter().try_for_each(|pfn| one(PfnRange::of_length(pfn, 1).unwrap_or_default()))?;
            }
        }
        self.finish(stage, batch, effect_of(change, frames));
        Ok(())
    }

    fn restore(&mut self, stage: &Stage<'_>, held: &mut Vec<Hold>) -> Result<(), Unfit> {
        let Some((first, last)) = held.first().zip(held.last()) else { return Ok(()) };
        let frames = PfnRange::new(first.frames().start(), last.frames().end()).unwrap_or_default();
        let mut batch = Batch::new();
        held.drain(..).for_each(|held| self.map.restore(held, &mut batch));
        self.finish(stage, batch, self.undoing(frames));
        Ok(())
    }

    fn done(&self) -> Done {
        Done {
            table_writes: self.map.memory().writes,
            // Tables and records were set aside before; nothing is allocated on a change's way.
            tables_allocated: 0,
            split_pages: self.map.split_count(),
            whole_1g: self.map.pages().size_1g,
        }
    }
}
