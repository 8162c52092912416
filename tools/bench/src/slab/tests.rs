//! Each subject, through its wrapper, gives each object out once; each workload sees it when one does
//! not.

use std::alloc::Layout;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rhumb_hosted::HostedMachine;
use rhumb_machine::{PhysAddr, PhysRange, Pinned};

use super::objects::{self, Faults, Held as Object, Tags, mixed_size};
use super::subject::{ObjectSubject, Place, one_size};
use super::{Setting, Workload, fixed, held, mixed, remote, subjects};
use crate::args::{Command, Options};
use crate::clock::Clock;
use crate::driver::{Outcome, Unfit};
use crate::stats::Random;
use crate::team;

const CPUS: usize = 2;

/// Lets one test run at a time: the memory that one holds would count as touched by another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Enough for each workload at a hundredth of its length, and little enough for leaks to show.
fn setting(mib: u64) -> Setting {
    let ram = PhysRange::of_length(PhysAddr::new(4 << 30), mib << 20).unwrap();
    let machine = HostedMachine::builder().cpus(CPUS).ram(ram).build().unwrap();
    let mut options = Options::defaults(Command::Slab);
    options.work_per_mille = 10;
    Setting { place: Place::new(Box::leak(Box::new(machine)), ram, CPUS), clock: Clock::calibrate(), options }
}

/// Random allocations and frees on both CPUs, each looked into before it is freed; some freed by the other CPU.
#[derive(Clone, Copy)]
struct Honest;

impl Workload for Honest {
    fn name(&self) -> &'static str {
        "honest"
    }

    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.place, one_size::<64>())?;
        let left = Mutex::new(Vec::new());
        let faults = team::run(setting.place.machine(), CPUS, setting.clock, |member| {
            let (mut random, mut tags) = (Random::new(member.index as u64), Tags::of(member.index));
            let (mut held, mut faults) = (Vec::<Object>::new(), Faults::default());
            for _ in 0..20_000 {
                if random.below(100) < 55 {
                    match Object::take(&subject, member.pinned, mixed_size(&mut random), tags.next()) {
                        Some(object) => held.push(object),
                        None => faults.failed += 1,
                    }
                } else if !held.is_empty() {
                    let object = held.swap_remove(random.below(held.len()));
                    faults.wrong += u64::from(!object.is_whole());
                    object.give(&subject, member.pinned);
                }
            }
            faults.wrong += objects::broken(&held);
            faults.wrong += held.iter().filter(|held| !held.object.cast::<u64>().is_aligned()).count() as u64;
            left.lock().unwrap().extend(held);
            member.meet();
            if member.index == 0 {
                // The other CPU's objects, too.
                left.lock().unwrap().drain(..).for_each(|object| object.give(&subject, member.pinned));
                subject.reclaim(member.pinned);
            }
            faults
        });
        let faults = faults.map_err(|error| Unfit(error.to_string()))?;
        Ok(faults.into_iter().sum::<Faults>().samples().to_vec())
    }
}

#[test]
fn every_subject_is_honest() {
    let _turn = ONE_AT_A_TIME.lock();
    for mut case in subjects::cases(&setting(256), Honest) {
        for sample in (case.run)().unwrap() {
            assert_eq!(sample.value, 0.0, "{}: {}", case.subject, sample.metric);
        }
    }
}

/// All workloads on all subjects, on both CPUs: their samples are numbers, and nothing failed.
#[test]
fn every_workload_runs() {
    let _turn = ONE_AT_A_TIME.lock();
    fn check(workload: impl Workload) {
        for mut case in subjects::cases(&setting(256), workload) {
            let samples = (case.run)().unwrap_or_else(|unfit| panic!("{}: {unfit}", case.subject));
            assert!(samples.len() >= 3, "{}", case.subject);
            for sample in samples {
                let may_be = if matches!(sample.metric, "failed" | "wrong") { 0.0..1.0 } else { 0.0..1e6 };
                assert!(may_be.contains(&sample.value), "{}, {}: {sample:?}", workload.name(), case.subject);
            }
        }
    }
    check(fixed::Pair);
    check(fixed::BURST);
    check(mixed::TINY);
    check(remote::Remote::<64>);
    check(remote::Remote::<256>);
    check(held::Held);
}

/// The fault of a planted allocator.
const TWICE: u8 = 0;
const SMEARS: u8 = 1;
const LOSES: u8 = 2;

/// The system's, with a fault: it gives an object out a second time (`TWICE`), writes into one that was given out
/// (`SMEARS`), or loses those that come back (`LOSES`) and ends when its memory is gone.
struct Planted<const FAULT: u8> {
    calls: AtomicUsize,
    bytes_left: AtomicUsize,
    last: Mutex<Option<(usize, Layout)>>,
}

impl<const FAULT: u8> ObjectSubject for Planted<FAULT> {
    const NAME: &'static str = "planted";

    fn fresh(place: &Place, _one_size: Layout) -> Result<Self, Unfit> {
        let bytes_left = AtomicUsize::new(place.bytes());
        Ok(Self { calls: AtomicUsize::new(0), bytes_left, last: Mutex::new(None) })
    }

    fn get(&self, _pinned: Pinned<'_>, layout: Layout) -> Option<NonNull<u8>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap();
        match (FAULT, *last) {
            (TWICE, Some((object, of))) if call % 50 == 49 && of.size() >= layout.size() => {
                return NonNull::new(object as *mut u8);
            }
            // SAFETY: nothing is ever freed here, so the object is there.
            (SMEARS, Some((object, _))) if call % 50 == 49 => unsafe {
                (object as *mut u64).write_volatile(1 << 60);
            },
            (LOSES, _) => {
                let take = |left: usize| left.checked_sub(layout.size());
                self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
            }
            _ => {}
        }
        // SAFETY: no size is zero.
        let object = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
        *last = Some((object.as_ptr() as usize, layout));
        Some(object)
    }

    /// Frees nothing, because an object that was handed out twice would be freed twice.
    unsafe fn put(&self, _pinned: Pinned<'_>, _object: NonNull<u8>, _layout: Layout) {}
}

/// Each workload says that something is wrong with each planted allocator.
#[test]
fn every_workload_sees_planted_faults() {
    let _turn = ONE_AT_A_TIME.lock();
    fn count<S: ObjectSubject>(workload: impl Workload, metric: &str) -> f64 {
        let samples = workload.run::<S>(&setting(1)).unwrap();
        samples.iter().find(|sample| sample.metric == metric).unwrap().value
    }
    fn check(workload: impl Workload) {
        let name = workload.name();
        assert!(count::<Planted<TWICE>>(workload, "wrong") > 0.0, "{name}: an object with two owners");
        assert!(count::<Planted<SMEARS>>(workload, "wrong") > 0.0, "{name}: an object written into");
        assert!(count::<Planted<LOSES>>(workload, "failed") > 0.0, "{name}: objects that never come back");
    }
    check(fixed::Pair);
    check(fixed::BURST);
    check(mixed::TINY);
    check(remote::Remote::<64>);
    check(remote::Remote::<256>);
    check(held::Held);
}

/// An operation that waits for another CPU ends when that CPU has done its part, and not when the time is up.
#[test]
fn a_wait_ends_with_the_phase() {
    let machine = HostedMachine::builder().cpus(2).ram_bytes(1 << 20).build().unwrap();
    let waits = AtomicUsize::new(0);
    let late = team::run(&machine, 2, Clock::calibrate(), |member| {
        let _ = member.timed_until(1, 1, |_| {
            let is_ready = if member.index == 0 {
                remote::wait(member, || waits.load(Ordering::SeqCst) > 0)
            } else {
                waits.store(1, Ordering::SeqCst);
                remote::wait(member, || false)
            };
            if is_ready { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        member.is_late()
    });
    assert_eq!(late, Ok(vec![false, false]));
}
