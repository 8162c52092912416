//! Workloads of one size: pairs and bursts of 64 B.

use std::hint::black_box;
use std::ptr::NonNull;

use rhumb_machine::Pinned;

use super::objects::{self, Faults, Held, Tags};
use super::subject::{ObjectSubject, one_size};
use super::{Setting, Workload};
use crate::driver::{Outcome, Sample, Unfit};
use crate::team::{self, Member, Timing};

/// The size: a cache line.
const BYTES: usize = 64;

/// Operations between two looks at whether the other CPUs still run.
const STRIDE: usize = 1000;

/// Objects that live through the workload: what is handed out twice is seen in them.
const BYSTANDERS: usize = 100;

/// `BURST` objects are allocated, then freed in the same order.
#[derive(Clone, Copy)]
pub(super) struct Burst<const BURST: usize> {
    name: &'static str,
    objects: usize,
}

/// One allocation and one free.
pub(super) const PAIR: Burst<1> = Burst { name: "pair-64", objects: 2_000_000 };
/// A thousand.
pub(super) const BURST: Burst<1000> = Burst { name: "burst-1000", objects: 2_000_000 };

/// Allocates `BURST` objects, tags them, frees them; returns what went wrong. `wrong` is looked for where `CHECK` says
/// so: the timed part does not read what it wrote.
#[inline(always)]
fn burst<S: ObjectSubject, const BURST: usize>(
    subject: &S,
    pinned: Pinned<'_>,
    objects: &mut [NonNull<u8>; BURST],
    faults: &mut Faults,
    check: impl Fn(NonNull<u8>, u32) -> bool,
) {
    let mut count = 0;
    for slot in objects.iter_mut() {
        match subject.get_one::<BYTES>(pinned) {
            Some(object) => {
                // SAFETY: a fresh object of 64 bytes.
                unsafe { objects::tag(object, u32::MAX - count) };
                *slot = object;
                count += 1;
            }
            None => break,
        }
    }
    faults.failed += (BURST - count as usize) as u64;
    // What an owner does with its objects is hidden from the compiler.
    black_box(&mut *objects);
    for (index, &object) in objects.iter().take(count as usize).enumerate() {
        faults.wrong += u64::from(!check(object, u32::MAX - index as u32));
        // SAFETY: taken above.
        unsafe { subject.put_one::<BYTES>(pinned, object) };
    }
}

impl<const BURST: usize> Workload for Burst<BURST> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.place, one_size::<BYTES>())?;
        let bursts = setting.options.operations(self.objects / BURST);
        let work = |member: &Member<'_>| {
            let (pinned, mut faults) = (member.pinned, Faults::default());
            let mut tags = Tags::of(member.index);
            let bystanders: Vec<Held> = (0..BYSTANDERS)
                .filter_map(|_| Held::take(&subject, pinned, BYTES as u32, tags.next()))
                .collect();
            faults.failed += (BYSTANDERS - bystanders.len()) as u64;
            let mut objects = [NonNull::dangling(); BURST];
            for _ in 0..bursts / 20 + 1 {
                // SAFETY: the burst's own objects.
                burst(&subject, pinned, &mut objects, &mut faults, |object, tag| unsafe {
                    objects::has_tag(object, tag)
                });
            }
            let timing = member.timed(bursts, STRIDE.div_ceil(BURST), |_| {
                burst(&subject, pinned, &mut objects, &mut faults, |_, _| true);
            });
            member.meet();
            faults.wrong += objects::broken(&bystanders);
            (Timing { done: timing.done * BURST, ..timing }, faults)
        };
        let results = team::run(setting.place.machine(), setting.place.cpus, setting.clock, work);
        times_and_faults(results.map_err(|error| Unfit(error.to_string()))?)
    }
}

/// Time per object, and faults, of all CPUs.
pub(super) fn times_and_faults(results: Vec<(Timing, Faults)>) -> Outcome {
    let timing: Timing = results.iter().map(|&(timing, _)| timing).sum();
    let faults: Faults = results.iter().map(|&(_, faults)| faults).sum();
    let mut samples = vec![Sample::ns("time", timing.per_operation())];
    samples.extend(faults.samples());
    Ok(samples)
}
