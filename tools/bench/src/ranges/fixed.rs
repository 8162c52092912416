//! Workloads of one size: pairs and bursts, among ranges that live through them.

use std::hint::black_box;

use super::subject::{Faults, RangeSubject, Request, Seen, wrong};
use super::{Setting, Workload};
use crate::driver::{Outcome, Unfit};
use crate::team::{self, Timing};

/// Operations between two looks at whether the other CPUs still run.
const STRIDE: usize = 1000;

/// Ranges of each CPU that live through the workload, of 1 to 32 units.
const BYSTANDERS: u32 = 100;

/// Ranges that each CPU allocates and frees in a full run.
const RANGES: usize = 1_000_000;

/// `count` ranges of `units` units are allocated, then freed in the same order.
#[derive(Clone, Copy)]
pub(super) struct Fixed {
    name: &'static str,
    units: u32,
    count: usize,
}

pub(super) const PAIR_1: Fixed = Fixed { name: "ranges-pair-1", units: 1, count: 1 };
pub(super) const PAIR_16: Fixed = Fixed { name: "ranges-pair-16", units: 16, count: 1 };
pub(super) const BURST: Fixed = Fixed { name: "ranges-burst-100", units: 1, count: 100 };

impl Workload for Fixed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run<S: RangeSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.place)?;
        let request = Request { units: self.units, align: 1 };
        let turns = setting.options.operations(RANGES / self.count);
        let results = team::run(setting.place.machine(), setting.place.cpus, setting.clock, |member| {
            let (mut faults, mut held) = (Faults::default(), Vec::with_capacity(self.count));
            let bystanders: Vec<_> = (0..BYSTANDERS)
                .filter_map(|index| {
                    let request = Request { units: 1 + index % 32, align: 1 };
                    subject.get(member.pinned, request).map(|range| (range, request))
                })
                .collect();
            faults.failed += u64::from(BYSTANDERS) - bystanders.len() as u64;
            let mut turn = |faults: &mut Faults| {
                if self.count == 1 {
                    match subject.get(member.pinned, request) {
                        Some(range) => subject.put(member.pinned, black_box(range)),
                        None => faults.failed += 1,
                    }
                    return;
                }
                for _ in 0..self.count {
                    match subject.get(member.pinned, request) {
                        Some(range) => held.push(range),
                        None => faults.failed += 1,
                    }
                }
                // The compiler does not see what an owner does with its ranges.
                black_box(&mut held).drain(..).for_each(|range| subject.put(member.pinned, range));
            };
            member.warm_up(turns, || {
                turn(&mut faults);
                std::ops::ControlFlow::Continue(())
            });
            let stride = STRIDE.div_ceil(self.count);
            let timing = member.timed(turns, stride, |_| turn(&mut faults));
            held.extend((0..self.count).filter_map(|_| subject.get(member.pinned, request)));
            let mine = held.iter().map(|range| (range, request));
            let all = bystanders.iter().map(|(range, request)| (range, *request)).chain(mine);
            let seen: Vec<Seen> =
                all.map(|(range, request)| (subject.first(range, request), request)).collect();
            member.meet();
            (Timing { done: timing.done * self.count, ..timing }, faults, seen)
        });
        times_and_faults(results.map_err(|error| Unfit(error.to_string()))?)
    }
}

/// Returns the time of one range and the faults, of all CPUs, whose live ranges are looked at together.
pub(super) fn times_and_faults(results: Vec<(Timing, Faults, Vec<Seen>)>) -> Outcome {
    let timing: Timing = results.iter().map(|&(timing, ..)| timing).sum();
    let failed = results.iter().map(|(_, faults, _)| faults.failed).sum();
    let faults = Faults { failed, wrong: wrong(results.into_iter().flat_map(|(.., seen)| seen).collect()) };
    let mut samples = timing.samples(timing.done);
    samples.extend(faults.samples());
    Ok(samples)
}
