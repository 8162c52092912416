//! The cost of the change itself: nanoseconds for each page that becomes secret and is freed again, with 0 to all other CPUs
//! busy.
//!
//! The kernel's counter of splits is read before and after each page, so that pages are told apart: those whose arrival split
//! a large page of the map, and those in a block that was split already. An ordinary page, of an anonymous file that is
//! mapped alike, is the baseline.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rhumb_method::summary::Summary;
use rhumb_study_report::{Cell, Column, Curve, Point, Series, Study, Table};
use rhumb_study_system::Session;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::breaking::{Breaker, Moment};
use crate::error::Error;
use crate::frames::Frames;
use crate::proc::Root;
use crate::proc::counters::{KIB_4, MIB_2};
use crate::room::room;
use crate::secret::FileMemory;

/// Pages that shall split, for each number of busy CPUs: each breaks another 2 MiB.
const SPLITTING: u64 = 24;

/// Pages that mostly do not, for each number of busy CPUs.
const NEIGHBOURS: usize = 512;

/// Pages that are freed together.
const LOT: usize = 64;

/// How many times as many pages as shall split are tried at most.
const TRIES: u64 = 16;

/// Times of pages in nanoseconds, by kind.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Times {
    /// Busy CPUs besides the measuring one.
    pub(crate) busy: usize,
    /// Secret pages whose arrival split a large page.
    pub(crate) splitting: Vec<f64>,
    /// Secret pages in blocks that were split already.
    pub(crate) neighbours: Vec<f64>,
    /// Ordinary pages.
    pub(crate) ordinary: Vec<f64>,
    /// Freeing, for each secret page.
    pub(crate) secret_freed: Vec<f64>,
    /// Freeing, for each ordinary page.
    pub(crate) ordinary_freed: Vec<f64>,
}

/// Returns the numbers of busy CPUs that are measured: 0, powers of two, and all but one.
fn steps(cpus: usize) -> Vec<usize> {
    let others = cpus.saturating_sub(1);
    let mut steps = vec![0];
    steps.extend((0..).map(|power| 1 << power).take_while(|busy| *busy < others));
    if others > 0 {
        steps.push(others);
    }
    steps
}

/// Returns the CPUs that this thread may use.
fn cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => vec![0],
    }
}

/// Binds this thread to a CPU. Where the system refuses, the thread runs anywhere.
fn bind(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    let _ = sched_setaffinity(None, &set);
}

/// Measures all numbers of busy CPUs. If the user ends the study, the numbers that were measured remain.
/// Returns the blocks of physical memory that are broken by it as well, where the kernel tells.
///
/// # Errors
/// [`Error::Measurement`] where memory cannot be had; [`Error::Unreadable`] where the counters cannot.
pub(crate) fn measure(root: &Root, session: &Session) -> Result<(Vec<Times>, BTreeSet<u64>), Error> {
    let cpus = cpus();
    let steps = steps(cpus.len());
    let task = session.task("Cost of a page that becomes secret");
    let mut all = Vec::new();
    // Blocks that are broken stay with the study until the end, so that the next ones are whole.
    let mut held = Vec::new();
    let mut blocks = BTreeSet::new();
    for (index, &busy) in steps.iter().enumerate() {
        if session.is_ending() {
            break;
        }
        task.set(index as u64, steps.len() as u64);
        let (times, breaker) = with_busy(&cpus, busy, || times(root, busy, &mut blocks))?;
        all.push(times);
        held.push(breaker);
    }
    Ok((all, blocks))
}

/// Runs `work` on a thread that is bound to the first CPU, while `busy` others do nothing but compute.
fn with_busy<T: Send>(cpus: &[usize], busy: usize, work: impl FnOnce() -> T + Send) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for &cpu in cpus.iter().skip(1).take(busy) {
            let is_over = &is_over;
            scope.spawn(move || {
                bind(cpu);
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let first = cpus.first().copied().unwrap_or(0);
        let measuring = scope.spawn(move || {
            bind(first);
            work()
        });
        let result = measuring.join();
        is_over.store(true, Ordering::Relaxed);
        match result {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn times(root: &Root, busy: usize, blocks: &mut BTreeSet<u64>) -> Result<(Times, Option<Breaker>), Error> {
    let frames = Frames::open().ok();
    let mut seen = |address| blocks.extend(frames.as_ref().and_then(|frames| frames.block(address)));
    let failed = |error: io::Error| Error::Measurement(format!("memory cannot be had: {error}"));
    let mut times = Times { busy, ..Times::default() };
    // Secret pages, each in another block. Where the map is broken already, many of those blocks are, too.
    let breaker = Breaker::new((room(root) / 16).clamp(MIB_2, SPLITTING * TRIES * MIB_2))?;
    // Without pages to spread them, secret pages would use up what may be locked, and break little.
    let mut breaker = breaker.is_spread().then_some(breaker);
    while let Some(breaker) = breaker.as_mut().filter(|_| times.splitting.len() < SPLITTING as usize) {
        let before = Moment::now(root)?.splits.splits();
        let Ok((address, ns)) = breaker.timed_step() else { break };
        times.put(ns, before, Moment::now(root)?.splits.splits());
        seen(address);
    }
    // Neighbouring secret pages and their end, then the same with ordinary ones.
    for _ in 0..NEIGHBOURS / LOT {
        let mut secret = FileMemory::secret(LOT * KIB_4 as usize).map_err(failed)?;
        for page in 0..LOT {
            let before = Moment::now(root)?.splits.splits();
            let ns = touch(&mut secret, page);
            times.put(ns, before, Moment::now(root)?.splits.splits());
            seen(secret.address() + page * KIB_4 as usize);
        }
        times.secret_freed.push(free(secret));
        let mut ordinary = FileMemory::ordinary(LOT * KIB_4 as usize).map_err(failed)?;
        times.ordinary.extend((0..LOT).map(|page| touch(&mut ordinary, page)));
        times.ordinary_freed.push(free(ordinary));
    }
    Ok((times, breaker))
}

/// Touches a page, and returns the nanoseconds that it took.
fn touch(memory: &mut FileMemory, page: usize) -> f64 {
    let began = Instant::now();
    memory.touch(page * KIB_4 as usize);
    began.elapsed().as_nanos() as f64
}

/// Frees a lot, and returns the nanoseconds that each of its pages took.
fn free(memory: FileMemory) -> f64 {
    let began = Instant::now();
    drop(memory);
    began.elapsed().as_nanos() as f64 / LOT as f64
}

impl Times {
    /// Puts a secret page's time where it belongs. Without counters, nothing is known of splits, and all pages go to the
    /// neighbours.
    fn put(&mut self, ns: f64, before: Option<u64>, after: Option<u64>) {
        match before.zip(after) {
            Some((before, after)) if after > before => self.splitting.push(ns),
            _ => self.neighbours.push(ns),
        }
    }

    fn kinds(&self) -> [(&'static str, &[f64]); 3] {
        [
            ("secret page that splits a large page", &self.splitting),
            ("secret page in a block that is split already", &self.neighbours),
            ("ordinary page", &self.ordinary),
        ]
    }

    fn freed(&self) -> [(&'static str, &[f64]); 2] {
        [("secret page", &self.secret_freed), ("ordinary page", &self.ordinary_freed)]
    }
}

/// Returns a point of the median and the quartiles.
fn point(busy: usize, samples: &[f64]) -> Option<Point> {
    let summary = Summary::of(samples)?;
    Some(Point {
        x: busy as f64,
        y: summary.median,
        low: summary.first_quartile,
        high: summary.third_quartile,
    })
}

/// Turns each kind's times over busy CPUs into a line.
fn series<const N: usize>(
    all: &[Times],
    kinds: impl Fn(&Times) -> [(&'static str, &[f64]); N],
) -> Vec<Series> {
    let Some(first) = all.first() else { return Vec::new() };
    (0..N)
        .map(|kind| Series {
            name: kinds(first)[kind].0.to_owned(),
            points: all.iter().filter_map(|times| point(times.busy, kinds(times)[kind].1)).collect(),
        })
        .filter(|series| !series.points.is_empty())
        .collect()
}

/// Puts the times into a study.
pub(crate) fn fill(study: &mut Study, all: &[Times]) {
    if all.is_empty() {
        return;
    }
    let curve = |id: &str, title: &str, series, caption: &str| Curve {
        id: id.to_owned(),
        title: title.to_owned(),
        x_label: "busy CPUs".to_owned(),
        y_label: "ns for each page".to_owned(),
        x_by_powers: false,
        series,
        caption: caption.to_owned(),
    };
    study.curves.push(curve(
        "transition/populate",
        "Time of a page's first touch",
        series(all, Times::kinds),
        "Medians with quartiles. The kernel takes a secret page out of its map and has all CPUs flush.",
    ));
    study.curves.push(curve(
        "transition/free",
        "Time to free a page",
        series(all, Times::freed),
        "The kernel puts a secret page back into its map; the split page stays split.",
    ));
    let mut rows = Vec::new();
    for times in all {
        let populated = times.kinds().map(|(kind, samples)| ("touched first", kind, samples));
        let freed = times.freed().map(|(kind, samples)| ("freed", kind, samples));
        for (act, kind, samples) in populated.into_iter().chain(freed) {
            let Some(summary) = Summary::of(samples) else { continue };
            rows.push(vec![
                Cell::Number(times.busy as f64),
                Cell::Text(act.to_owned()),
                Cell::Text(kind.to_owned()),
                Cell::Number(summary.median),
                Cell::Number(summary.first_quartile),
                Cell::Number(summary.third_quartile),
                Cell::Number(summary.count.into()),
            ]);
        }
    }
    let columns = [
        ("busy CPUs", ""),
        ("act", ""),
        ("page", ""),
        ("median", "ns"),
        ("first quartile", "ns"),
        ("third quartile", "ns"),
        ("samples", ""),
    ];
    study.tables.push(Table {
        id: "transition".to_owned(),
        title: "Cost of a page that becomes secret".to_owned(),
        columns: Column::list(&columns),
        rows,
        caption: format!(
            "The time to free is the mean over {LOT} pages that are freed together. A page splits where the \
             kernel's counter of splits rose meanwhile."
        ),
    });
}
