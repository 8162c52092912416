//! Memory held for each live byte.
//!
//! Churn makes holes; then nine tenths of the objects are freed at random, and the allocator is asked to give back what
//! it can. Held is the growth of the process, or, for allocators that give frames back to a keeper of frames,
//! the frames that they have.

use std::sync::atomic::{AtomicU64, Ordering};

use super::mixed::Population;
use super::objects::Faults;
use super::subject::{ObjectSubject, one_size, resident_bytes};
use super::{Setting, Workload};
use crate::driver::{Better, Outcome, Sample, Unfit};
use crate::team::{self, Member};

/// Live objects, of all CPUs.
const LIVE: usize = 200_000;
/// Times that each object is replaced.
const PASSES: usize = 5;

/// The workload.
#[derive(Clone, Copy)]
pub(super) struct Held;

/// The state that the CPUs share.
#[derive(Default)]
struct Seen {
    live_bytes: AtomicU64,
    resident_before: AtomicU64,
}

impl Seen {
    /// Returns how many bytes are held for each live one, once all CPUs have come.
    fn ratio<S: ObjectSubject>(
        &self,
        subject: &S,
        member: &Member<'_>,
        population: &Population,
    ) -> Result<f64, Unfit> {
        self.live_bytes.fetch_add(population.live_bytes(), Ordering::Relaxed);
        member.meet();
        let touched = resident_bytes()?.saturating_sub(self.resident_before.load(Ordering::Relaxed));
        let (held, live) = (subject.held_bytes(touched), self.live_bytes.load(Ordering::Relaxed));
        member.meet();
        self.live_bytes.store(0, Ordering::Relaxed);
        member.meet();
        Ok(held as f64 / live.max(1) as f64)
    }
}

impl Workload for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome {
        let live = setting.options.operations(LIVE);
        let (subject, seen) = (S::fresh(&setting.place, one_size::<64>())?, Seen::default());
        let results = team::run(setting.place.machine(), setting.place.cpus, setting.clock, |member| {
            let mut population = Population::new(member, live);
            member.meet();
            if member.index == 0 {
                seen.resident_before.store(resident_bytes()?, Ordering::Relaxed);
            }
            member.meet();
            population.fill(&subject, member);
            for _ in 0..PASSES {
                population.pass(&subject, member);
                population.shuffle();
            }
            let churn = seen.ratio(&subject, member, &population)?;
            let tenth = population.held.len() / 10;
            population.thin_out(&subject, member, tenth);
            member.meet();
            subject.reclaim(member.pinned);
            member.meet();
            // The objects that one CPU's caches gave up may be the last of a slab that another CPU looked at.
            subject.reclaim(member.pinned);
            let sparse = seen.ratio(&subject, member, &population)?;
            population.check();
            Ok((churn, sparse, population.faults))
        });
        let results: Vec<(f64, f64, Faults)> =
            results.map_err(|error| Unfit(error.to_string()))?.into_iter().collect::<Result<_, Unfit>>()?;
        let (churn, sparse, _) = results[0];
        let ratio = |metric, value| Sample::of(metric, "held/live", Better::Lower, value);
        let mut samples = vec![ratio("churn", churn), ratio("sparse", sparse)];
        samples.extend(results.iter().map(|&(_, _, faults)| faults).sum::<Faults>().samples());
        Ok(samples)
    }
}
