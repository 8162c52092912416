//! The countable costs of changes: entries written, flushes, interrupts, pages flushed. On simulated
//! CPUs; each round gives the same.

use rhumb_directmap::Change;
use rhumb_hosted::HostedMachine;
use rhumb_machine::{CpuId, CpuMask, PfnRange};
use rhumb_pagetable::flush::FlushCounts;

use super::stage::{Cpus, Stage};
use super::way::{Asked, Done, Way};
use super::{BLOCK_PAGES, Setting, Workload, block};
use crate::driver::{Better, Outcome, Sample, Unfit};

/// Simulated RAM: two 1-GiB pages.
const RAM_BYTES: u64 = 2 << 30;

/// With how many CPUs every figure is reported. With fewer it is interrupts only: nothing else depends on how many
/// there are.
pub(super) const MOST_CPUS: usize = 8;

/// The frames that leave the map and come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counts {
    /// One page of a whole 1-GiB page.
    Page,
    /// The 512 pages of a block, each alone.
    OneByOne,
    /// The same, asked for at once.
    Block,
}

impl Workload for Counts {
    fn runner<S: Way>(self, setting: Setting) -> Box<dyn FnMut() -> Outcome> {
        Box::new(move || self.run::<S>(setting.cpus))
    }
}

/// A reading of all counters.
#[derive(Clone, Copy, Default)]
struct Reading {
    done: Done,
    flushed: FlushCounts,
}

impl Counts {
    fn run<S: Way>(self, cpus: usize) -> Outcome {
        let machine = HostedMachine::builder().cpus(cpus).ram_bytes(1 << 20).build();
        let machine = machine.map_err(|error| Unfit(error.to_string()))?;
        let counted = machine.enter(CpuId::BOOT, |cpu| {
            let targets = CpuMask::first(cpus);
            self.count::<S>(&Stage::counting(Cpus { machine: &machine, pinned: cpu.pinned(), targets }))
        });
        let [before, out, back] = counted.map_err(|error| Unfit(error.to_string()))??;
        let mut samples = Vec::new();
        for (names, from, to) in [(&OUT, before, out), (&BACK, out, back)] {
            samples.extend(names.samples(&from, &to));
        }
        if cpus != MOST_CPUS {
            samples.retain(|sample| sample.unit == INTERRUPTS);
            return Ok(samples);
        }
        let count = |metric, unit, value| Sample::count(metric, unit, Better::Lower, value);
        samples.push(count("allocated", "tables", back.done.tables_allocated));
        samples.push(count("left-split", "pages", back.done.split_pages));
        let per_page = out.flushed.flushes as f64 / self.frames().frames() as f64;
        samples.push(Sample::of("flushes-per-page", "flushes", Better::Lower, per_page));
        Ok(samples)
    }

    fn frames(self) -> PfnRange {
        match self {
            Self::Page => PfnRange::of_length(block(3).start(), 1).unwrap_or_default(),
            Self::OneByOne | Self::Block => block(3),
        }
    }

    /// Readings before, in between and after.
    fn count<S: Way>(self, stage: &Stage<'_>) -> Result<[Reading; 3], Unfit> {
        let mut way = S::new(RAM_BYTES, BLOCK_PAGES as usize)?;
        let mut held: Vec<Vec<S::Held>> = Vec::new();
        let read = |way: &S| Reading { done: way.done(), flushed: stage.counts() };
        let before = read(&way);
        let pages = match self {
            Self::Page | Self::Block => self.frames().frames(),
            Self::OneByOne => 1,
        };
        for step in 0..self.frames().frames() / pages {
            let frames = PfnRange::of_length(self.frames().start().plus(step * pages), pages);
            let mut one = Vec::new();
            way.change(stage, (frames.unwrap_or_default(), Change::NotPresent), Asked::AsRange, &mut one)?;
            held.push(one);
        }
        let out = read(&way);
        held.iter_mut().try_for_each(|one| way.restore(stage, one))?;
        Ok([before, out, read(&way)])
    }
}

/// The unit of the figures that depend on the number of CPUs.
const INTERRUPTS: &str = "interrupts";

/// Names of the figures of one half of an operation.
struct Names([&'static str; 5]);

const OUT: Names = Names(["out-writes", "out-flushes", "out-full", "out-pages", "out-interrupts"]);
const BACK: Names = Names(["back-writes", "back-flushes", "back-full", "back-pages", "back-interrupts"]);

impl Names {
    fn samples(&self, from: &Reading, to: &Reading) -> [Sample; 5] {
        let Self([writes, flushes, full, pages, interrupts]) = *self;
        let (a, b) = (from.flushed, to.flushed);
        [
            (writes, "entries", to.done.table_writes - from.done.table_writes),
            (flushes, "flushes", b.flushes - a.flushes),
            (full, "flushes", b.full - a.full),
            (pages, "pages", b.pages - a.pages),
            (interrupts, INTERRUPTS, b.interrupts - a.interrupts),
        ]
        .map(|(metric, unit, value)| Sample::count(metric, unit, Better::Lower, value))
    }
}
