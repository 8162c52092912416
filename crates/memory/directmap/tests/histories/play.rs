//! Plays one history: turns at random, with looks by all CPUs after each store and each turn.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rhumb_directmap::{At, Batch, Cause, Hold, State};
use rhumb_hosted::Cpu;
use rhumb_machine::{CpuId, CpuMask, Pfn, PfnRange, planted};

use crate::eyes::Eyes;
use crate::model::{Model, Touch, UNDER_WAY};
use crate::side::Side;
use crate::world::{self, CPUS, Kind, Map, Random, World};

/// Batches that are pending at once, at most.
pub(crate) const BATCHES: usize = 4;
/// Holds at once are fewer: by the history, so that in some of them blocks are merged again and again.
const HOLDS: u64 = 16;

/// Plays `turns` turns of the history of `seed` on a machine of its own, with a fault if that is wanted. Returns the
/// first thing that is wrong.
pub(crate) fn play(seed: u64, turns: u32, plant: Option<Plant>) -> Option<String> {
    let kind = if seed % 4 == 3 { Kind::Small } else { Kind::Large };
    let machine = world::machine(kind);
    let played = machine.enter(CpuId::BOOT, |cpu| {
        let history = || Play::new(World::new(&machine, kind, seed), cpu, seed).all(turns).err();
        let planted = || match plant {
            Some(Plant::Map(fault)) => planted::with(fault, history),
            Some(Plant::Tables(fault)) => planted::with(fault, history),
            None => history(),
        };
        // Counts that overflow find a fault, too.
        catch_unwind(AssertUnwindSafe(planted)).unwrap_or_else(|_| Some("the map panics".into()))
    });
    played.unwrap()
}

/// A fault of one of the crates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    Map(rhumb_directmap::planted::Fault),
    Tables(rhumb_pagetable::planted::Fault),
}

pub(crate) struct Play<'world, 'machine> {
    pub(crate) world: World<'machine>,
    pub(crate) cpu: &'world Cpu<'world>,
    pub(crate) model: Model,
    /// Handles, in the order of the model's holds.
    pub(crate) held: Vec<Hold>,
    pub(crate) eyes: Eyes<'machine>,
    pub(crate) random: Random,
    pub(crate) pending: Vec<(u64, Batch)>,
    pub(crate) batches: u64,
    side: Side,
    /// Holds at once, at most.
    holds: usize,
    /// The frames that were given back last.
    pub(crate) last: PfnRange,
    /// The first thing that an observer found wrong.
    found: Result<(), String>,
}

impl<'world, 'machine> Play<'world, 'machine> {
    fn new(world: World<'machine>, cpu: &'world Cpu<'world>, seed: u64) -> Self {
        let (holds, last) = (1 + (seed % HOLDS) as usize, world.ram);
        let eyes = Eyes { mmu: world.mmu, random: Random(!seed), lazy: CpuMask::EMPTY };
        Self {
            world,
            cpu,
            model: Model::default(),
            held: Vec::new(),
            eyes,
            random: Random(seed),
            pending: Vec::new(),
            batches: 0,
            side: Side::default(),
            holds,
            last,
            found: Ok(()),
        }
    }

    /// Plays the whole history; then undoes everything, and the map is as at boot.
    fn all(&mut self, turns: u32) -> Result<(), String> {
        for turn in 0..turns {
            self.turn().and_then(|()| self.check()).map_err(|wrong| format!("turn {turn}: {wrong}"))?;
        }
        self.heal().map_err(|wrong| format!("at the end: {wrong}"))
    }

    fn turn(&mut self) -> Result<(), String> {
        let mut focus = self.world.ram;
        match self.random.below(32) {
            0..10 if self.held.len() < self.holds => {
                focus = self.frames();
                let batch = self.batch();
                self.change(focus, batch)?;
            }
            0..16 if !self.held.is_empty() => {
                let which = self.random.below(self.held.len() as u64) as usize;
                focus = self.model.holds[which].frames;
                self.restore(which)?;
            }
            16..20 if !self.held.is_empty() => {
                let which = self.random.below(self.held.len() as u64) as usize;
                focus = self.model.holds[which].frames;
                self.alter(which)?;
            }
            20 if self.held.len() < self.holds => {
                focus = self.frames();
                self.pin(focus)?;
            }
            21 if self.random.below(2) == 0 => self.collapse()?,
            21 => focus = self.empty_quarantine()?,
            22..28 if !self.pending.is_empty() => {
                let which = self.random.below(self.pending.len() as u64) as usize;
                let id = self.id_of(which);
                let touched = self.model.touches.iter().rfind(|touch| touch.batch == id);
                focus = touched.map_or(focus, |touch| touch.frames);
                self.flush(which)?;
            }
            28 if !self.held.is_empty() => focus = self.take_again()?,
            29 => self.side.turn(&mut self.world, self.cpu, &mut self.random)?,
            _ => self.idle_or_wake(),
        }
        for _ in 0..24 {
            self.eyes.look(&self.model, self.world.ram, focus)?;
        }
        let cpu = CpuId::new(self.random.below(CPUS as u64) as usize).unwrap();
        if !self.eyes.lazy.contains(cpu) {
            self.side.look(&self.world, cpu, &mut self.random)?;
        }
        Ok(())
    }

    /// Returns the place of a pending batch, old or new.
    pub(crate) fn batch(&mut self) -> usize {
        let count = self.pending.len();
        if count == 0 || count < BATCHES && self.random.below(3) == 0 {
            return self.new_batch();
        }
        self.random.below(count as u64) as usize
    }

    /// Returns the place of a new pending batch.
    pub(crate) fn new_batch(&mut self) -> usize {
        self.batches += 1;
        self.pending.push((self.batches, Batch::new()));
        self.pending.len() - 1
    }

    /// Returns the number of a new pending batch.
    pub(crate) fn new_batch_id(&mut self) -> u64 {
        let batch = self.new_batch();
        self.id_of(batch)
    }

    pub(crate) fn id_of(&self, batch: usize) -> u64 {
        self.pending[batch].0
    }

    /// Does one step of a change of `frames`, with a look after each store, and answers how many stores there were.
    pub(crate) fn observed<A>(
        &mut self,
        frames: PfnRange,
        batch: usize,
        act: impl FnOnce(&mut Map, &mut Batch) -> A,
    ) -> Result<(A, u64), String> {
        let Self { world, cpu, model, eyes, pending, found, .. } = self;
        let (ram, map) = (world.ram, &mut world.map);
        let batch = &mut pending[batch].1;
        let mut observer = |_| {
            if found.is_ok() {
                *found = eyes
                    .look(model, ram, frames)
                    .map_err(|wrong| format!("in the middle of a change: {wrong}"));
            }
        };
        let answer = cpu.with_observer(&mut observer, || act(map, batch));
        core::mem::replace(found, Ok(())).map(|()| answer)
    }

    /// Lets others act between two steps of a long change.
    pub(crate) fn between(&mut self, frames: PfnRange, batch: u64) -> Result<(), String> {
        let other = self.pending.iter().position(|&(id, _)| id != batch);
        if let Some(other) = other.filter(|_| self.random.below(2) == 0) {
            self.flush(other)?;
        }
        (0..8).try_for_each(|_| self.eyes.look(&self.model, self.world.ram, frames))
    }

    /// Returns where the batch with number `id` is now.
    pub(crate) fn place_of(&self, id: u64) -> usize {
        self.pending.iter().position(|&(other, _)| other == id).unwrap()
    }

    /// Notes that `frames` are on their way from `old` to `new`: CPUs may see either.
    pub(crate) fn touch(&mut self, frames: PfnRange, old: State, new: State, batch: u64) {
        self.model
            .touches
            .extend([Touch { frames, state: old, batch }, Touch { frames, state: new, batch: UNDER_WAY }]);
    }

    /// Forgets how frames would be after the step: it is done.
    pub(crate) fn finish_touch(&mut self) {
        self.model.touches.retain(|touch| touch.batch != UNDER_WAY);
    }

    pub(crate) fn cause(&mut self) -> (usize, Cause, At) {
        let owner = self.random.below(2) as usize;
        let cause = Cause::new(self.world.owners[owner], "a history");
        (owner, cause, At::now(self.world.machine, self.cpu.pinned()))
    }

    /// Flushes a pending batch; from then on no CPU may hold what that batch alone has changed.
    pub(crate) fn flush(&mut self, which: usize) -> Result<(), String> {
        let (id, mut batch) = self.pending.swap_remove(which);
        let due = self.model.due(id);
        let flushed = batch.flush(self.world.machine, self.cpu.pinned());
        self.model.touches.retain(|touch| touch.batch != id);
        let (mmu, cpus) = (self.world.mmu, self.world.machine.cpus());
        for frames in due {
            mmu.promised(World::range(frames), &cpus).map_err(|stale| stale.to_string())?;
        }
        let walked = self.merged_tables();
        self.world.map.reclaim_tables(flushed);
        let kept = self.merged_tables();
        // Each table that has come back may be any block's now.
        let is_back = |table: &&Pfn| !kept.contains(table);
        for &table in walked.iter().filter(is_back) {
            mmu.reused(PfnRange::of_length(table, 1).unwrap()).map_err(|stale| stale.to_string())?;
        }
        if self.pending.is_empty() {
            mmu.promised(World::range(self.world.ram), &cpus).map_err(|stale| stale.to_string())?;
            mmu.one_memory_type(self.world.ram).map_err(|stale| stale.to_string())?;
            let mut next = self.world.table_frames().start();
            for border in kept.into_iter().chain([self.world.table_frames().end()]) {
                let between = PfnRange::new(next, border).unwrap();
                mmu.reused(between).map_err(|stale| stale.to_string())?;
                next = border.plus(1);
            }
        }
        self.world.refill();
        Ok(())
    }

    /// Returns the merged tables that CPUs may walk, in ascending order.
    fn merged_tables(&self) -> Vec<Pfn> {
        let mut tables: Vec<Pfn> = self.world.map.merged_tables().map(|(_, table)| table).collect();
        tables.sort_unstable();
        tables
    }

    fn idle_or_wake(&mut self) {
        let cpu = CpuId::new(2 + self.random.below(2) as usize).unwrap();
        if self.eyes.lazy.contains(cpu) {
            self.world.mmu.leave_lazy(cpu);
            self.eyes.lazy.remove(cpu);
        } else {
            self.world.mmu.enter_lazy(cpu);
            self.eyes.lazy.insert(cpu);
        }
    }

    /// Undoes everything: the map is as at boot, and its tables go back.
    fn heal(&mut self) -> Result<(), String> {
        while !self.held.is_empty() {
            let which = self.random.below(self.held.len() as u64) as usize;
            self.restore(which)?;
        }
        while !self.pending.is_empty() {
            let which = self.random.below(self.pending.len() as u64) as usize;
            self.flush(which)?;
        }
        for cpu in core::mem::take(&mut self.eyes.lazy).iter() {
            self.world.mmu.leave_lazy(cpu);
        }
        for _ in 0..200 {
            self.eyes.look(&self.model, self.world.ram, self.world.ram)?;
        }
        if self.world.kind == Kind::Large && self.world.map.pages() != self.world.at_boot {
            return Err(format!("{} in place of {}", self.world.map.pages(), self.world.at_boot));
        }
        self.check()?;
        self.empty_quarantine()?;
        self.flush(0)?;
        self.check()?;
        // The tables' source asks the detector of each.
        // SAFETY: all of the world's tables are from its source.
        unsafe { self.world.map.drain(0, &mut self.world.source) };
        self.world.given = 0;
        self.check()
    }
}
