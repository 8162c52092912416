//! Many sizes: random frees, each followed by the allocation of a range of another size, with a fixed number of ranges
//! live.

use std::ops::ControlFlow;

use super::fixed::times_and_faults;
use super::subject::{Faults, RangeSubject, Request, Seen};
use super::{Setting, Workload};
use crate::driver::{Outcome, Unfit};
use crate::stats::Random;
use crate::team::{self, Member, Timing};

/// Operations between two looks at whether the other CPUs still run.
const STRIDE: usize = 100;

/// Requests that are drawn beforehand, and used over and over.
const REQUESTS: usize = 1 << 14;

/// Random frees and allocations with `live` ranges, which the CPUs share.
#[derive(Clone, Copy)]
pub(super) struct Mixed {
    name: &'static str,
    live: usize,
    /// Sizes are 1 to this, uniform in their logarithm.
    most_units: u32,
    /// Alignments are powers of two, 1 to this.
    most_align: u32,
    /// Frees and allocations of a full run, of all CPUs.
    operations: usize,
}

/// Sizes that the CPUs of our own allocator keep.
pub(super) const SMALL: Mixed =
    Mixed { name: "ranges-small-10k", live: 10_000, most_units: 16, most_align: 1, operations: 400_000 };
/// Small and large ones: 44 of 100 have 16 units or fewer.
pub(super) const MIXED: Mixed = Mixed { name: "ranges-mixed-10k", most_units: 512, ..SMALL };
/// A third of them with an alignment of their own.
pub(super) const ALIGNED: Mixed =
    Mixed { name: "ranges-aligned-10k", most_units: 64, most_align: 512, ..SMALL };

/// The live ranges of one CPU, with their requests.
struct Population<S: RangeSubject> {
    held: Vec<(S::Range, Request)>,
    requests: Box<[Request]>,
    next: usize,
    random: Random,
    faults: Faults,
}

impl Mixed {
    fn request(self, random: &mut Random) -> Request {
        let fraction = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let units = (f64::from(self.most_units) + 1.0).powf(fraction) as u32;
        let shift = random.below(3 * (self.most_align.ilog2() as usize + 1)) as u32;
        let align = if shift <= self.most_align.ilog2() { 1 << shift } else { 1 };
        Request { units: units.clamp(1, self.most_units), align }
    }
}

impl<S: RangeSubject> Population<S> {
    fn new(mixed: Mixed, member: &Member<'_>) -> Self {
        let mut random = Random::new(member.index as u64 + 1);
        let requests = (0..REQUESTS).map(|_| mixed.request(&mut random)).collect();
        let held = Vec::with_capacity(member.share(mixed.live));
        Self { held, requests, next: 0, random, faults: Faults::default() }
    }

    #[inline(always)]
    fn request(&mut self) -> Request {
        self.next = (self.next + 1) % REQUESTS;
        self.requests[self.next]
    }

    fn fill(&mut self, subject: &S, member: &Member<'_>) {
        while self.held.len() < self.held.capacity()
            && !(self.held.len().is_multiple_of(64) && member.is_late())
        {
            let request = self.request();
            match subject.get(member.pinned, request) {
                Some(range) => self.held.push((range, request)),
                None => {
                    self.faults.failed += 1;
                    break;
                }
            }
        }
        self.shuffle();
    }

    fn shuffle(&mut self) {
        self.random.shuffle(&mut self.held);
    }

    /// Returns a pass: each range is freed, the last one live taking its place, and another one allocated.
    #[inline(never)]
    fn pass(&mut self, subject: &S, member: &Member<'_>) -> Timing {
        let (pinned, count) = (member.pinned, self.held.len());
        let mut failed = 0;
        let timing = member.timed_until(count, STRIDE, |index| {
            let request = self.request();
            let (range, _) = self.held.swap_remove(index % self.held.len());
            subject.put(pinned, range);
            match subject.get(pinned, request) {
                Some(range) => {
                    self.held.push((range, request));
                    ControlFlow::Continue(())
                }
                None => {
                    failed += 1;
                    if self.held.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
            }
        });
        self.faults.failed += failed;
        timing
    }
}

impl Workload for Mixed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run<S: RangeSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.place)?;
        let passes = setting.options.operations_of_all(self.operations).div_ceil(self.live).max(2);
        let results = team::run(setting.place.machine(), setting.place.cpus, setting.clock, |member| {
            let mut population = Population::<S>::new(self, member);
            member.meet();
            population.fill(&subject, member);
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
            let held = population.held.iter();
            let seen: Vec<Seen> =
                held.map(|(range, request)| (subject.first(range, *request), *request)).collect();
            member.meet();
            (timing, population.faults, seen)
        });
        times_and_faults(results.map_err(|error| Unfit(error.to_string()))?)
    }
}
