//! All workloads, measured in blocks.
//!
//! A block measures each workload once, in an order that is drawn anew, so that a phase is a row of blocks that differ in
//! nothing but time. The data of all workloads are made anew for each phase: memory that was taken before the map was broken
//! lies in blocks that are still whole.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_method::{Watch, median};
use rhumb_study_report::Omission;
use rhumb_study_system::counters::{Counters, Reading};
use rhumb_study_system::{Session, Task};

use crate::drift::Phase;
use crate::frames::blocks_of;
use crate::programs::{self, Program};
use crate::workloads::{self, Sizes, Timed};

/// Samples of a workload in one block; their median is the block's value.
const SAMPLES: usize = 5;

/// A workload's name and words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Subject {
    /// The name that stays: `pread-64b`.
    pub(crate) id: String,
    /// The work, in a few words.
    pub(crate) words: String,
}

/// A phase with all that was seen in it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The blocks, by subject.
    pub(crate) phase: Phase,
    /// Readings of hardware counters by subject, each with the operations that it covers.
    pub(crate) readings: Vec<(String, f64, Vec<Reading>)>,
    /// The share of the cached file's pages that lie in broken blocks, where the kernel tells.
    pub(crate) in_broken: Option<f64>,
}

/// All workloads and programs, with fresh data.
struct Bench {
    timed: Vec<Timed>,
    programs: Vec<Box<dyn Program>>,
}

impl Bench {
    fn subjects(&self) -> Vec<Subject> {
        let timed = self
            .timed
            .iter()
            .map(|one| one.workload())
            .map(|one| Subject { id: one.id().into(), words: one.words() });
        let programs = self.programs.iter().map(|one| Subject { id: one.id().into(), words: one.words() });
        timed.chain(programs).collect()
    }
}

/// Phases of the same workloads.
pub(crate) struct Phases<'a> {
    session: &'a Session,
    sizes: Sizes,
    scratch: &'a Path,
    blocks: u32,
    programs: WithPrograms,
    clock: Instant,
    /// The workloads of the first phase. A later phase that lacks one has no blocks of it.
    pub(crate) subjects: Vec<Subject>,
    /// Workloads that are missing or failed, each once.
    pub(crate) omissions: Vec<Omission>,
}

/// Whether real programs are among the workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WithPrograms {
    /// They are, where they are installed.
    Yes,
    /// They are not.
    No,
}

impl<'a> Phases<'a> {
    /// Plans phases of so many blocks.
    pub(crate) fn new(
        session: &'a Session,
        sizes: Sizes,
        scratch: &'a Path,
        blocks: u32,
        programs: WithPrograms,
    ) -> Self {
        let (subjects, omissions) = (Vec::new(), Vec::new());
        Self { session, sizes, scratch, blocks, programs, clock: Instant::now(), subjects, omissions }
    }

    fn omit(&mut self, omission: Omission) {
        if !self.omissions.iter().any(|other| other.part == omission.part) {
            self.omissions.push(omission);
        }
    }

    /// Measures a phase. `broken` are the blocks of physical memory that the study has broken. If the user ends the study,
    /// the blocks that were whole remain.
    pub(crate) fn measure(
        &mut self,
        name: &str,
        broken: &BTreeSet<u64>,
        counters: Option<&mut Counters>,
    ) -> Measured {
        let session = self.session;
        let task = session.task(name);
        let folder = self.scratch.join("phase");
        let _ = fs::create_dir_all(&folder);
        let (timed, missing) = workloads::all(&self.sizes, &folder, session.seed);
        missing.into_iter().for_each(|omission| self.omit(omission));
        let (programs, missing) = match self.programs {
            WithPrograms::Yes => programs::all(&folder, session),
            WithPrograms::No => (Vec::new(), Vec::new()),
        };
        missing.into_iter().for_each(|omission| self.omit(omission));
        let mut bench = Bench { timed, programs };
        if self.subjects.is_empty() {
            self.subjects = bench.subjects();
        }
        let in_broken = share_in(&bench, broken);
        let readings = counters.map_or_else(Vec::new, |counters| read(&mut bench, counters));
        let phase = self.blocks(&mut bench, &task);
        // Programs end before their folder goes.
        drop(bench);
        let _ = fs::remove_dir_all(&folder);
        Measured { phase, readings, in_broken }
    }

    fn blocks(&mut self, bench: &mut Bench, task: &Task<'_>) -> Phase {
        let subjects = bench.subjects();
        let mut failed = vec![false; subjects.len()];
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        let mut random = Pcg64Mcg::seed_from_u64(self.session.seed ^ values.len() as u64);
        let mut began_s = 0.0;
        // The block before the first one warms caches up, and does not count.
        for block in 0..=self.blocks {
            if block == 1 {
                began_s = self.clock.elapsed().as_secs_f64();
            }
            order.shuffle(&mut random);
            let mut row = vec![None; subjects.len()];
            for &index in &order {
                if failed[index] {
                    continue;
                }
                if task.is_cancelled() {
                    break;
                }
                match self.value(bench, index) {
                    Ok(value) => row[index] = value,
                    Err(error) => {
                        failed[index] = true;
                        let part = format!("the workload {}", subjects[index].id);
                        let remedy = "Run it by hand to see why.".to_owned();
                        self.omit(Omission { part, why: format!("It failed: {error}."), remedy });
                    }
                }
            }
            if task.is_cancelled() {
                break;
            }
            if block > 0 {
                values.iter_mut().zip(row).for_each(|(values, value)| values.extend(value));
            }
            task.set(block.into(), self.blocks.into());
        }
        let ended_s = self.clock.elapsed().as_secs_f64();
        // The blocks go under the places of the first phase's workloads.
        let place = |subject: &Subject| subjects.iter().position(|other| other.id == subject.id);
        let blocks = self.subjects.iter().map(|subject| match place(subject) {
            Some(index) if !failed[index] => std::mem::take(&mut values[index]),
            _ => Vec::new(),
        });
        Phase { began_s, ended_s, blocks: blocks.collect() }
    }

    /// Returns the value of one workload's block.
    fn value(&self, bench: &mut Bench, index: usize) -> std::io::Result<Option<f64>> {
        match index.checked_sub(bench.timed.len()) {
            Some(program) => bench.programs[program].sample(self.session),
            None => {
                let samples: Result<Vec<f64>, _> =
                    (0..SAMPLES).map(|_| bench.timed[index].sample()).collect();
                Ok(median(&samples?))
            }
        }
    }
}

/// Returns the share of the cached file's pages that lie in `broken` blocks.
fn share_in(bench: &Bench, broken: &BTreeSet<u64>) -> Option<f64> {
    let file = bench.timed.iter().find_map(|one| one.workload().file())?;
    let known: Vec<u64> = blocks_of(file).ok()?.into_iter().flatten().collect();
    let inside = known.iter().filter(|block| broken.contains(block)).count();
    (!known.is_empty() && !broken.is_empty()).then(|| inside as f64 / known.len() as f64)
}

/// Reads hardware counters over one sample of each workload.
fn read(bench: &mut Bench, counters: &mut Counters) -> Vec<(String, f64, Vec<Reading>)> {
    let mut readings = Vec::new();
    for timed in &mut bench.timed {
        let operations = f64::from(timed.times());
        if let Ok((Ok(_), seen)) = counters.measure(|| timed.sample()) {
            readings.push((timed.workload().id().to_owned(), operations, seen));
        }
    }
    readings
}
