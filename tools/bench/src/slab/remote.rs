//! Objects that another CPU frees: even CPUs allocate, odd ones free what their left neighbour hands them in batches.
//!
//! ```text
//!   CPU 0: allocate 128, tag --> ring of 8 batches --> CPU 1: free 128
//! ```
//!
//! The figure is the CPU time of both for each object, waiting for the slower one included: with one of them idle, the
//! pair of them moves no more objects.

use std::cell::UnsafeCell;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::objects::{self, Faults};
use super::subject::{ObjectSubject, one_size};
use super::{Setting, Workload};
use crate::driver::{Outcome, Unfit};
use crate::team::{self, Member, Timing};

/// Objects of a batch: a kibibyte of pointers, whose way to the other CPU costs each object a few nanoseconds.
const BATCH: usize = 128;
/// Batches that may wait.
const SLOTS: usize = 8;
/// Objects of a full run, of each pair of CPUs.
const OBJECTS: usize = 2_000_000;

/// Objects of `BYTES`.
#[derive(Clone, Copy)]
pub(super) struct Remote<const BYTES: usize>;

/// A CPU's way to its neighbour: one writes, one reads.
struct Ring {
    slots: [UnsafeCell<[NonNull<u8>; BATCH]>; SLOTS],
    filled: Counter,
    emptied: Counter,
}

/// On a line of its own, and apart from the next one's.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

// SAFETY: a slot is the writer's until `filled` says otherwise, then the reader's until `emptied` does.
unsafe impl Sync for Ring {}

impl Ring {
    fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| UnsafeCell::new([NonNull::dangling(); BATCH])),
            filled: Counter::default(),
            emptied: Counter::default(),
        }
    }

    /// Returns the next slot to fill, when there is one; `None` when the phase has ended or the member's time has run out.
    #[inline]
    fn to_fill(&self, member: &Member<'_>) -> Option<*mut [NonNull<u8>; BATCH]> {
        let filled = self.filled.0.load(Ordering::Relaxed);
        wait(member, || filled - self.emptied.0.load(Ordering::Acquire) < SLOTS)
            .then(|| self.slots[filled % SLOTS].get())
    }

    /// Returns the next slot to empty, when there is one; `None` when the phase has ended or the member's time has run out.
    #[inline]
    fn to_empty(&self, member: &Member<'_>) -> Option<*mut [NonNull<u8>; BATCH]> {
        let emptied = self.emptied.0.load(Ordering::Relaxed);
        wait(member, || self.filled.0.load(Ordering::Acquire) > emptied)
            .then(|| self.slots[emptied % SLOTS].get())
    }

    fn has_filled(&self) {
        self.filled.0.store(self.filled.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    fn has_emptied(&self) {
        self.emptied.0.store(self.emptied.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    fn is_empty(&self) -> bool {
        self.filled.0.load(Ordering::Acquire) == self.emptied.0.load(Ordering::Acquire)
    }
}

/// Spins until `ready`, and tells whether that came about before the phase ended and the member's time ran out.
#[inline]
pub(super) fn wait(member: &Member<'_>, ready: impl Fn() -> bool) -> bool {
    let mut spins = 0u32;
    while !ready() {
        if member.is_phase_over() {
            return false;
        }
        spins += 1;
        if spins.is_multiple_of(1 << 12) {
            if member.is_late() {
                return false;
            }
            std::thread::yield_now();
        }
        member.give_way();
    }
    true
}

/// Allocates a batch.
#[inline(always)]
fn produce<S: ObjectSubject, const BYTES: usize>(
    subject: &S,
    ring: &Ring,
    member: &Member<'_>,
    faults: &mut Faults,
) -> ControlFlow<()> {
    let Some(slot) = ring.to_fill(member) else { return ControlFlow::Break(()) };
    // SAFETY: the slot is the writer's.
    for (index, place) in unsafe { &mut *slot }.iter_mut().enumerate() {
        let Some(object) = subject.get_one::<BYTES>(member.pinned) else {
            faults.failed += 1;
            *place = NonNull::dangling();
            continue;
        };
        // SAFETY: a fresh object of 64 bytes or more.
        unsafe { objects::tag(object, index as u32) };
        *place = object;
    }
    ring.has_filled();
    ControlFlow::Continue(())
}

/// Frees a batch, of which each object passes `check`.
#[inline(always)]
fn consume<S: ObjectSubject, const BYTES: usize>(
    subject: &S,
    ring: &Ring,
    member: &Member<'_>,
    check: impl Fn(NonNull<u8>, u32) -> bool,
    faults: &mut Faults,
) -> ControlFlow<()> {
    let Some(slot) = ring.to_empty(member) else { return ControlFlow::Break(()) };
    // SAFETY: the slot is the reader's.
    for (index, &object) in unsafe { &*slot }.iter().enumerate() {
        if object != NonNull::dangling() {
            faults.wrong += u64::from(!check(object, index as u32));
            // SAFETY: the neighbour took it, and has let it go.
            unsafe { subject.put_one::<BYTES>(member.pinned, object) };
        }
    }
    ring.has_emptied();
    ControlFlow::Continue(())
}

impl<const BYTES: usize> Workload for Remote<BYTES> {
    fn name(&self) -> &'static str {
        if BYTES == 64 { "remote-64" } else { "remote-256" }
    }

    fn fewest_cpus(&self) -> usize {
        2
    }

    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.place, one_size::<BYTES>())?;
        // An odd CPU has no partner to hand anything to: it stays out.
        let cpus = setting.place.cpus / 2 * 2;
        let rings: Vec<Ring> = (0..cpus / 2).map(|_| Ring::new()).collect();
        let batches = setting.options.operations(OBJECTS / BATCH);
        let work = |member: &Member<'_>| {
            let (ring, mut faults) = (&rings[member.index / 2], Faults::default());
            // Both sides of the warm-up do the same number of batches; its objects are looked into.
            member.warm_up(batches, || {
                if member.index.is_multiple_of(2) {
                    produce::<S, BYTES>(&subject, ring, member, &mut faults)
                } else {
                    // SAFETY: the neighbour tagged it, and no other CPU has it.
                    let check = |object, tag| unsafe { objects::has_tag(object, tag) };
                    consume::<S, BYTES>(&subject, ring, member, check, &mut faults)
                }
            });
            let timing = if member.index.is_multiple_of(2) {
                member.timed_until(batches, 1, |_| produce::<S, BYTES>(&subject, ring, member, &mut faults))
            } else {
                let timing = member.timed_until(batches, 1, |_| {
                    consume::<S, BYTES>(&subject, ring, member, |_, _| true, &mut faults)
                });
                // Objects that came too late to count.
                while !ring.is_empty() {
                    let _ = consume::<S, BYTES>(&subject, ring, member, |_, _| true, &mut faults);
                }
                timing
            };
            (timing, faults)
        };
        let results = team::run(setting.place.machine(), cpus, setting.clock, work);
        let results = results.map_err(|error| Unfit(error.to_string()))?;
        let all: Timing = results.iter().map(|&(timing, _)| timing).sum();
        let freed: usize = results.iter().skip(1).step_by(2).map(|(timing, _)| timing.done).sum();
        let mut samples = all.samples(freed * BATCH);
        samples.extend(results.iter().map(|&(_, faults)| faults).sum::<Faults>().samples());
        Ok(samples)
    }
}
