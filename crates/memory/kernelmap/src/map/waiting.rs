//! Giving areas back: their entries are hidden at once, and their frames, tables and addresses wait for a flush.
//!
//! | policy | when the CPUs flush | what they drop |
//! |---|---|---|
//! | [`FlushPolicy::Eager`] | at each free: as Mach and X15 do | the area's pages |
//! | [`FlushPolicy::Batched`] | when 32 pages or 16 areas of a CPU wait | those pages |
//! | [`FlushPolicy::Lazy`] | when a CPU has [`MOST_WAITING`] areas, or too many pages; or memory is short | everything |
//!
//! With the lazy policy one flush serves the areas that wait with all CPUs: each CPU sees by the numbers of the
//! flushes ([`super::flushes`]) that its oldest areas wait no longer. A free takes up to two of these along, so that it
//! costs the same always, but for the one that flushes.
//!
//! Memory that waits is bounded for each CPU ([`KernelMap::set_most_waiting`]), and comes back when a request finds no
//! frames or no addresses, and when the frame allocator asks ([`KernelMap::reclaim`]).

use core::fmt;

use arrayvec::ArrayVec;
use rhumb_machine::{CpuId, Machine, Pfn, Pinned, impossible};
use rhumb_pagetable::flush::batch::FLUSH_PAGES_MAX;
use rhumb_pagetable::{Entry, FlushBatch, TableMemory};
use rhumb_sync::atomic::Relaxed;

use super::KernelMap;
use super::area::{Area, AreaKind, Facts, ForeignArea};
use super::claim::{Ended, claim_to_free};
use super::flushes::{Reach, flush_exactly};
use super::hidden::{hide, revealed};
use super::home::Home;
use super::region::{GUARD_UNITS, for_each_entry};
use super::release::release;
use super::ring::{MOST_WAITING, Ring, Waiting};
use crate::arena::Units;

/// Areas that a batch flushes together, at most.
const BATCH: usize = 16;

/// Areas that a free takes along, at most.
const ALONG: usize = 2;

/// When the CPUs drop the translations of areas that were given back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FlushPolicy {
    /// At each free.
    Eager,
    /// Exactly, for several areas at once.
    Batched,
    /// All translations, once in many areas.
    Lazy,
}

impl FlushPolicy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Eager, Self::Batched, Self::Lazy];

    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Eager,
            1 => Self::Batched,
            _ => Self::Lazy,
        }
    }

    /// Returns its name: the word of a boot option.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Batched => "batched",
            Self::Lazy => "lazy",
        }
    }

    /// Returns the policy of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

impl fmt::Display for FlushPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl<H: Home> KernelMap<H> {
    /// Gives an area back. From now on a use of its addresses is an error: it faults on each CPU that has flushed. Where
    /// another CPU moves the area, that CPU gives it back at the end of the move.
    ///
    /// # Errors
    /// The area, where it is of another map.
    ///
    /// Called with no lock held for which an interrupt handler waits: see [`Home::flush`].
    ///
    /// Cost: a write for each page and, after the flush, another; the flush by [`FlushPolicy`].
    pub fn free(&self, pinned: Pinned<'_>, area: Area) -> Result<(), ForeignArea> {
        if !self.is_mine(&area) {
            return Err(ForeignArea(area));
        }
        if area.is_movable && claim_to_free(&area) == Ended::Freed {
            // The CPU that changes the area gives it back.
            let _ = area.held.into_address();
            return Ok(());
        }
        self.uncharge(&area);
        self.retire(pinned, area);
        Ok(())
    }

    /// Hides the entries of an area, as far as they were filled, and has it wait.
    pub(super) fn retire(&self, pinned: Pinned<'_>, area: Area) {
        let facts = Facts { kind: AreaKind::Waiting, is_charged: false, ..area.facts() };
        let Area { mut held, pages, level, kind, table, .. } = area;
        held.set_word(facts.pack());
        let mut tables = self.home.tables();
        let mut reach = Reach::Running;
        let Ok(()) =
            self.for_each_entry_of(&mut tables, level, (held.range(), table), |tables, table, index, _| {
                let entry = tables.read(table, index);
                if entry.is_present() {
                    if entry.child(level).is_some() {
                        reach = Reach::All;
                    }
                    tables.write(table, index, hide(entry));
                }
                Ok::<_, core::convert::Infallible>(())
            });
        let waiting = Waiting { held, pages, stamp: self.flushes.stamp(), level, kind, reach, table };
        match self.policy() {
            // A device may be mapped in another cache mode next, which no CPU may do while it has the old one.
            _ if kind == AreaKind::Device => self.flush_these(pinned, core::iter::once(waiting).collect()),
            FlushPolicy::Eager => self.flush_these(pinned, core::iter::once(waiting).collect()),
            FlushPolicy::Batched => self.wait_for_batch(pinned, waiting),
            FlushPolicy::Lazy => self.wait(pinned, waiting),
        }
    }

    /// Calls `act` for the entries of the units of a range, but for those of its guard. `first` is the table of the first of
    /// them.
    #[inline(always)]
    pub(super) fn for_each_entry_of<E>(
        &self,
        tables: &mut H::Tables,
        level: u8,
        (range, first): (Units, Pfn),
        act: impl FnMut(&mut H::Tables, Pfn, usize, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(region) = self.region(level) else { return Ok(()) };
        for_each_entry(&self.home, tables, region.unit, without_guard(range), first, act)
    }

    /// Has an area wait for a full flush, takes along what waits no longer, and flushes where too much waits.
    fn wait(&self, pinned: Pinned<'_>, waiting: Waiting) {
        let mut waiting = Some(waiting);
        loop {
            let mut ripe = ArrayVec::<Waiting, ALONG>::new();
            let flush = self.with_ring(pinned, |ring| {
                let pop = |ring: &mut Ring| ring.pop(|area| self.is_ripe(area));
                while !ripe.is_full()
                    && let Some(area) = pop(ring)
                {
                    ripe.push(area);
                }
                if let Some(area) = waiting.take() {
                    waiting = ring.push(area).err();
                }
                let is_too_much = waiting.is_some() || ring.pages() > self.most_waiting.load(Relaxed);
                let must_flush = !ring.oldest().is_some_and(|area| self.is_ripe(area));
                is_too_much.then(|| must_flush.then(|| ring.reach()))
            });
            for area in ripe {
                self.harvest(pinned, area);
            }
            match flush {
                None => return,
                Some(None) => {}
                Some(Some(reach)) => self.flush_all(pinned, reach),
            }
        }
    }

    /// Has an area wait for a flush of its own pages, together with others.
    fn wait_for_batch(&self, pinned: Pinned<'_>, waiting: Waiting) {
        let mut waiting = Some(waiting);
        while let Some(area) = waiting.take() {
            let batch = self.with_ring(pinned, |ring| {
                waiting = ring.push(area).err();
                let is_due =
                    waiting.is_some() || ring.len() >= BATCH || ring.pages() >= FLUSH_PAGES_MAX.into();
                let mut batch = ArrayVec::<Waiting, BATCH>::new();
                while is_due
                    && !batch.is_full()
                    && let Some(area) = ring.pop(|_| true)
                {
                    batch.push(area);
                }
                batch
            });
            if !batch.is_empty() {
                self.flush_these(pinned, batch);
            }
        }
    }

    /// Runs `act` on this CPU's ring, and notes whether areas wait there.
    fn with_ring<A>(&self, pinned: Pinned<'_>, act: impl FnOnce(&mut Ring) -> A) -> A {
        let cpu = self.home.machine().cpu_of(pinned);
        match self.with_ring_of(cpu, act) {
            Ok(answer) => answer,
            // A CPU past those that the map was made for has the first CPU's ring.
            Err(act) => match self.with_ring_of(CpuId::BOOT, act) {
                Ok(answer) => answer,
                Err(act) => {
                    impossible!("a map has a ring for its first CPU");
                    act(&mut Ring::new())
                }
            },
        }
    }

    fn with_ring_of<A, F: FnOnce(&mut Ring) -> A>(&self, cpu: CpuId, act: F) -> Result<A, F> {
        let Some(ring) = self.rings.get(cpu.index()) else { return Err(act) };
        let guard = self.home.machine().irq_off();
        let mut ring = ring.0.lock(guard.irq_off());
        let answer = act(&mut ring);
        if ring.is_empty() {
            self.keepers.leave(cpu)
        } else {
            self.keepers.join(cpu)
        }
        Ok(answer)
    }

    fn is_ripe(&self, area: &Waiting) -> bool {
        self.flushes.is_over(area.stamp, area.reach)
    }

    /// Flushes everything.
    fn flush_all(&self, pinned: Pinned<'_>, reach: Reach) {
        self.flushes.flush(&self.home, pinned, reach);
    }

    /// Flushes the pages of these areas, and gives back what was mapped there.
    fn flush_these(&self, pinned: Pinned<'_>, areas: ArrayVec<Waiting, BATCH>) {
        let add = |batch: &mut FlushBatch| areas.iter().for_each(|area| self.add_pages(batch, area));
        if flush_exactly(&self.home, pinned, add) {
            for area in areas {
                self.harvest(pinned, area);
            }
        } else {
            impossible!("the home flushes the CPUs of its own machine");
        }
    }

    /// Adds to a batch what CPUs may have cached of an area.
    fn add_pages(&self, batch: &mut FlushBatch, area: &Waiting) {
        let Some(region) = self.region(area.level) else { return };
        let units = without_guard(area.held.range());
        if area.kind == AreaKind::Device {
            batch.refuse_laziness();
        }
        if area.reach == Reach::All {
            // There are tables: as many small pages as a full flush is worth.
            batch.add_everything();
            batch.refuse_laziness();
        } else {
            batch.add_leaf(region.addresses_of(units), region.unit);
        }
    }

    /// Gives back the frames, the tables and the addresses of an area whose flush is over. Returns how many frames they
    /// were.
    fn harvest(&self, pinned: Pinned<'_>, waiting: Waiting) -> u64 {
        let Waiting { mut held, level, kind, table, .. } = waiting;
        let mut tables = self.home.tables();
        let mut frames = 0;
        let Ok(()) =
            self.for_each_entry_of(&mut tables, level, (held.range(), table), |tables, table, index, _| {
                let entry = tables.read(table, index);
                if let Some(was) = revealed(entry) {
                    tables.write(table, index, Entry::EMPTY);
                    frames += release(&self.home, pinned, tables, kind, level, was);
                }
                Ok::<_, core::convert::Infallible>(())
            });
        held.set_word(0);
        let freed = self.region(level).map(|region| region.arena.free(pinned, held));
        if !matches!(freed, Some(Ok(()))) {
            impossible!("an area that waits is of this map");
        }
        frames
    }

    /// Flushes, and gives back all memory and addresses that wait, of all CPUs. Returns how many frames they were.
    ///
    /// Cost: a full flush on each CPU, and a visit to the ring of each CPU with which areas wait; nothing where none
    /// does.
    pub fn reclaim(&self, pinned: Pinned<'_>) -> u64 {
        let (mut is_any, mut reach) = (false, Reach::Running);
        for cpu in self.keepers.iter() {
            let seen = self.with_ring_of(cpu, |ring| (!ring.is_empty(), ring.reach()));
            if let Ok((true, needed)) = seen {
                (is_any, reach) = (true, reach.max(needed));
            }
        }
        if !is_any {
            return 0;
        }
        self.flush_all(pinned, reach);
        let mut frames = 0;
        for cpu in self.keepers.iter() {
            // As many as can have waited before the flush: others are left to the next one.
            for _ in 0..MOST_WAITING {
                match self.with_ring_of(cpu, |ring| ring.pop(|area| self.is_ripe(area))) {
                    Ok(Some(area)) => frames += self.harvest(pinned, area),
                    _ => break,
                }
            }
        }
        frames
    }

    /// Returns how many areas wait, and how many pages they have. Of CPUs that free meanwhile, a glimpse.
    pub fn waiting(&self) -> (u64, u64) {
        let seen = self
            .keepers
            .iter()
            .filter_map(|cpu| self.with_ring_of(cpu, |ring| (ring.len() as u64, ring.pages())).ok());
        seen.fold((0, 0), |sum, (areas, pages)| (sum.0 + areas, sum.1 + pages))
    }
}

/// Returns the units of an area, without those of its guard.
pub(super) fn without_guard(range: Units) -> Units {
    range
        .count()
        .checked_sub(GUARD_UNITS)
        .and_then(|count| Units::of_length(range.start() + GUARD_UNITS, count))
        .unwrap_or(Units::NONE)
}
