//! Model checking of the whole protocol: entry, batch, lazy mark, cross-call and ticket, on loom or shuttle.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p rhumb-pagetable --lib --release`, and the same with `--cfg shuttle`.
//!
//! A CPU caches an entry and reads the frame that it refers to; the flusher changes the entry, flushes, and then
//! *writes* the frame, as its next owner would. A use through a stale translation is a read that is not ordered before
//! that write: loom reports the race by itself; under shuttle the frame's content tells.

extern crate std;

use core::cell::Cell;

use rhumb_machine::testing::{TestMachine, TestTlb};
use rhumb_machine::{CpuId, CpuSet, FirstCpus, FlushScope, Machine, PageSize, VirtAddr, VirtRange};
use std::sync::Arc;
use std::vec::Vec;

use super::{FlushBatch, FlushStats, LazyCpu, MarkLeft, Rounds, Woken};
use rhumb_sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

#[cfg(shuttle)]
use core::cell::Cell as ModelCell;
#[cfg(loom)]
use loom::{cell::Cell as ModelCell, thread, thread_local};
#[cfg(shuttle)]
use shuttle::{thread, thread_local};

thread_local! {
    /// Which CPU this thread of the model is. All of them are one thread of the host.
    static CPU: Cell<usize> = Cell::new(0);
}

/// Which frame the entry refers to.
const OLD: u32 = 1;
const NEW: u32 = 2;

/// The contents of a frame. Loom watches accesses; shuttle, which checks sequential interleavings, sees the value.
struct FrameContent {
    #[cfg(loom)]
    watched: loom::cell::UnsafeCell<()>,
    reused: AtomicU32,
}

impl FrameContent {
    fn new() -> Self {
        Self {
            #[cfg(loom)]
            watched: loom::cell::UnsafeCell::new(()),
            reused: AtomicU32::new(0),
        }
    }

    fn use_it(&self) {
        #[cfg(loom)]
        self.watched.with(|_| ());
        assert_eq!(self.reused.load(Relaxed), 0, "the frame was used after it was reused");
    }

    fn reuse(&self) {
        #[cfg(loom)]
        self.watched.with_mut(|_| ());
        self.reused.store(1, Relaxed);
    }
}

/// Entry, frame, and per CPU its lazy word and its inbox: 1 where a flush is asked for, 0 once it is done.
struct World {
    entry: AtomicU32,
    old_frame: FrameContent,
    lazy: Vec<LazyCpu>,
    inbox: Vec<AtomicU32>,
    /// CPUs that run no more: a CPU that waits for them would wait endlessly.
    gone: Vec<AtomicU32>,
    /// 1 once the last CPU is among those that run: the others always are.
    online: AtomicU32,
}

// SAFETY: the cell in it is loom's, which reports each access that another one races with.
unsafe impl Sync for World {}
// SAFETY: the threads of the model pass the world on as one value, and loom's cell may move between them.
unsafe impl Send for World {}

impl World {
    fn new(cpus: usize) -> Self {
        Self {
            entry: AtomicU32::new(OLD),
            old_frame: FrameContent::new(),
            lazy: (0..cpus).map(|_| LazyCpu::new()).collect(),
            inbox: (0..cpus).map(|_| AtomicU32::new(0)).collect(),
            gone: (0..cpus).map(|_| AtomicU32::new(0)).collect(),
            online: AtomicU32::new(1),
        }
    }
}

impl TestTlb for World {
    /// A round of cross-calls: fills the inboxes, then waits for each to be emptied, which is the acknowledgement.
    fn flush_remote(&self, targets: &CpuSet, _: FlushScope<'_>) {
        targets.iter().for_each(|cpu| self.inbox[cpu.index()].store(1, Release));
        for cpu in targets.iter() {
            while self.inbox[cpu.index()].load(Acquire) == 1 && self.gone[cpu.index()].load(Acquire) == 0 {
                thread::yield_now();
            }
        }
    }

    fn flush_targets(&self, online: FirstCpus) -> FirstCpus {
        FirstCpus(online.0 - 1 + self.online.load(Relaxed) as usize)
    }

    fn leave_to_lazy(&self, targets: &mut CpuSet) -> u32 {
        targets.take_out(|cpu| self.lazy[cpu.index()].leave_mark() == MarkLeft::Left)
    }
}

/// A CPU: its TLB is a local, as it is in hardware.
struct Walker {
    world: Arc<World>,
    cpu: usize,
    cached: Option<u32>,
}

impl Walker {
    /// An interrupt, if one is due.
    fn serve(&mut self) {
        if self.world.inbox[self.cpu].load(Acquire) == 1 {
            self.leave();
            self.cached = None;
            self.world.inbox[self.cpu].store(0, Release);
        }
    }

    fn leave(&mut self) {
        if self.world.lazy[self.cpu].leave() == Woken::FlushAll {
            self.cached = None;
        }
    }

    /// A use of the page: by the cached translation, or by a walk.
    fn touch(&mut self) {
        let entry = *self.cached.get_or_insert_with(|| self.world.entry.load(Relaxed));
        if entry == OLD {
            self.world.old_frame.use_it();
        }
    }

    /// Runs, idles, is woken by something, runs again. Interrupts are taken between the steps.
    fn run(mut self, idles: usize) {
        self.touch();
        for _ in 0..idles {
            self.world.lazy[self.cpu].enter();
            self.serve();
            self.leave();
            self.serve();
            self.touch();
        }
        self.serve();
        // The CPU is no more: nothing is cached on it.
        self.world.gone[self.cpu].store(1, Release);
    }
}

fn this_cpu() -> CpuId {
    CPU.with(|cpu| CpuId::new(cpu.get()).unwrap())
}

fn batch() -> FlushBatch {
    batch_of(1)
}

fn batch_of(page: usize) -> FlushBatch {
    let mut batch = FlushBatch::new();
    let page = VirtAddr::new(page as u64 * PageSize::Size4K.bytes());
    batch.add_leaf(VirtRange::of_length(page, 1).unwrap_or_default(), PageSize::Size4K);
    batch
}

/// Flushes as CPU 0.
fn flush(world: &World, mut batch: FlushBatch) -> FlushStats {
    let machine = TestMachine::with_tlb(world.lazy.len(), 1, world);
    batch.flush(&machine, machine.pin().pinned())
}

fn change_flush_reuse(cpus: usize, idles: usize, batch: FlushBatch) {
    let world = Arc::new(World::new(cpus));
    let walkers: Vec<_> = (1..cpus)
        .map(|cpu| {
            let walker = Walker { world: Arc::clone(&world), cpu, cached: None };
            thread::spawn(move || walker.run(idles))
        })
        .collect();
    world.entry.store(NEW, Relaxed);
    let stats = flush(&world, batch);
    assert_eq!(stats.interrupts() + stats.left_to_lazy(), cpus as u32 - 1);
    world.old_frame.reuse();
    walkers.into_iter().for_each(|walker| walker.join().unwrap());
}

/// A CPU comes online while another changes an entry: it is counted among those to flush, or it walks the new entry.
#[cfg(loom)]
fn change_while_a_cpu_starts() {
    let world = Arc::new(World::new(2));
    world.online.store(0, Relaxed);
    let starting = {
        let mut walker = Walker { world: Arc::clone(&world), cpu: 1, cached: None };
        thread::spawn(move || {
            // It has walked nothing so far (`rhumb_smp::start::Starts`). It says that it runs, passes a fence, and
            // drops what it has read since.
            walker.world.online.store(1, Relaxed);
            rhumb_sync::atomic::fence(rhumb_sync::atomic::Ordering::SeqCst);
            walker.cached = None;
            walker.run(0);
        })
    };
    world.entry.store(NEW, Relaxed);
    let _stats = flush(&world, batch());
    world.old_frame.reuse();
    starting.join().unwrap();
}

/// Two CPUs that flush by shared rounds, each a translation of its own, and one that walks both entries. Each of the two
/// answers calls while it waits, and reuses its frame when it has its ticket. For shuttle alone: loom does not see that
/// three CPUs that wait for each other in turns go on.
#[cfg(shuttle)]
fn two_flushers_in_rounds(walks: usize) {
    // The second world lends its entry and frame: lazy words and inboxes are the first one's.
    let (world, second) = (Arc::new(World::new(3)), Arc::new(World::new(3)));
    let rounds = Arc::new(Rounds::new(0));
    let walker = {
        let (world, second) = (Arc::clone(&world), Arc::clone(&second));
        thread::spawn(move || {
            let mut cached = [None; 2];
            for _ in 0..walks {
                for (place, of) in cached.iter_mut().zip([&world, &second]) {
                    if *place.get_or_insert_with(|| of.entry.load(Relaxed)) == OLD {
                        of.old_frame.use_it();
                    }
                }
                if world.inbox[2].load(Acquire) == 1 {
                    cached = [None; 2];
                    world.inbox[2].store(0, Release);
                }
            }
            world.gone[2].store(1, Release);
        })
    };
    let change = |world: &World, of: &World, rounds: &Rounds, cpu: usize| {
        CPU.with(|number| number.set(cpu));
        of.entry.store(NEW, Relaxed);
        let machine = TestMachine { this_cpu, ..TestMachine::with_tlb(3, 1, world) };
        let answer = || world.inbox[cpu].store(0, Release);
        let _ = rounds.flush(&mut batch(), &machine, machine.pin().pinned(), || {
            answer();
            thread::yield_now();
        });
        of.old_frame.reuse();
        world.gone[cpu].store(1, Release);
    };
    let other = {
        let (world, second, rounds) = (Arc::clone(&world), Arc::clone(&second), Arc::clone(&rounds));
        thread::spawn(move || change(&world, &second, &rounds, 1))
    };
    change(&world, &world, &rounds, 0);
    other.join().unwrap();
    walker.join().unwrap();
}

/// Two flushers of two entries and one CPU that idles: the second finds the first one's mark.
fn two_flushers_one_lazy(world: Arc<World>, second: Arc<World>) {
    // The second world lends its entry and frame; lazy word and inbox are the first one's.
    let cpu = {
        let (world, second) = (Arc::clone(&world), Arc::clone(&second));
        thread::spawn(move || {
            let mut cached = [Some(OLD); 2];
            world.lazy[1].enter();
            if world.lazy[1].leave() == Woken::FlushAll {
                cached = [None; 2];
            }
            for (place, of) in cached.iter_mut().zip([&world, &second]) {
                if *place.get_or_insert_with(|| of.entry.load(Relaxed)) == OLD {
                    of.old_frame.use_it();
                }
            }
        })
    };
    let change = |word: &World, of: &World| {
        of.entry.store(NEW, Relaxed);
        // Where the CPU runs it would be interrupted: here the frame is then not reused.
        if word.lazy[1].leave_mark() == MarkLeft::Left {
            of.old_frame.reuse();
        }
    };
    let other = {
        let (world, second) = (Arc::clone(&world), Arc::clone(&second));
        thread::spawn(move || change(&world, &second))
    };
    change(&world, &world);
    other.join().unwrap();
    cpu.join().unwrap();
}

/// A page of each CPU that flushes by shared rounds, which another CPU uses until a flush drops it. That CPU is the
/// leader itself here, right before the answer that it would wait for.
struct Shared {
    rounds: Rounds,
    entries: Vec<AtomicU32>,
    /// Whether the page was used for the last time.
    used: Vec<ModelCell<bool>>,
}

// SAFETY: the cells in it are loom's, which reports each access that another one races with; shuttle's threads are one
// thread of the host.
unsafe impl Sync for Shared {}
// SAFETY: the threads of the model pass it on as one value, and its cells may move between them.
unsafe impl Send for Shared {}

impl TestTlb for Shared {
    fn flush_remote(&self, _: &CpuSet, scope: FlushScope<'_>) {
        let FlushScope::Pages { runs } = scope else { panic!("two pages are dropped one by one") };
        for page in runs.iter().flat_map(|run| run.addresses()) {
            let cpu = (page.get() / PageSize::Size4K.bytes()) as usize;
            // Its next walk finds the new entry.
            assert_eq!(self.entries[cpu].load(Relaxed), NEW);
            self.used[cpu].set(true);
        }
    }
}

/// CPUs that flush by shared rounds: each use of a page through the old entry happens before its flush is over,
/// whichever CPU has made the round.
fn flushers_in_shared_rounds(cpus: usize) {
    let shared = Arc::new(Shared {
        rounds: Rounds::new(0),
        entries: (0..cpus).map(|_| AtomicU32::new(OLD)).collect(),
        used: (0..cpus).map(|_| ModelCell::new(false)).collect(),
    });
    let change = move |shared: &Shared, cpu: usize| {
        CPU.with(|number| number.set(cpu));
        shared.entries[cpu].store(NEW, Relaxed);
        let machine = TestMachine { this_cpu, ..TestMachine::with_tlb(cpus, 1, shared) };
        let pin = machine.pin();
        let _ = shared.rounds.flush(&mut batch_of(cpu), &machine, pin.pinned(), thread::yield_now);
        assert!(shared.used[cpu].replace(false), "no round has had its batch");
    };
    let others: Vec<_> = (1..cpus)
        .map(|cpu| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || change(&shared, cpu))
        })
        .collect();
    change(&shared, 0);
    others.into_iter().for_each(|other| other.join().unwrap());
}

#[cfg(loom)]
mod small {
    use super::*;
    use crate::planted::{self, Fault};

    fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(model);
    }

    #[test]
    fn no_use_after_the_ticket() {
        check(3, || change_flush_reuse(2, 1, batch()));
    }

    #[test]
    fn no_use_after_the_ticket_with_two_idles() {
        check(2, || change_flush_reuse(2, 2, batch()));
    }

    #[test]
    fn a_cpu_that_starts_is_flushed_or_walks_what_is_new() {
        check(3, change_while_a_cpu_starts);
    }

    #[test]
    fn no_use_after_a_round_that_another_cpu_has_made() {
        check(3, || flushers_in_shared_rounds(2));
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn a_mark_that_is_not_exchanged_is_found() {
        let two = || two_flushers_one_lazy(Arc::new(World::new(2)), Arc::new(World::new(2)));
        planted::with(Fault::MarkNotExchanged, || check(3, two));
    }

    #[test]
    fn a_mark_that_is_there_already_holds_for_the_second_flusher() {
        check(3, || two_flushers_one_lazy(Arc::new(World::new(2)), Arc::new(World::new(2))));
    }
}

#[cfg(shuttle)]
mod whole {
    use super::*;

    #[test]
    fn no_use_after_the_ticket() {
        shuttle::check_random(|| change_flush_reuse(4, 3, batch()), 3000);
    }

    #[test]
    fn tables_interrupt_every_cpu() {
        shuttle::check_random(
            || {
                let mut batch = batch();
                batch.add_table(VirtAddr::new(1 << 21));
                change_flush_reuse(3, 2, batch);
            },
            1000,
        );
    }

    #[test]
    fn no_use_after_a_round_that_another_cpu_has_made() {
        shuttle::check_random(|| two_flushers_in_rounds(12), 3000);
    }

    #[test]
    fn each_batch_is_in_the_round_that_its_cpu_waits_for() {
        shuttle::check_random(|| flushers_in_shared_rounds(4), 3000);
    }

    #[test]
    fn two_flushers() {
        shuttle::check_random(
            || two_flushers_one_lazy(Arc::new(World::new(2)), Arc::new(World::new(2))),
            3000,
        );
    }
}
