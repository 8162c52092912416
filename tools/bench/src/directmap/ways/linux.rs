//! Linux's way, as a model: what its `set_memory_*` and `set_direct_map_*` do to the tables, written anew on ours.
//!
//! - A large page that is not covered whole is split there and then: a table is allocated, all CPUs are flushed, once
//!   for each level.
//! - Frames leave the map page by page (`memfd_secret`: one `set_direct_map_invalid_noflush` and one flush of all CPUs
//!   each); they come back without a flush. Permissions change by ranges, with one flush for each.
//! - Nothing is merged again.
//!
//! The model keeps no record of the owner of a split, and takes no lock: it pays for neither.

use rhumb_directmap::{Change, State};
use rhumb_machine::{PageSize, Pfn, PfnRange, VirtAddr, VirtRange};
use rhumb_pagetable::flush::FlushBatch;
use rhumb_pagetable::{ENTRIES, Entry, Privilege, Root, Step, TableMemory, TableSource, walk};

use super::rhumb::effect_of;
use crate::directmap::stage::{Effect, Stage};
use crate::directmap::tables::{Built, Counter, Tables, build};
use crate::directmap::way::{Asked, Done, Way};
use crate::driver::Unfit;

/// See the module.
pub(in crate::directmap) struct LinuxWay {
    tables: Tables,
    source: Counter,
    root: Root,
    base: VirtAddr,
    whole_1g: u64,
    splits: u64,
}

/// Changed frames, and their new state, of which there is no other record.
pub(in crate::directmap) struct Changed {
    frames: PfnRange,
    change: Change,
}

impl LinuxWay {
    fn virt_range(&self, frames: PfnRange) -> VirtRange {
        let start = self.base.plus(frames.start().addr().get());
        VirtRange::of_length(start, frames.addrs().bytes()).unwrap_or_default()
    }

    /// Returns the entry at which the walk of `pfn` ends.
    fn end_of_walk(&self, pfn: Pfn) -> Result<(Step, PageSize), Unfit> {
        let walk = walk(&self.tables, self.root, self.base.plus(pfn.addr().get()));
        let step = walk.steps().last().copied();
        step.and_then(|step| Some((step, PageSize::from_level(step.level)?)))
            .ok_or_else(|| Unfit("a frame that is not in the map".to_owned()))
    }

    /// Sets every page of `frames` to `state`, and splits the large ones that stick out. Returns the size of the
    /// smallest.
    fn set(&mut self, stage: &Stage<'_>, frames: PfnRange, state: State) -> Result<PageSize, Unfit> {
        let mut next = frames.start();
        let mut smallest = PageSize::Size1G;
        while next < frames.end() {
            let (step, size) = self.end_of_walk(next)?;
            if next.get().is_multiple_of(size.frames()) && frames.end().since(next) >= size.frames() {
                self.tables.write(step.table, step.index, state.entry(next.addr(), size));
                smallest = smallest.min(size);
                next = next.plus(size.frames());
            } else {
                self.split(stage, next, step, size)?;
            }
        }
        Ok(smallest)
    }

    fn split(&mut self, stage: &Stage<'_>, pfn: Pfn, step: Step, size: PageSize) -> Result<(), Unfit> {
        let start = Pfn::new(pfn.get() & !(size.frames() - 1));
        let attributes = step.entry.attributes(size);
        let (Some(smaller), Some(attributes)) = (size.smaller(), attributes) else {
            return Err(Unfit("a page that cannot be split".to_owned()));
        };
        let table = self.source.take_zeroed_table().map_err(|error| Unfit(error.to_string()))?;
        let first = Entry::leaf(start.addr(), smaller, attributes);
        self.tables.write_run(table, 0, first, smaller.bytes(), ENTRIES);
        self.tables.write(step.table, step.index, Entry::table(table, Privilege::Supervisor));
        self.splits += 1;
        self.whole_1g -= u64::from(size == PageSize::Size1G);
        let mut batch = FlushBatch::new();
        batch.add_everything();
        stage.flush_pages(batch, Effect::Sizes);
        Ok(())
    }

    fn change_one(&mut self, stage: &Stage<'_>, frames: PfnRange, change: Change) -> Result<Changed, Unfit> {
        let state = State::ORDINARY.after(change).map_err(|_| Unfit("writable and executable".to_owned()))?;
        let smallest = self.set(stage, frames, state)?;
        let mut batch = FlushBatch::new();
        batch.add_leaf(self.virt_range(frames), smallest);
        stage.flush_pages(batch, effect_of(change, frames));
        Ok(Changed { frames, change })
    }
}

impl Way for LinuxWay {
    const NAME: &'static str = "linux-way";

    type Held = Changed;

    fn new(ram_bytes: u64, _: usize) -> Result<Self, Unfit> {
        let Built { boot_map, tables, source } = build(ram_bytes)?;
        let (root, base, whole_1g) = (boot_map.root, boot_map.base, boot_map.pages.size_1g);
        Ok(Self { tables, source, root, base, whole_1g, splits: 0 })
    }

    fn change(
        &mut self,
        stage: &Stage<'_>,
        (frames, change): (PfnRange, Change),
        asked: Asked,
        held: &mut Vec<Changed>,
    ) -> Result<(), Unfit> {
        if asked == Asked::AsRange && change != Change::NotPresent {
            held.push(self.change_one(stage, frames, change)?);
            return Ok(());
        }
        for pfn in frames.iter() {
            let page = PfnRange::of_length(pfn, 1).unwrap_or_default();
            held.push(self.change_one(stage, page, change)?);
        }
        Ok(())
    }

    fn restore(&mut self, stage: &Stage<'_>, held: &mut Vec<Changed>) -> Result<(), Unfit> {
        for Changed { frames, change } in held.drain(..) {
            let smallest = self.set(stage, frames, State::ORDINARY)?;
            let mut batch = FlushBatch::new();
            let effect = match change {
                // No CPU has cached what was absent.
                Change::NotPresent => Effect::Returned(frames),
                _ => {
                    batch.add_leaf(self.virt_range(frames), smallest);
                    Effect::Writable(frames)
                }
            };
            stage.flush_pages(batch, effect);
        }
        Ok(())
    }

    fn done(&self) -> Done {
        Done {
            table_writes: self.tables.writes,
            tables_allocated: self.splits,
            split_pages: self.splits,
            whole_1g: self.whole_1g,
        }
    }
}
