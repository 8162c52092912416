//! Workloads of one size: pairs and bursts of 64 B.

use std::arch::asm;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::ptr::NonNull;

use rhumb_machine::Pinned;

use super::objects::{self, Faults, Held, Tags};
use super::subject::{ObjectSubject, one_size};
use super::{Setting, Workload};
use crate::driver::{Outcome, Unfit};
use crate::team::{self, Member, Timing};

/// The size: a cache line.
const BYTES: usize = 64;

/// Operations between two looks at whether the other CPUs still run.
const STRIDE: usize = 1000;

/// Objects that live through the workload: an object that the allocator hands out twice overwrites one of them.
const BYSTANDERS: usize = 100;

/// Objects that each CPU allocates and frees in a full run.
const OBJECTS: usize = 2_000_000;

/// One allocation and one free, the object in a register between them.
#[derive(Clone, Copy)]
pub(super) struct Pair;

/// `BURST` objects are allocated, then freed in the same order.
#[derive(Clone, Copy)]
pub(super) struct Burst<const BURST: usize>;

/// A thousand.
pub(super) const BURST: Burst<1000> = Burst;

/// An owner that has its object in a register, and may write to any memory: the compiler reads the allocator's
/// own fields anew after this. [`black_box`] would store the pointer and load it again.
#[inline(always)]
fn use_object(object: NonNull<u8>) {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {} */", in(reg) object.as_ptr(), options(nostack, preserves_flags)) };
}

/// Returns a pair, with a check as in [`burst`].
#[inline(always)]
fn pair<S: ObjectSubject>(
    subject: &S,
    pinned: Pinned<'_>,
    faults: &mut Faults,
    check: impl Fn(NonNull<u8>, u32) -> bool,
) {
    match subject.get_one::<BYTES>(pinned) {
        Some(object) => {
            // SAFETY: a fresh object of 64 bytes.
            unsafe { objects::tag(object, u32::MAX) };
            use_object(object);
            faults.wrong += u64::from(!check(object, u32::MAX));
            // SAFETY: taken above.
            unsafe { subject.put_one::<BYTES>(pinned, object) };
        }
        None => faults.failed += 1,
    }
}

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
    // The compiler does not see what an owner does with its objects.
    black_box(&mut *objects);
    for (index, &object) in objects.iter().take(count as usize).enumerate() {
        faults.wrong += u64::from(!check(object, u32::MAX - index as u32));
        // SAFETY: taken above.
        unsafe { subject.put_one::<BYTES>(pinned, object) };
    }
}

impl Workload for Pair {
    fn name(&self) -> &'static str {
        "pair-64"
    }

    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome {
        let pairs = setting.options.operations(OBJECTS);
        among_bystanders::<S>(setting, |subject, member, faults| {
            member.warm_up(pairs, || {
                // SAFETY: the pair's own object.
                pair(subject, member.pinned, faults, |object, tag| unsafe { objects::has_tag(object, tag) });
                ControlFlow::Continue(())
            });
            member.timed(pairs, STRIDE, |_| pair(subject, member.pinned, faults, |_, _| true))
        })
    }
}

impl<const BURST: usize> Workload for Burst<BURST> {
    fn name(&self) -> &'static str {
        "burst-1000"
    }

    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome {
        let bursts = setting.options.operations(OBJECTS / BURST);
        among_bystanders::<S>(setting, |subject, member, faults| {
            let mut objects = [NonNull::dangling(); BURST];
            member.warm_up(bursts, || {
                // SAFETY: the burst's own objects.
                burst(subject, member.pinned, &mut objects, faults, |object, tag| unsafe {
                    objects::has_tag(object, tag)
                });
                ControlFlow::Continue(())
            });
            let timing = member.timed(bursts, 1, |_| {
                burst(subject, member.pinned, &mut objects, faults, |_, _| true);
            });
            Timing { done: timing.done * BURST, ..timing }
        })
    }
}

/// Runs `work` on all CPUs, while objects live that no other caller may get.
fn among_bystanders<S: ObjectSubject>(
    setting: &Setting,
    work: impl Fn(&S, &Member<'_>, &mut Faults) -> Timing + Sync,
) -> Outcome {
    let subject = S::fresh(&setting.place, one_size::<BYTES>())?;
    let results = team::run(setting.place.machine(), setting.place.cpus, setting.clock, |member| {
        let (mut tags, mut faults) = (Tags::of(member.index), Faults::default());
        let bystanders: Vec<Held> = (0..BYSTANDERS)
            .filter_map(|_| Held::take(&subject, member.pinned, BYTES as u32, tags.next()))
            .collect();
        faults.failed += (BYSTANDERS - bystanders.len()) as u64;
        let timing = work(&subject, member, &mut faults);
        member.meet();
        faults.wrong += objects::broken(&bystanders);
        (timing, faults)
    });
    times_and_faults(results.map_err(|error| Unfit(error.to_string()))?)
}

/// Returns the time of one object and the faults, of all CPUs.
pub(super) fn times_and_faults(results: Vec<(Timing, Faults)>) -> Outcome {
    let timing: Timing = results.iter().map(|&(timing, _)| timing).sum();
    let faults: Faults = results.iter().map(|&(_, faults)| faults).sum();
    let mut samples = timing.samples(timing.done);
    samples.extend(faults.samples());
    Ok(samples)
}
