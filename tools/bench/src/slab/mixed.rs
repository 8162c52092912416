//! Many sizes: random frees, each followed by the allocation of an object of another size.
//!
//! The live objects are in random order, and a pass goes over all of them, so that the timed loop reads what it frees
//! one after the other; between passes the order is drawn anew.

use std::ops::ControlFlow;

use super::fixed::times_and_faults;
use super::objects::{self, Faults, Held, Tags, mixed_size};
use super::subject::{ObjectSubject, one_size};
use super::{Setting, Workload};
use crate::driver::{Outcome, Unfit};
use crate::stats::Random;
use crate::team::{self, Member, Timing};

/// Operations between two looks at whether the other CPUs still run.
const STRIDE: usize = 100;

/// In a build that counts: the fewest frees and allocations of a CPU. With fewer, it would not have come to rest.
const FEWEST_OPERATIONS: usize = 5_000;

/// In a build that counts: the fewest live objects of a CPU, as many as of 16 CPUs in a timed build, but no more than the
/// second figure. With fewer, a CPU would do little with so many passes.
const FEWEST: (usize, usize) = (16, 1_000);

/// Sizes that are drawn beforehand, and used over and over.
const SIZES: usize = 1 << 16;

/// Random frees and allocations with `live` objects, which the CPUs share.
#[derive(Clone, Copy)]
pub(super) struct Mixed {
    name: &'static str,
    live: usize,
    /// Frees and allocations of a full run, of all CPUs.
    operations: usize,
}

/// So few live objects that a CPU's caches hold all their bytes.
pub(super) const SMALL: Mixed = Mixed { name: "mixed-10k", live: 10_000, operations: 600_000 };
/// So many live objects that a CPU's caches do not hold their bytes.
pub(super) const LARGE: Mixed = Mixed { name: "mixed-200k", live: 200_000, operations: 600_000 };

/// The size for an allocator that is not optimized, in a test; the others differ by these numbers.
#[cfg(test)]
pub(super) const TINY: Mixed = Mixed { name: "mixed-tiny", live: 2_000, operations: 400_000 };

/// The live objects of one CPU.
pub(super) struct Population {
    pub(super) held: Vec<Held>,
    pub(super) faults: Faults,
    sizes: Box<[u32]>,
    next_size: usize,
    tags: Tags,
    random: Random,
}

impl Population {
    /// Makes room for this CPU's share of `live` objects, touched already.
    pub(super) fn new(member: &Member<'_>, live: usize) -> Self {
        let mut random = Random::new(member.index as u64 + 1);
        let sizes = (0..SIZES).map(|_| mixed_size(&mut random)).collect();
        let mut held = Vec::with_capacity(member.share(live));
        // SAFETY: slots of the vector's own memory; volatile, so that the host backs it now.
        held.spare_capacity_mut().iter_mut().for_each(|slot: &mut std::mem::MaybeUninit<Held>| unsafe {
            slot.as_mut_ptr().cast::<u8>().write_volatile(0);
        });
        Self { held, faults: Faults::default(), sizes, next_size: 0, tags: Tags::of(member.index), random }
    }

    /// Returns the next size, in bytes.
    #[inline(always)]
    fn size(&mut self) -> u32 {
        self.next_size = (self.next_size + 1) % SIZES;
        self.sizes[self.next_size % SIZES]
    }

    /// Allocates until the share is live, or none can be had.
    pub(super) fn fill<S: ObjectSubject>(&mut self, subject: &S, member: &Member<'_>) {
        while self.held.len() < self.held.capacity()
            && !(self.held.len().is_multiple_of(64) && member.is_late())
        {
            let (bytes, tag) = (self.size(), self.tags.next());
            match Held::take(subject, member.pinned, bytes, tag) {
                Some(held) => self.held.push(held),
                None => {
                    self.faults.failed += 1;
                    break;
                }
            }
        }
        self.shuffle();
    }

    /// Draws a new order.
    pub(super) fn shuffle(&mut self) {
        let mut random = self.random.clone();
        random.shuffle(&mut self.held);
        self.random = random;
    }

    /// Returns a pass: each object is freed, and another one allocated in its place. A function of its own, so that the
    /// loop body has one place and is inlined there, however long it is.
    #[inline(never)]
    pub(super) fn pass<S: ObjectSubject>(&mut self, subject: &S, member: &Member<'_>) -> Timing {
        let (pinned, count) = (member.pinned, self.held.len());
        let mut lost = false;
        let timing = member.timed_until(count, STRIDE, |index| {
            let (bytes, tag) = (self.size(), self.tags.next());
            let slot = &mut self.held[index];
            slot.give(subject, pinned);
            match Held::take(subject, pinned, bytes, tag) {
                Some(held) => {
                    *slot = held;
                    ControlFlow::Continue(())
                }
                None => {
                    lost = true;
                    self.held.swap_remove(index);
                    ControlFlow::Break(())
                }
            }
        });
        self.faults.failed += u64::from(lost);
        timing
    }

    /// Frees all but `keep` of the objects, at random, unless the time ends, and notes those that were not their
    /// owner's alone.
    pub(super) fn thin_out<S: ObjectSubject>(&mut self, subject: &S, member: &Member<'_>, keep: usize) {
        self.shuffle();
        for (index, held) in self.held.drain(keep.min(self.held.len())..).enumerate() {
            if index.is_multiple_of(64) && member.is_late() {
                break;
            }
            self.faults.wrong += u64::from(!held.is_whole());
            held.give(subject, member.pinned);
        }
    }

    /// Returns how many bytes the live objects were asked for with.
    pub(super) fn live_bytes(&self) -> u64 {
        self.held.iter().map(|held| u64::from(held.bytes)).sum()
    }

    /// Notes objects that are not their owner's alone.
    pub(super) fn check(&mut self) {
        self.faults.wrong += objects::broken(&self.held);
    }
}

impl Workload for Mixed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.place, one_size::<64>())?;
        let cpus = setting.place.cpus;
        let fewest = if cfg!(rhumb_counted) { (self.live / FEWEST.0).min(FEWEST.1) * cpus } else { 0 };
        let live = self.live.max(fewest);
        let passes = setting.options.operations_of_all(self.operations).div_ceil(live);
        let passes =
            passes.max(if cfg!(rhumb_counted) { (FEWEST_OPERATIONS * cpus).div_ceil(live) } else { 2 });
        let results = team::run(setting.place.machine(), cpus, setting.clock, |member| {
            let mut population = Population::new(member, live);
            member.meet();
            member.unnoted(|| population.fill(&subject, member));
            // It makes holes, and finds caches cold.
            member.warm_up(passes, || {
                population.pass(&subject, member);
                population.shuffle();
                ControlFlow::Continue(())
            });
            let mut timing = Timing::default();
            for _ in 0..passes {
                timing = timing + population.pass(&subject, member);
                population.shuffle();
            }
            member.meet();
            population.check();
            (timing, population.faults)
        });
        times_and_faults(results.map_err(|error| Unfit(error.to_string()))?)
    }
}
