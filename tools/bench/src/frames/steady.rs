//! Workloads that keep the allocator in one state: pairs, bulk, random at 90 % full.
//!
//! Victims are drawn before the clock starts, in random order, so that the timed loop reads them one after the other
//! and its cache misses are the allocator's own.

use std::arch::asm;
use std::ops::ControlFlow;

use rhumb_machine::{Order, Pfn, Pinned};

use super::subject::FrameSubject;
use super::{Setting, Workload};
use crate::driver::{Better, Outcome, Sample, Unfit};
use crate::stats::Random as Generator;
use crate::team::{self, Member, Timing};

/// Operations between two looks at whether the other CPUs still run.
const STRIDE: usize = 100;

/// How many times a get that failed is asked again: lock-free allocators may fail though frames are free, and say so.
const RETRIES: usize = 8;

/// Returns a get, asked again where it fails.
#[inline]
pub(super) fn persistent_get<S: FrameSubject>(
    subject: &S,
    member: &Member<'_>,
    order: Order,
) -> Option<S::Held> {
    (0..=RETRIES).find_map(|_| subject.get(member.pinned, order))
}

/// Get and put of one block.
#[derive(Clone, Copy)]
pub(super) struct Pair<const ORDER: u8> {
    pairs: usize,
}

/// Pairs of single frames.
pub(super) const PAIR_BASE: Pair<{ Order::BASE.get() }> = Pair { pairs: 500_000 };
/// Pairs of 2-MiB blocks.
pub(super) const PAIR_LARGE: Pair<{ Order::LARGE.get() }> = Pair { pairs: 50_000 };

/// Acts as a caller that has the frame's number in a register. [`std::hint::black_box`] would store the number,
/// and have the subject's own fields read again from memory after it.
#[inline(always)]
fn use_frame(pfn: Pfn) {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {} */", in(reg) pfn.get(), options(nomem, nostack, preserves_flags)) };
}

/// Tells whether the get had a block.
#[inline(always)]
fn pair<S: FrameSubject, const ORDER: u8>(subject: &S, pinned: Pinned<'_>) -> bool {
    let order = const { Order::new(ORDER).unwrap() };
    match subject.get(pinned, order) {
        Some(held) => {
            use_frame(subject.first(&held));
            subject.put(pinned, held, order);
            true
        }
        None => false,
    }
}

impl<const ORDER: u8> Workload for Pair<ORDER> {
    fn largest_order(&self) -> Order {
        const { Order::new(ORDER).unwrap() }
    }

    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let pairs = setting.options.operations(self.pairs);
        let results = team::run(setting.region.machine(), setting.region.cpus, setting.clock, |member| {
            let (pinned, mut failed) = (member.pinned, 0u64);
            member.warm_up(pairs, || {
                failed += u64::from(!pair::<S, ORDER>(&subject, pinned));
                ControlFlow::Continue(())
            });
            let timing =
                member.timed(pairs, STRIDE, |_| failed += u64::from(!pair::<S, ORDER>(&subject, pinned)));
            (timing, failed)
        });
        times_and_failures(results.map_err(|error| Unfit(error.to_string()))?)
    }
}

/// Returns the time of one operation and the failed requests, of all CPUs.
fn times_and_failures(results: Vec<(Timing, u64)>) -> Outcome {
    let timing: Timing = results.iter().map(|&(timing, _)| timing).sum();
    let failed = results.iter().map(|&(_, failed)| failed).sum();
    let mut samples = timing.samples(timing.done);
    samples.push(Sample::count("failed", "requests", Better::Lower, failed));
    Ok(samples)
}

/// In a build that counts: how many frames each CPU takes in [`Bulk`], four magazines full. To take all memory would
/// last long.
const COUNTED_BULK: usize = 4 * 1024;

/// All of the memory, frame by frame, each CPU as much as it can get; then each gives back what it got, in the same
/// order. The figure is for one get and one put.
#[derive(Clone, Copy)]
pub(super) struct Bulk;

impl Workload for Bulk {
    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames().frames() as usize;
        let cpus = setting.region.cpus;
        let most = if cfg!(rhumb_counted) { COUNTED_BULK.min(frames / cpus) } else { frames };
        let results = team::run(setting.region.machine(), cpus, setting.clock, |member| {
            let pinned = member.pinned;
            let mut held: Vec<S::Held> = touched(most);
            member.come_to_rest(if cfg!(rhumb_counted) { 2 * most } else { 0 }, |index| {
                if index < most {
                    held.extend(persistent_get(&subject, member, Order::BASE));
                } else if let Some(held) = held.pop() {
                    subject.put(pinned, held, Order::BASE);
                }
                ControlFlow::Continue(())
            });
            let get =
                member.timed_until(most, STRIDE, |_| match persistent_get(&subject, member, Order::BASE) {
                    Some(frame) => {
                        held.push(frame);
                        ControlFlow::Continue(())
                    }
                    None => ControlFlow::Break(()),
                });
            let count = held.len();
            let mut held = held.into_iter();
            let put = member.timed(count, STRIDE, |_| {
                if let Some(held) = held.next() {
                    subject.put(pinned, held, Order::BASE);
                }
            });
            (get, put)
        });
        let results = results.map_err(|error| Unfit(error.to_string()))?;
        let get: Timing = results.iter().map(|&(get, _)| get).sum();
        let put: Timing = results.iter().map(|&(_, put)| put).sum();
        let mut samples = (get + put).samples(get.done);
        samples.push(Sample::count(
            "not-got",
            "frames",
            Better::Lower,
            (frames.min(most * cpus) - get.done) as u64,
        ));
        Ok(samples)
    }
}

/// Takes up to `count` single frames; fewer where the memory or the time ends.
pub(super) fn take<S: FrameSubject>(subject: &S, member: &Member<'_>, count: usize, held: &mut Vec<S::Held>) {
    while held.len() < count && !(held.len().is_multiple_of(1024) && member.is_late()) {
        match persistent_get(subject, member, Order::BASE) {
            Some(frame) => held.push(frame),
            None => break,
        }
    }
}

/// Returns an empty vector whose memory the host has backed already.
pub(super) fn touched<T>(capacity: usize) -> Vec<T> {
    let mut vector: Vec<T> = Vec::with_capacity(capacity);
    let page = 4096 / size_of::<T>().max(1);
    for slot in vector.spare_capacity_mut().iter_mut().step_by(page.max(1)) {
        // SAFETY: a slot of the vector's own memory; volatile, so that the write is made.
        unsafe { slot.as_mut_ptr().cast::<u8>().write_volatile(0) };
    }
    vector
}

/// Gives single frames back, unless the time ends.
pub(super) fn give_back<S: FrameSubject>(
    subject: &S,
    member: &Member<'_>,
    held: impl Iterator<Item = S::Held>,
) {
    for (index, frame) in held.enumerate() {
        if index.is_multiple_of(1024) && member.is_late() {
            break;
        }
        subject.put(member.pinned, frame, Order::BASE);
    }
}

/// Where the free tenth of a memory that is 90 % full lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Free {
    /// Where the allocator left it when it handed out the rest in order.
    Together,
    /// Scattered over all of it: the memory has aged.
    Scattered,
}

/// Fills the memory to 90 %; each CPU takes its share. Returns the held blocks in random order.
pub(super) fn fill_to_90_percent<S: FrameSubject>(
    subject: &S,
    member: &Member<'_>,
    frames: usize,
    free: Free,
) -> Vec<S::Held> {
    let share = member.share(frames);
    let keep = share * 9 / 10;
    let mut held = Vec::with_capacity(share);
    member.meet();
    take(subject, member, if free == Free::Scattered { share } else { keep }, &mut held);
    member.meet();
    Generator::new(member.index as u64 + 1).shuffle(&mut held);
    give_back(subject, member, held.drain(keep.min(held.len())..));
    member.meet();
    held
}

/// Frees random frames of a memory that is 90 % full, and allocates as many, `BATCH` at a time. The figure is for one
/// free and one allocation.
#[derive(Clone, Copy)]
pub(super) struct Random<const BATCH: usize>(pub(super) Free);

/// Frees and allocations of a full run of [`Random`], on each CPU; fewer where less than that is held.
const RANDOM_OPERATIONS: usize = 200_000;

impl<const BATCH: usize> Workload for Random<BATCH> {
    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames().frames() as usize;
        let results = team::run(setting.region.machine(), setting.region.cpus, setting.clock, |member| {
            let mut held = member.unnoted(|| fill_to_90_percent(&subject, member, frames, self.0));
            let count = setting.options.operations(RANDOM_OPERATIONS);
            // Before a count as many more, and in each two batches.
            let parts = if cfg!(rhumb_counted) { 2 } else { 1 };
            let count = count.max((parts - 1) * 2 * BATCH).min(held.len() * 3 / 4 / parts);
            let mut victims: Vec<_> = held.drain(held.len() - count * parts..).map(Some).collect();
            let (pinned, mut failed, mut batches) = (member.pinned, 0, victims.chunks_exact_mut(BATCH));
            let mut next_batch = || {
                let Some(batch) = batches.next() else { return };
                for victim in &mut *batch {
                    if let Some(held) = victim.take() {
                        subject.put(pinned, held, Order::BASE);
                    }
                }
                for victim in batch {
                    *victim = subject.get(pinned, Order::BASE);
                    failed += u64::from(victim.is_none());
                }
            };
            member.come_to_rest((parts - 1) * count / BATCH, |_| {
                next_batch();
                ControlFlow::Continue(())
            });
            let timing = member.timed(count / BATCH, STRIDE.div_ceil(BATCH), |_| next_batch());
            (Timing { done: timing.done * BATCH, ..timing }, failed)
        });
        times_and_failures(results.map_err(|error| Unfit(error.to_string()))?)
    }
}
