//! Plays one history: turns at random, looks by all CPUs after each store and each turn, and the map against the model.

use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rhumb_directmap::{Altering, At, Batch, Block, Cause, Change, Changing, Held, Restoring, State};
use rhumb_hosted::Cpu;
use rhumb_hosted::mmu::{SoftMmu, Use};
use rhumb_machine::{CpuId, CpuMask, PageSize, Pfn, PfnRange, planted};
use rhumb_pagetable::{CacheMode, Key, Leaves, Rights};

use crate::model::{Known, Model, Touch, UNDER_WAY};
use crate::side::Side;
use crate::world::{self, CPUS, Kind, Map, NAMES, Random, World, virt};

/// Batches that are pending at once, at most.
const BATCHES: usize = 4;
/// Holds at once are fewer: by the history, so that in some of them blocks are merged again and again.
const HOLDS: u64 = 16;

const CHANGES: [Change; 15] = [
    Change::ReadOnly,
    Change::ReadOnly,
    Change::ReadWrite,
    Change::Execute,
    Change::ReadOnlyExecute,
    Change::NoExecute,
    Change::NotPresent,
    Change::NotPresent,
    Change::NotPresent,
    Change::Present,
    Change::Default,
    Change::Cache(CacheMode::Uncached),
    Change::Cache(CacheMode::WriteProtected),
    Change::Key(Key::new(1)),
    Change::Key(None),
];

/// Plays `turns` turns of the history of `seed` on a machine of its own, with a fault if that is wanted. Returns the first
/// thing that is wrong.
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

/// What may look at the map in the middle of a change.
struct Eyes<'world> {
    mmu: &'world SoftMmu,
    random: Random,
    lazy: CpuMask,
}

impl Eyes<'_> {
    /// The register of protection keys of `cpu`: see `World::new`.
    fn keys(cpu: CpuId) -> u32 {
        if cpu.index() == 1 { Key::new(1).unwrap().with_rights(0, Rights::ReadOnly) } else { 0 }
    }

    /// Lets a CPU use a frame near `focus`, or speculate where it is lazy.
    fn look(&mut self, model: &Model, ram: PfnRange, focus: PfnRange) -> Result<(), String> {
        let cpu = CpuId::new(self.random.below(CPUS as u64) as usize).unwrap();
        let pfn = self.frame_near(ram, focus);
        if self.lazy.contains(cpu) {
            self.mmu.speculate(cpu, virt(pfn));
            return Ok(());
        }
        let access = self.random.one_of(&[Use::Read, Use::Write, Use::Execute]);
        let seen = self.mmu.access(cpu, virt(pfn), access);
        model.judge(pfn, access, Self::keys(cpu), seen).map_err(|wrong| format!("CPU {cpu}: {wrong}"))
    }

    /// A frame of `focus`, one beside its ends, or one of the large pages around these. There are few of each, so that
    /// CPUs come back to what they have cached.
    fn frame_near(&mut self, ram: PfnRange, focus: PfnRange) -> Pfn {
        let end = self.random.one_of(&[focus.start().get(), focus.end().get()]);
        let pfn = match self.random.below(8) {
            0 | 1 => focus.start().get() + self.random.below(8) * focus.frames() / 8,
            2 | 3 => end.saturating_sub(1) + self.random.below(2),
            4 | 5 => (end & !511) + self.random.below(8) * 73,
            6 => (end & !((1 << 18) - 1)) + 512 * self.random.below(4) + self.random.below(2),
            _ => ram.start().get() + self.random.below(ram.frames()),
        };
        Pfn::new(pfn.clamp(ram.start().get(), ram.end().get() - 1))
    }
}

struct Play<'world, 'machine> {
    world: World<'machine>,
    cpu: &'world Cpu<'world>,
    model: Model,
    /// Handles, in the order of the model's holds.
    held: Vec<Held>,
    eyes: Eyes<'machine>,
    random: Random,
    pending: Vec<(u64, Batch)>,
    batches: u64,
    side: Side,
    /// Holds at once, at most.
    holds: usize,
    /// What was given back last.
    last: PfnRange,
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

    /// The whole history; then all is undone, and the map is as at boot.
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
            21 => self.collapse()?,
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

    /// Ranges that like to meet: edges at, just before and just after borders of large pages, in few places.
    fn frames(&mut self) -> PfnRange {
        let ram = self.world.ram;
        let edge = |random: &mut Random| {
            let (huge, large) = match self.world.kind {
                Kind::Large => (random.below(3), random.one_of(&[0, 1, 2, 3, 510, 511])),
                Kind::Small => (0, random.below(13)),
            };
            let near = match random.below(4) {
                0 => random.below(512),
                1 => random.one_of(&[1, 2, 511]),
                _ => 0,
            };
            (huge << 18) + large * 512 + near
        };
        let (one, other) = match self.random.below(8) {
            0..3 => {
                let start = edge(&mut self.random);
                (start, start + 1 + self.random.below(5))
            }
            3 => {
                let start = edge(&mut self.random) & !511;
                (start, start + 512)
            }
            4 => {
                let start = self.random.below(3) << 18;
                (start, start + ((1 + self.random.below(2)) << 18))
            }
            // Over the border of two tables.
            5 => {
                let border = edge(&mut self.random).next_multiple_of(512);
                (border.saturating_sub(1 + self.random.below(9)), border + 1 + self.random.below(9))
            }
            _ => (edge(&mut self.random), edge(&mut self.random)),
        };
        if self.random.below(3) == 0 {
            return self.around_last();
        }
        let (start, end) = (one.min(other).min(ram.frames() - 1), one.max(other).min(ram.frames()));
        PfnRange::new(ram.start().plus(start), ram.start().plus(end.max(start + 1))).unwrap()
    }

    /// What was given back last, or a large page that it was a part of.
    fn around_last(&mut self) -> PfnRange {
        let size = self.random.one_of(&PageSize::DESCENDING);
        if size == PageSize::Size4K {
            return self.last;
        }
        Block::around(self.last.start(), size).frames().intersection(self.world.ram)
    }

    /// A pending batch, old or new: its place among them.
    fn batch(&mut self) -> usize {
        let count = self.pending.len();
        if count == 0 || count < BATCHES && self.random.below(3) == 0 {
            self.batches += 1;
            self.pending.push((self.batches, Batch::new()));
            return count;
        }
        self.random.below(count as u64) as usize
    }

    fn id_of(&self, batch: usize) -> u64 {
        self.pending[batch].0
    }

    /// Does one step of a change of `frames`, with a look after each store, and answers how many stores there were.
    fn observed<A>(
        &mut self,
        frames: PfnRange,
        batch: usize,
        act: impl FnOnce(&mut Map, &mut Batch) -> A,
    ) -> Result<(A, u64), String> {
        let Self { world, cpu, model, eyes, pending, found, .. } = self;
        let (ram, map) = (world.ram, &mut world.map);
        let before: Vec<Block> = map.splits().map(|split| split.block).collect();
        let (id, batch) = &mut pending[batch];
        let mut observer = |_| {
            if found.is_ok() {
                *found = eyes
                    .look(model, ram, frames)
                    .map_err(|wrong| format!("in the middle of a change: {wrong}"));
            }
        };
        let answer = cpu.with_observer(&mut observer, || act(map, batch));
        let after: Vec<Block> = map.splits().map(|split| split.block).collect();
        let merged = before.iter().filter(|block| !after.contains(block));
        model.touches.extend(merged.map(|block| Touch { frames: block.frames(), state: None, batch: *id }));
        core::mem::replace(found, Ok(())).map(|()| answer)
    }

    /// What others do between two steps of a long change.
    fn between(&mut self, frames: PfnRange, batch: u64) -> Result<(), String> {
        let other = self.pending.iter().position(|&(id, _)| id != batch);
        if let Some(other) = other.filter(|_| self.random.below(2) == 0) {
            self.flush(other)?;
        }
        (0..8).try_for_each(|_| self.eyes.look(&self.model, self.world.ram, frames))
    }

    /// Where the batch with number `id` is now.
    fn place_of(&self, id: u64) -> usize {
        self.pending.iter().position(|&(other, _)| other == id).unwrap()
    }

    /// `frames` are on their way from `old` to `new`: CPUs may see either.
    fn touch(&mut self, frames: PfnRange, old: State, new: State, batch: u64) {
        self.model.touches.extend([
            Touch { frames, state: Some(old), batch },
            Touch { frames, state: Some(new), batch: UNDER_WAY },
        ]);
    }

    /// What was under way is done.
    fn settle_touch(&mut self) {
        self.model.touches.retain(|touch| touch.batch != UNDER_WAY);
    }

    fn cause(&mut self) -> (usize, Cause, At) {
        let owner = self.random.below(2) as usize;
        let cause = Cause::new(self.world.owners[owner], "a history");
        (owner, cause, At::now(self.world.machine, self.cpu.pinned()))
    }

    /// Gives frames back, and takes the large page around them at once, which is flushed first: CPUs may have small pages
    /// of it yet.
    fn take_again(&mut self) -> Result<PfnRange, String> {
        let which = self.random.below(self.held.len() as u64) as usize;
        let around = Block::around(self.model.holds[which].frames.start(), PageSize::Size2M).frames();
        (0..8).try_for_each(|_| self.eyes.look(&self.model, self.world.ram, around))?;
        self.restore(which)?;
        // With the merge's own flush pending, or over.
        while self.random.below(3) > 0 && !self.pending.is_empty() {
            self.flush(0)?;
        }
        let frames = if self.random.below(4) > 0 { around } else { self.around_last() };
        if self.pending.len() == BATCHES {
            return Ok(frames);
        }
        self.batches += 1;
        self.pending.push((self.batches, Batch::new()));
        let id = self.batches;
        (0..8).try_for_each(|_| self.eyes.look(&self.model, self.world.ram, around))?;
        self.change(frames, self.pending.len() - 1)?;
        self.flush(self.place_of(id))?;
        Ok(frames)
    }

    fn change(&mut self, frames: PfnRange, batch: usize) -> Result<(), String> {
        let change = self.random.one_of(&CHANGES);
        let (owner, cause, at) = self.cause();
        let wanted = State::ORDINARY.after(change);
        let is_right = self.model.is_free(frames) && self.world.ram.covers(frames) && wanted.is_ok();
        let id = self.id_of(batch);
        // Where it will be refused no CPU may see anything new.
        let new = wanted.unwrap_or(State::ORDINARY);
        if is_right {
            self.touch(frames, State::ORDINARY, new, id);
        }
        // SAFETY: no program uses the frames of the machine.
        let mut work = unsafe { Changing::new(frames, change, cause, at) };
        let mut stores = 0;
        let answer = loop {
            let batch = self.place_of(id);
            let (step, some) = self.observed(frames, batch, |map, batch| work.step(map, batch))?;
            stores += some;
            match step {
                Poll::Ready(answer) => break answer,
                Poll::Pending => self.between(frames, id)?,
            }
        };
        match answer {
            Ok(held) => {
                if !is_right {
                    return Err(format!("{change} of {frames} was let through"));
                }
                self.settle_touch();
                if held.is_in_force() {
                    self.model.holds.push(Known { frames, state: new, pinned: None, owner });
                    self.held.push(held);
                }
            }
            Err(error) if is_right => return Err(format!("{change} of {frames} was refused: {error}")),
            Err(_) if stores != 0 => return Err(format!("{change} of {frames}, refused, left a trace")),
            Err(_) => {}
        }
        Ok(())
    }

    fn pin(&mut self, frames: PfnRange) -> Result<(), String> {
        let size = self.random.one_of(&[PageSize::Size4K, PageSize::Size2M]);
        let (owner, cause, at) = self.cause();
        let is_free = self.model.is_free(frames);
        let batch = self.batch();
        let (answer, _) = self.observed(frames, batch, |map, _| map.pin_small(frames, size, cause, at))?;
        if let Ok(held) = answer {
            if !is_free {
                return Err(format!("a pin of {frames} was let through"));
            }
            self.model.holds.push(Known { frames, state: State::ORDINARY, pinned: Some(size), owner });
            self.held.push(held);
        }
        Ok(())
    }

    fn restore(&mut self, which: usize) -> Result<(), String> {
        let (held, known) = (self.held.swap_remove(which), self.model.holds[which]);
        let batch = self.batch();
        let id = self.id_of(batch);
        self.touch(known.frames, known.state, State::ORDINARY, id);
        self.last = known.frames;
        let mut work = Restoring::new(held);
        loop {
            let batch = self.place_of(id);
            let (step, _) = self.observed(known.frames, batch, |map, batch| work.step(map, batch))?;
            match step {
                Poll::Ready(()) => break,
                Poll::Pending => self.between(known.frames, id)?,
            }
        }
        self.settle_touch();
        self.model.holds.swap_remove(which);
        Ok(())
    }

    fn alter(&mut self, which: usize) -> Result<(), String> {
        let change = self.random.one_of(&CHANGES);
        let known = self.model.holds[which];
        let at = At::now(self.world.machine, self.cpu.pinned());
        let target = known.state.after(change).ok().filter(|_| known.pinned.is_none());
        let batch = self.batch();
        let id = self.id_of(batch);
        if let Some(target) = target {
            self.touch(known.frames, known.state, target, id);
        }
        // The handle is out of the list while others flush between the steps.
        let mut held = self.held.swap_remove(which);
        self.model.holds.swap_remove(which);
        self.model.holds.push(known);
        let mut work = Altering::new(&mut held, change, at);
        let answer = loop {
            let batch = self.place_of(id);
            let (step, _) = self.observed(known.frames, batch, |map, batch| work.step(map, batch))?;
            match step {
                Poll::Ready(answer) => break answer,
                Poll::Pending => self.between(known.frames, id)?,
            }
        };
        let last = self.model.holds.len() - 1;
        match (answer, target) {
            (Ok(()), Some(target)) => {
                self.settle_touch();
                if held.is_in_force() {
                    self.model.holds[last].state = target;
                    self.held.push(held);
                } else {
                    self.model.holds.pop();
                }
                Ok(())
            }
            (Err(_), None) => {
                self.held.push(held);
                Ok(())
            }
            (answer, _) => Err(format!("{change} of {:?} ended in {answer:?}", known)),
        }
    }

    fn collapse(&mut self) -> Result<(), String> {
        let ram = self.world.ram;
        let batch = self.batch();
        let id = self.id_of(batch);
        let before = self.pending[batch].1.tables();
        let (done, _) = self.observed(ram, batch, |map, batch| map.collapse(ram, batch))?;
        if self.pending[batch].1.tables() > before {
            self.model.touches.push(Touch { frames: ram, state: None, batch: id });
        }
        if self.world.kind == Kind::Large && (done.level2, done.level3) != (0, 0) {
            return Err(format!("there was something left to collapse: {done:?}"));
        }
        Ok(())
    }

    /// Flushes a pending batch; from then on no CPU may hold what that batch alone has changed.
    fn flush(&mut self, which: usize) -> Result<(), String> {
        let (id, batch) = self.pending.swap_remove(which);
        let due = self.model.due(id);
        let settled = batch.flush(self.world.machine, self.cpu.pinned());
        self.model.touches.retain(|touch| touch.batch != id);
        let (mmu, cpus) = (self.world.mmu, self.world.machine.cpus());
        for frames in due {
            mmu.promised(World::range(frames), &cpus).map_err(|stale| stale.to_string())?;
        }
        if self.pending.is_empty() {
            mmu.reused(self.world.table_frames()).map_err(|stale| stale.to_string())?;
            mmu.one_memory_type(self.world.ram).map_err(|stale| stale.to_string())?;
        }
        self.world.map.settle(settled);
        self.world.refill();
        Ok(())
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

    /// The map is what the model says, by the largest pages; the journal says the same; no report has come.
    fn check(&self) -> Result<(), String> {
        let World { map, mmu, ram, .. } = &self.world;
        map.validate().map_err(|wrong| format!("{wrong:?}"))?;
        if let Some(report) = mmu.take_reports().first() {
            return Err(report.to_string());
        }
        let absent = self
            .model
            .holds
            .iter()
            .filter(|known| known.state.entry(ram.start().addr(), PageSize::Size4K).bits() == 0);
        let mut shown: u64 = absent.map(|known| known.frames.frames()).sum();
        let end = World::range(*ram).end();
        for leaf in Leaves::all(map.memory(), mmu.root()).filter(|leaf| leaf.virt < end) {
            let block = Block::around(leaf.phys.pfn(), leaf.size);
            shown += leaf.size.frames();
            let state = self.model.state(block.start());
            if leaf.virt != virt(block.start()) || leaf.entry != state.entry(leaf.phys, leaf.size) {
                return Err(format!("{block} is {:?} in place of {state}", leaf.entry));
            }
            if let Some(known) = self.model.holds.iter().find(|known| known.breaks(block)) {
                return Err(format!("{block} is one page over an end of {known:?}"));
            }
            if self.world.kind == Kind::Large
                && let Some(size) = PageSize::from_level(leaf.size.level() + 1)
            {
                let larger = Block::around(block.start(), size);
                if !self.model.holds.iter().any(|known| known.breaks(larger)) {
                    return Err(format!("{block} could be {larger}"));
                }
            }
        }
        if shown != ram.frames() {
            return Err(format!("{shown} frames are shown or held, of {}", ram.frames()));
        }
        self.check_journal()
    }

    fn check_journal(&self) -> Result<(), String> {
        let map = &self.world.map;
        let mut known: Vec<&Known> = self.model.holds.iter().collect();
        known.sort_by_key(|known| known.frames.start());
        let reports: Vec<_> = map.holds().collect();
        if reports.len() != known.len() {
            return Err(format!("{} holds in the journal, {} held", reports.len(), known.len()));
        }
        for (report, known) in reports.iter().zip(known) {
            let is_same =
                (report.frames, report.state, report.pinned) == (known.frames, known.state, known.pinned);
            if !is_same || !report.is_of(self.world.owners[known.owner]) {
                return Err(format!("the journal has {report}, held is {known:?} of {}", NAMES[known.owner]));
            }
        }
        let mut in_use = 0;
        for split in map.splits() {
            in_use += 1;
            let holder = self.model.holds.iter().find(|known| known.frames == split.hold.frames);
            if !holder.is_some_and(|known| known.breaks(split.block)) {
                return Err(format!("{split}, which does not break it"));
            }
        }
        let waiting: u64 = self.pending.iter().map(|(_, batch)| batch.tables()).sum();
        let counters = map.counters();
        let cut = counters.level2_splits + counters.level3_splits;
        let merged = counters.level2_collapses + counters.level3_collapses;
        let tables = map.reserve().tables + waiting + in_use;
        // A collapse merges tables of boot, too.
        if self.world.kind == Kind::Large && (cut - merged != in_use || tables != self.world.given) {
            return Err(format!(
                "{in_use} splits, {cut} cut, {merged} merged; {tables} tables of {}",
                self.world.given
            ));
        }
        Ok(())
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
        while let Some(cpu) = self.eyes.lazy.iter().next() {
            self.world.mmu.leave_lazy(cpu);
            self.eyes.lazy.remove(cpu);
        }
        for _ in 0..200 {
            self.eyes.look(&self.model, self.world.ram, self.world.ram)?;
        }
        if self.world.kind == Kind::Large && self.world.map.pages() != self.world.at_boot {
            return Err(format!("{} in place of {}", self.world.map.pages(), self.world.at_boot));
        }
        self.check()?;
        // The tables' source asks the detector of each.
        self.world.map.drain(0, &mut self.world.source);
        self.world.given = 0;
        self.check()
    }
}
