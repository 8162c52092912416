//! Each subject, through its wrapper, hands out frames of the region, aligned, and never one twice; and takes them
//! back.

use std::collections::HashMap;
use std::sync::Mutex;

use rhumb_hosted::HostedMachine;
use rhumb_machine::{Order, PhysAddr, PhysRange};

use super::subject::{FrameSubject, Region};
use super::{Setting, Workload, latency, mixed, setup, steady, subjects};
use crate::args::{Command, Options};
use crate::clock::Clock;
use crate::driver::{Better, Case, Outcome, Sample, Unfit};
use crate::stats::Random;
use crate::team;

const START: u64 = 256 << 20;
const BYTES: u64 = 32 << 20;
const CPUS: usize = 2;

/// Some subjects are one for the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn setting() -> Setting {
    let ram = PhysRange::new(PhysAddr::ZERO, PhysAddr::new(START + BYTES)).unwrap();
    let machine = HostedMachine::builder().cpus(CPUS).ram(ram).build().unwrap();
    Setting {
        region: Region::new(Box::leak(Box::new(machine)), PhysAddr::new(START), BYTES, CPUS),
        clock: Clock::calibrate(),
        options: Options::defaults(Command::Frames),
    }
}

/// Counts frames that are held twice, or lie outside the region or askew, over random gets and puts on two
/// CPUs; then 2-MiB blocks that are not whole again when all is given back.
#[derive(Clone, Copy)]
struct Honest;

/// Returns a count that must be zero.
fn wrong(metric: &'static str, count: usize) -> Sample {
    Sample::count(metric, "frames", Better::Lower, count as u64)
}

impl Workload for Honest {
    fn largest_order(&self) -> Order {
        Order::LARGE
    }

    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames();
        let held = team::run(setting.region.machine(), CPUS, setting.clock, |member| {
            let mut random = Random::new(member.index as u64);
            let mut held: Vec<(S::Held, Order)> = Vec::new();
            for _ in 0..5_000 {
                if random.below(100) < 55 {
                    let order = Order::new(random.next().trailing_zeros().min(9) as u8).unwrap();
                    held.extend(subject.get(member.pinned, order).map(|block| (block, order)));
                } else if !held.is_empty() {
                    let (block, order) = held.swap_remove(random.below(held.len()));
                    subject.put(member.pinned, block, order);
                }
            }
            held
        })
        .map_err(|error| Unfit(error.to_string()))?
        .into_iter()
        .flatten();
        let (mut owners, mut outside, mut askew) = (HashMap::new(), 0, 0);
        let mut all = Vec::new();
        for (block, order) in held {
            let first = subject.first(&block);
            askew += usize::from(!first.get().is_multiple_of(order.frames()));
            for frame in 0..order.frames() {
                outside += usize::from(!frames.contains(first.plus(frame)));
                *owners.entry(first.plus(frame)).or_insert(0usize) += 1;
            }
            all.push((block, order));
        }
        let twice = owners.values().filter(|&&owners| owners > 1).count();
        // All of it back, and then whole blocks out of it: all memory merges again.
        let all = Mutex::new(all);
        let blocks = team::run(setting.region.machine(), CPUS, setting.clock, |member| {
            if member.index == 0 {
                for (block, order) in all.lock().unwrap().drain(..) {
                    subject.put(member.pinned, block, order);
                }
            }
            mixed::blocks_left(&subject, member, frames)
        });
        let blocks: u64 = blocks.map_err(|error| Unfit(error.to_string()))?.iter().sum();
        let unmerged = (frames.frames() / Order::LARGE.frames() - blocks) as usize;
        Ok(vec![
            wrong("twice", twice),
            wrong("outside", outside),
            wrong("askew", askew),
            wrong("unmerged", unmerged),
        ])
    }
}

#[test]
fn every_subject_is_honest() {
    let _turn = ONE_AT_A_TIME.lock();
    for mut case in subjects::cases("honest", &setting(), Honest) {
        for sample in (case.run)().unwrap() {
            let allowed = match (sample.metric, case.subject) {
                // Its other CPU's pool keeps its frames: no call asks for them.
                ("unmerged", "osdk-frame-allocator") => 16.0,
                // One block holds the metadata of those that keep it in the region.
                ("unmerged", _) => 1.0,
                _ => 0.0,
            };
            assert!(sample.value <= allowed, "{}: {} {}", case.subject, sample.value, sample.metric);
        }
    }
}

/// Every workload runs on every subject, on both CPUs, and says what it must.
#[test]
fn every_workload_runs() {
    let _turn = ONE_AT_A_TIME.lock();
    let mut setting = setting();
    setting.options.work_per_mille = 10;
    let short = |workload: fn(&Setting) -> Vec<Case>| {
        for mut case in workload(&setting) {
            let samples = (case.run)().unwrap();
            assert!(!samples.is_empty(), "{}", case.subject);
            // A busy host may stop a thread for seconds: a time has no upper bound.
            let wrong = samples.iter().find(|sample| !(0.0..f64::INFINITY).contains(&sample.value));
            assert_eq!(wrong, None, "{}", case.subject);
        }
    };
    short(|s| subjects::cases("pair", s, steady::PAIR_BASE));
    short(|s| subjects::cases("bulk", s, steady::Bulk));
    short(|s| subjects::cases("random", s, steady::Random::<1000>(steady::Free::Together)));
    short(|s| subjects::cases("latency", s, latency::Burst));
    short(|s| subjects::cases("mixed", s, mixed::Mixed));
    short(|s| subjects::cases("compaction", s, mixed::Compaction));
    short(|s| subjects::cases("healing", s, mixed::Healing));
    short(|s| subjects::cases("init", s, setup::Init));
}

/// Times of single readings come with the resolution below which they say nothing.
#[test]
fn latencies_have_a_resolution() {
    let _turn = ONE_AT_A_TIME.lock();
    let mut setting = setting();
    setting.options.work_per_mille = 10;
    let cases = [
        subjects::cases("latency", &setting, latency::Single),
        subjects::cases("latency-burst", &setting, latency::Burst),
    ];
    for mut cases in cases {
        let samples = (cases[0].run)().unwrap();
        assert!(samples.len() >= 3);
        assert!(samples.iter().all(|sample| sample.resolution > 0.0), "{samples:?}");
    }
}

/// A goal against the best other allocator names every other allocator that can run its workload.
#[cfg(feature = "frame-competitors")]
#[test]
fn goals_name_every_other_subject() {
    use crate::goals::Target;
    use crate::report::{FLOOR, OURS};
    let _turn = ONE_AT_A_TIME.lock();
    let mut subjects: Vec<_> =
        subjects::cases("mixed", &setting(), mixed::Mixed).iter().map(|case| case.subject).collect();
    subjects.retain(|subject| ![OURS, FLOOR].contains(subject));
    for goal in &super::goals::GOALS {
        if let Target::BestOf(rivals, _) = goal.target {
            assert_eq!(rivals.subjects, subjects, "{}", goal.workload);
        }
    }
}
