//! Flushes that meet: how many rounds they take, and what each of these drops.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::time::Duration;

use rhumb_machine::testing::be_cpu;

use super::*;

/// One round: on how many other CPUs, the pages that it dropped, none where it dropped everything, and whether it would
/// have spared CPUs that idle.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Made {
    others: usize,
    pages: Option<BTreeSet<u64>>,
    is_lazy: bool,
}

/// A loop in a test that waits for another thread. It panics instead of waiting endlessly.
#[derive(Default)]
struct Turns(u64);

impl Turns {
    fn wait(&mut self) {
        self.0 += 1;
        match self.0 {
            ..1_000 => std::thread::yield_now(),
            1_000..20_000 => std::thread::sleep(Duration::from_millis(1)),
            _ => panic!("it waits in vain"),
        }
    }
}

impl Made {
    fn of(targets: &CpuSet, scope: FlushScope<'_>) -> Self {
        let pages = match scope {
            FlushScope::Pages { runs, .. } => {
                Some(runs.iter().flat_map(|run| run.addresses()).map(|page| page.get() / PAGE).collect())
            }
            _ => None,
        };
        Self { others: targets.len(), pages, is_lazy: false }
    }
}

/// CPUs that come one after another to each other's rounds.
struct Meeting<'a> {
    rounds: Rounds,
    cpus: usize,
    /// How many CPUs come in each round, which lasts until they have.
    coming: &'a [usize],
    begun: AtomicUsize,
    is_lazy: AtomicBool,
    made: Mutex<Vec<Made>>,
}

impl<'a> Meeting<'a> {
    fn new(cpus: usize, coming: &'a [usize]) -> Self {
        let (begun, is_lazy, made) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
        Self { rounds: Rounds::new(0), cpus, coming, begun, is_lazy, made }
    }

    /// Waits for the round in which the CPU comes.
    fn come(&self, cpu: usize) {
        let mut turns = Turns::default();
        let all = |rounds: &usize| 1 + self.coming[..*rounds].iter().sum::<usize>();
        let before = (0..=self.coming.len()).find(|rounds| cpu < all(rounds)).unwrap();
        while self.begun.load(SeqCst) < before {
            turns.wait();
        }
    }

    fn flush(&self, batch: &mut FlushBatch) -> FlushStats {
        let machine = TestMachine::with_tlb(self.cpus, 1, self);
        let mut turns = Turns::default();
        let stats = self.rounds.flush(batch, &machine, machine.pin().pinned(), || turns.wait());
        assert!(batch.is_empty());
        stats
    }
}

impl TestTlb for Meeting<'_> {
    fn flush_remote(&self, targets: &CpuSet, scope: FlushScope<'_>) {
        let coming = self.coming.get(self.begun.fetch_add(1, SeqCst)).copied().unwrap_or_default();
        let mut turns = Turns::default();
        while (self.rounds.gathered() as usize) < coming {
            turns.wait();
        }
        let is_lazy = self.is_lazy.swap(false, SeqCst);
        self.made.lock().unwrap().push(Made { is_lazy, ..Made::of(targets, scope) });
    }

    fn leave_to_lazy(&self, _: &mut CpuSet) -> u32 {
        self.is_lazy.store(true, SeqCst);
        0
    }
}

fn page_batch(page: u64) -> FlushBatch {
    let mut batch = FlushBatch::new();
    batch.add_leaf(range(page * PAGE, PAGE), PageSize::Size4K);
    batch
}

/// Has each of `cpus` CPUs flush what `batch` makes of its number, all others during the first one's round. Returns the
/// rounds, and the figures of each CPU but the first.
fn all_at_once(cpus: usize, batch: impl Fn(usize) -> FlushBatch + Sync) -> (Vec<Made>, Vec<FlushStats>) {
    meet(cpus, &[cpus - 1], batch)
}

/// Has each of `cpus` CPUs flush what `batch` makes of its number, so many of them during each round. Returns the rounds,
/// and the figures of each CPU but the first.
fn meet(
    cpus: usize,
    coming: &[usize],
    batch: impl Fn(usize) -> FlushBatch + Sync,
) -> (Vec<Made>, Vec<FlushStats>) {
    let meeting = Meeting::new(cpus, coming);
    let mut figures = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cpus)
            .map(|cpu| {
                let (meeting, batch) = (&meeting, &batch);
                scope.spawn(move || {
                    // SAFETY: each thread is a CPU of its own.
                    unsafe { be_cpu(cpu) };
                    meeting.come(cpu);
                    meeting.flush(&mut batch(cpu))
                })
            })
            .collect();
        figures.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    });
    assert!(!figures.remove(0).is_shared());
    assert_eq!(meeting.rounds.gathered(), 0);
    (meeting.made.into_inner().unwrap(), figures)
}

#[test]
fn cpus_that_flush_at_once_make_two_rounds() {
    for cpus in [2, 3, 16] {
        let (made, figures) = all_at_once(cpus, |cpu| page_batch(cpu as u64 * 2));
        let pages = |cpus: core::ops::Range<u64>| Some(cpus.map(|cpu| cpu * 2).collect());
        let round = |pages| Made { others: cpus - 1, pages, is_lazy: true };
        assert_eq!(made, [round(pages(0..1)), round(pages(1..cpus as u64))]);
        // One of them has made the round, whose figures are those of all.
        let (shared, own): (Vec<_>, Vec<_>) = figures.into_iter().partition(FlushStats::is_shared);
        assert_eq!((shared.len(), own.len()), (cpus - 2, 1));
        assert_eq!((own[0].pages(), own[0].interrupts()), (cpus as u32 - 1, cpus as u32 - 1));
        assert!(shared.iter().all(|one| (one.pages(), one.interrupts()) == (1, 0) && !one.was_empty()));
        let counters = FlushCounters::new();
        own.iter().chain(&shared).for_each(|&one| counters.count(FlushCause::Remove, one));
        let counts = counters.read(FlushCause::Remove);
        assert_eq!((counts.flushes, counts.shared, counts.pages), (1, cpus as u64 - 2, cpus as u64 - 1));
    }
}

/// A batch that comes during a round of gathered batches is in the round after that, whose end it waits for.
#[test]
fn a_round_is_for_those_that_came_before_it() {
    let (made, figures) = meet(6, &[2, 2, 1], |cpu| page_batch(cpu as u64 * 2));
    let pages: Vec<_> = made.into_iter().map(|made| made.pages.unwrap()).collect();
    assert_eq!(pages, [&[0][..], &[2, 4], &[6, 8], &[10]].map(|pages| pages.iter().copied().collect()));
    assert_eq!(figures.iter().filter(|one| !one.is_shared()).count(), 3);
}

#[test]
fn a_round_for_many_is_as_thorough_as_the_most_thorough_of_their_batches() {
    // Too many pages to name.
    let (made, _) = all_at_once(1 + FLUSH_PAGES_MAX as usize + 1, |cpu| page_batch(cpu as u64 * 2));
    assert_eq!(made[1].pages, None);
    // One that drops everything.
    let (made, _) = all_at_once(4, |cpu| {
        let mut batch = page_batch(cpu as u64);
        if cpu == 2 {
            batch.add_everything();
        }
        batch
    });
    assert_eq!((made[1].pages.clone(), made[1].is_lazy), (None, true));
    // One that spares no CPU.
    let (made, _) = all_at_once(4, |cpu| {
        let mut batch = page_batch(cpu as u64);
        if cpu == 2 {
            batch.refuse_laziness();
        }
        batch
    });
    assert_eq!((made[0].is_lazy, made[1].is_lazy), (true, false));
}

#[test]
fn a_batch_that_refuses_laziness_does_so_for_the_round() {
    let mut lenient = page_batch(1);
    let mut strict = page_batch(2);
    strict.refuse_laziness();
    lenient.add_all(&strict);
    assert!(!lenient.may_be_lazy());
    assert_eq!(lenient.pages(), 2);
    strict.add_all(&page_batch(3));
    assert!(!strict.may_be_lazy());
    assert_eq!(strict.pages(), 2);
}

/// An interrupt handler that flushes in the midst of its own CPU's round, and a CPU of another machine that flushes
/// meanwhile: neither can wait for that round.
struct Nested {
    rounds: Rounds,
    depth: AtomicU32,
    made: Mutex<Vec<Made>>,
}

impl Nested {
    fn flush(&self, mut batch: FlushBatch, identity: u32, cpu: usize) {
        // SAFETY: the thread is one CPU at a time: the tokens of the other are not in use meanwhile.
        unsafe { be_cpu(cpu) };
        let machine = TestMachine { identity, ..TestMachine::with_tlb(3, 1, self) };
        let stats = self.rounds.flush(&mut batch, &machine, machine.pin().pinned(), || panic!("it waits"));
        assert!(batch.is_empty() && !stats.is_shared() && stats.interrupts() == 2);
    }
}

impl TestTlb for Nested {
    fn flush_remote(&self, targets: &CpuSet, scope: FlushScope<'_>) {
        if self.depth.fetch_add(1, SeqCst) == 0 {
            self.flush(page_batch(7), 0, 1);
            self.flush(page_batch(9), 1, 2);
        }
        self.made.lock().unwrap().push(Made::of(targets, scope));
    }
}

#[test]
fn a_flush_that_cannot_wait_for_the_round_makes_its_own() {
    let nested = Nested { rounds: Rounds::new(0), depth: AtomicU32::new(0), made: Mutex::default() };
    nested.flush(page_batch(5), 0, 1);
    let pages: Vec<_> = nested.made.lock().unwrap().iter().map(|made| made.pages.clone()).collect();
    assert_eq!(pages, [7, 9, 5].map(|page| Some(BTreeSet::from([page]))));
    // The lead is free again.
    nested.flush(page_batch(11), 0, 0);
}

/// A machine of which a CPU panics in its round.
struct Failing(AtomicBool);

impl TestTlb for Failing {
    fn flush_remote(&self, _: &CpuSet, _: FlushScope<'_>) {
        assert!(!self.0.load(SeqCst), "no answer");
    }
}

/// The memory that waits for a batch comes out by the flush alone, whatever is caught.
#[test]
fn a_panic_is_no_flush() {
    let machine = TestMachine::with_tlb(2, 1, Failing(AtomicBool::new(true)));
    let rounds = Rounds::new(0);
    let flush = |cpu: usize, batch: &mut FlushBatch| {
        // SAFETY: the thread is one CPU at a time: the tokens of the other are not in use meanwhile.
        unsafe { be_cpu(cpu) };
        let stats = || rounds.flush(batch, &machine, machine.pin().pinned(), || panic!("it waits"));
        catch_unwind(AssertUnwindSafe(stats))
    };
    let mut led = page_batch(1);
    assert!(flush(0, &mut led).is_err());
    assert_eq!(led.pages(), 1, "its flush failed");
    // No CPU leads in its place, because the batches of others may have been in its round.
    let mut waited = page_batch(2);
    machine.tlb.0.store(false, SeqCst);
    assert!(flush(1, &mut waited).is_err());
    assert_eq!(waited.pages(), 1, "it has waited, and its flush has not happened");
    assert!(flush(0, &mut led).is_ok() && led.is_empty());
}
