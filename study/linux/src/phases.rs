//! All workloads, measured in blocks.
//!
//! A block measures each workload once, in an order that is drawn anew, so that a phase is a row of blocks that differ in
//! nothing but time. The data of all workloads are made anew for each block. Memory that was taken before the map was broken
//! lies in blocks that are still whole; and data that are made once for a phase lie well or badly by chance, which would look
//! like an effect of the phase.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
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
        mut counters: Option<&mut Counters>,
    ) -> Measured {
        let task = self.session.task(name);
        let mut random = Pcg64Mcg::seed_from_u64(self.session.seed ^ u64::from(self.blocks));
        let (mut values, mut failed) = (BTreeMap::<String, Vec<f64>>::new(), BTreeSet::new());
        let (mut readings, mut shares) = (Vec::new(), Vec::new());
        let began_s = self.clock.elapsed().as_secs_f64();
        let folder = self.scratch.join("phase");
        for block in 0..self.blocks {
            if task.is_cancelled() {
                break;
            }
            let _ = fs::create_dir_all(&folder);
            let mut bench = self.bench(&folder, block);
            shares.extend(share_in(&bench, broken));
            if let Some(counters) = counters.take() {
                readings = read(&mut bench, counters);
            }
            let row = self.block(&mut bench, &mut random, &mut failed, &task);
            // Programs end before their folder goes.
            drop(bench);
            let _ = fs::remove_dir_all(&folder);
            if task.is_cancelled() {
                break;
            }
            for (id, value) in row {
                values.entry(id).or_default().push(value);
            }
            task.set((block + 1).into(), self.blocks.into());
        }
        let ended_s = self.clock.elapsed().as_secs_f64();
        let blocks = self.subjects.iter().map(|subject| match failed.contains(&subject.id) {
            true => Vec::new(),
            false => values.remove(&subject.id).unwrap_or_default(),
        });
        let phase = Phase { began_s, ended_s, blocks: blocks.collect() };
        let in_broken = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
        Measured { phase, readings, in_broken }
    }

    /// Makes all workloads with fresh data.
    fn bench(&mut self, folder: &Path, block: u32) -> Bench {
        let (timed, missing) =
            workloads::all(&self.sizes, folder, self.session.seed.wrapping_add(block.into()));
        missing.into_iter().for_each(|omission| self.omit(omission));
        let (programs, missing) = match self.programs {
            WithPrograms::Yes => programs::all(folder, self.session),
            WithPrograms::No => (Vec::new(), Vec::new()),
        };
        // Where the user ends the study, programs do not start, and are not missing.
        if !self.session.is_ending() {
            missing.into_iter().for_each(|omission| self.omit(omission));
        }
        let bench = Bench { timed, programs };
        if self.subjects.is_empty() {
            self.subjects = bench.subjects();
        }
        bench
    }

    /// Measures each workload once, in random order. Those that failed before are left out.
    fn block(
        &mut self,
        bench: &mut Bench,
        random: &mut Pcg64Mcg,
        failed: &mut BTreeSet<String>,
        task: &Task<'_>,
    ) -> Vec<(String, f64)> {
        let subjects = bench.subjects();
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        order.shuffle(random);
        let mut row = Vec::new();
        for index in order {
            let id = &subjects[index].id;
            if task.is_cancelled() {
                break;
            }
            if failed.contains(id) {
                continue;
            }
            match self.value(bench, index) {
                Ok(value) => row.extend(value.map(|value| (id.clone(), value))),
                Err(error) => {
                    failed.insert(id.clone());
                    let part = format!("the workload {id}");
                    let remedy = "Run it by hand to see why.".to_owned();
                    self.omit(Omission { part, why: format!("It failed: {error}."), remedy });
                }
            }
        }
        row
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
