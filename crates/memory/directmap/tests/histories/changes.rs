//! The turns that change the map, each with what the model makes of it.

use core::task::Poll;

use rhumb_directmap::{Altering, At, Change, ChangeError, Changing, Restoring, State};
use rhumb_machine::{Block, PageSize, PfnRange};
use rhumb_pagetable::{CacheMode, Key};

use crate::model::Known;
use crate::play::{BATCHES, Play};
use crate::world::Kind;

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

impl Play<'_, '_> {
    /// Gives frames back, and takes them or a large page around them at once, which is flushed first: CPUs may have
    /// small pages of it yet.
    pub(crate) fn take_again(&mut self) -> Result<PfnRange, String> {
        let which = self.random.below(self.held.len() as u64) as usize;
        let around = Block::around(self.model.holds[which].frames.start(), PageSize::Size2M).frames();
        (0..8).try_for_each(|_| self.eyes.look(&self.model, self.world.ram, around))?;
        self.restore(which)?;
        // With the flush of the restore pending, or over.
        while self.random.below(3) > 0 && !self.pending.is_empty() {
            self.flush(0)?;
        }
        let frames = match self.random.below(4) {
            0 => self.around_last(),
            1 => self.last,
            _ => around,
        };
        if self.pending.len() == BATCHES {
            return Ok(frames);
        }
        let batch = self.new_batch();
        (0..8).try_for_each(|_| self.eyes.look(&self.model, self.world.ram, around))?;
        let id = self.change(frames, batch)?;
        self.flush(self.place_of(id))?;
        Ok(frames)
    }

    /// Changes frames, and returns the number of the batch that is to be flushed for it.
    pub(crate) fn change(&mut self, frames: PfnRange, batch: usize) -> Result<u64, String> {
        let change = self.random.one_of(&CHANGES);
        let (owner, cause, at) = self.cause();
        let wanted = State::ORDINARY.after(change);
        let is_right = self.model.is_free(frames) && self.world.ram.covers(frames) && wanted.is_ok();
        let mut id = self.id_of(batch);
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
                Poll::Pending if self.pending[batch].1.is_due() => {
                    // Nothing was set yet; from here on another batch counts.
                    self.finish_touch();
                    self.flush(batch)?;
                    id = self.new_batch_id();
                    if is_right {
                        self.touch(frames, State::ORDINARY, new, id);
                    }
                }
                Poll::Pending => self.between(frames, id)?,
            }
        };
        match answer {
            Ok(held) => {
                if !is_right {
                    return Err(format!("{change} of {frames} was let through"));
                }
                self.finish_touch();
                if held.is_in_force() {
                    self.model.holds.push(Known { frames, state: new, pinned: None, owner });
                    self.held.push(held);
                }
            }
            Err(ChangeError::OutOfTables { .. }) if is_right && self.tables_to_be_had() < 4 => {
                self.finish_touch();
            }
            Err(error) if is_right => return Err(format!("{change} of {frames} was refused: {error}")),
            Err(_) if stores != 0 => return Err(format!("{change} of {frames}, refused, left a trace")),
            Err(_) => {}
        }
        Ok(id)
    }

    /// Returns how many tables a change may get, now or after a flush. It takes four at most.
    fn tables_to_be_had(&self) -> u64 {
        let waiting: u64 = self.pending.iter().map(|(_, batch)| batch.tables()).sum();
        self.world.map.reserve().tables + self.world.map.kept_tables() + waiting
    }

    pub(crate) fn pin(&mut self, frames: PfnRange) -> Result<(), String> {
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

    pub(crate) fn restore(&mut self, which: usize) -> Result<(), String> {
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
        self.finish_touch();
        self.model.holds.swap_remove(which);
        Ok(())
    }

    pub(crate) fn alter(&mut self, which: usize) -> Result<(), String> {
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
                self.finish_touch();
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

    /// Has the kept tables wait for a batch.
    pub(crate) fn empty_quarantine(&mut self) -> Result<PfnRange, String> {
        let batch = self.batch();
        let frames = self.last;
        self.observed(frames, batch, |map, batch| map.empty_quarantine(batch))?;
        Ok(frames)
    }

    pub(crate) fn collapse(&mut self) -> Result<(), String> {
        let ram = self.world.ram;
        let batch = self.batch();
        let (done, _) = self.observed(ram, batch, |map, batch| map.collapse(ram, batch))?;
        if self.world.kind == Kind::Large && (done.level2, done.level3) != (0, 0) {
            return Err(format!("there was something left to collapse: {done:?}"));
        }
        Ok(())
    }
}
