//! Each subject, through its wrapper, gives each unit out once; each workload sees it when one does not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rhumb_hosted::HostedMachine;
use rhumb_machine::{PhysRange, Pinned};

use super::subject::{FIRST, Faults, RangeSubject, Request, UNITS};
use super::{Setting, Workload, fixed, mixed, subjects};
use crate::args::{Command, Options};
use crate::clock::Clock;
use crate::driver::{Outcome, Unfit};
use crate::slab::{MEMORY_START, Place};
use crate::stats::Random;
use crate::team;

const CPUS: usize = 2;

/// Returns workloads at a hundredth of their length.
fn setting() -> Setting {
    let ram = PhysRange::of_length(MEMORY_START, 64 << 20).unwrap();
    let machine = HostedMachine::builder().cpus(CPUS).ram(ram).build().unwrap();
    let mut options = Options::defaults(Command::Ranges);
    options.work_per_mille = 10;
    Setting { place: Place::new(Box::leak(Box::new(machine)), ram, CPUS), clock: Clock::calibrate(), options }
}

/// Random allocations and frees on both CPUs, each unit noted as long as it is held.
#[derive(Clone, Copy)]
struct Honest;

impl Workload for Honest {
    fn name(&self) -> &'static str {
        "honest"
    }

    fn run<S: RangeSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.place)?;
        let used: Vec<_> = (0..UNITS).map(|_| AtomicBool::new(false)).collect();
        let set = |first: u64, request: Request, is_used| {
            let units = (first - FIRST) as usize..(first - FIRST) as usize + request.units as usize;
            u64::from(used[units].iter().any(|unit| unit.swap(is_used, Ordering::Relaxed) == is_used))
        };
        let faults = team::run(setting.place.machine(), CPUS, setting.clock, |member| {
            let (mut random, mut held) = (Random::new(member.index as u64), Vec::new());
            let mut faults = Faults::default();
            for call in 0..4000 {
                if random.below(100) < 55 {
                    let units = 1 + random.below([600, 16, 16, 16][call % 4]) as u32;
                    let align = if random.below(4) == 0 { 1 << random.below(8) } else { 1 };
                    let request = Request { units, align };
                    let Some(range) = subject.get(member.pinned, request) else {
                        faults.failed += 1;
                        continue;
                    };
                    let first = subject.first(&range, request);
                    faults.wrong += u64::from(!first.is_multiple_of(u64::from(align)));
                    faults.wrong += set(first, request, true);
                    held.push((range, request));
                } else if !held.is_empty() {
                    let (range, request) = held.swap_remove(random.below(held.len()));
                    faults.wrong += set(subject.first(&range, request), request, false);
                    subject.put(member.pinned, range);
                }
            }
            faults
        });
        let faults = faults.map_err(|error| Unfit(error.to_string()))?;
        Ok(faults.into_iter().flat_map(Faults::samples).collect())
    }
}

#[test]
fn every_subject_is_honest() {
    for mut case in subjects::cases(&setting(), Honest) {
        for sample in (case.run)().unwrap() {
            assert_eq!(sample.value, 0.0, "{}: {}", case.subject, sample.metric);
        }
    }
}

/// All workloads on all subjects, on both CPUs: their samples are numbers, and nothing failed.
#[test]
fn every_workload_runs() {
    fn check(workload: impl Workload) {
        for mut case in subjects::cases(&setting(), workload) {
            let samples = (case.run)().unwrap_or_else(|unfit| panic!("{}: {unfit}", case.subject));
            assert!(samples.len() >= 3, "{}", case.subject);
            for sample in samples {
                let may_be = if matches!(sample.metric, "failed" | "wrong") { 0.0..1.0 } else { 0.0..1e7 };
                assert!(may_be.contains(&sample.value), "{}, {}: {sample:?}", workload.name(), case.subject);
            }
        }
    }
    check(fixed::PAIR_1);
    check(fixed::PAIR_16);
    check(fixed::BURST);
    check(mixed::SMALL);
    check(mixed::MIXED);
    check(mixed::ALIGNED);
}

/// Hands out units in order, and none twice; or with a fault: a range that another holder has (`TWICE`), or none once
/// so many were handed out (`LOSES`).
struct Planted<const FAULT: u8> {
    calls: AtomicUsize,
}

const TWICE: u8 = 0;
const LOSES: u8 = 1;

impl<const FAULT: u8> RangeSubject for Planted<FAULT> {
    const NAME: &'static str = "planted";
    type Range = u64;

    fn fresh(_place: &Place) -> Result<Self, Unfit> {
        Ok(Self { calls: AtomicUsize::new(0) })
    }

    fn get(&self, _pinned: Pinned<'_>, _request: Request) -> Option<u64> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) as u64;
        let place = if FAULT == TWICE { call / 2 } else { call };
        (FAULT != LOSES || call < 500).then_some(FIRST + place % (UNITS / 512) * 512)
    }

    fn put(&self, _pinned: Pinned<'_>, _range: u64) {}

    fn first(&self, range: &u64, _request: Request) -> u64 {
        *range
    }
}

/// Each workload says that something is wrong with each planted allocator.
#[test]
fn every_workload_sees_planted_faults() {
    fn count<S: RangeSubject>(workload: impl Workload, metric: &str) -> f64 {
        let samples = workload.run::<S>(&setting()).unwrap();
        samples.iter().find(|sample| sample.metric == metric).unwrap().value
    }
    fn check(workload: impl Workload) {
        let name = workload.name();
        assert!(count::<Planted<TWICE>>(workload, "wrong") > 0.0, "{name}: a range with two holders");
        assert!(count::<Planted<LOSES>>(workload, "failed") > 0.0, "{name}: ranges that never come back");
    }
    check(fixed::PAIR_1);
    check(fixed::PAIR_16);
    check(fixed::BURST);
    check(mixed::SMALL);
    check(mixed::MIXED);
    check(mixed::ALIGNED);
}
