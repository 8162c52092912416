//! The direct map of 8 GiB in 4-KiB pages, each step under its lock.

use std::hint::black_box;
use std::task::Poll;

use rhumb_directmap::{
    Altering, At, Batch, Cause, Change, Changing, Collapsing, Hold, Limits, OwnerName, Restoring, Validation,
};
use rhumb_hosted::{Cpu, TableFrames};
use rhumb_machine::{CpuId, Machine, PageSize, Pfn, PfnRange};
use rhumb_pagetable::CacheMode;

use super::{Clock, ROUNDS};
use crate::world::{Built, GIB, Hosted, Map, phys};

const GIBS: u64 = 8;
/// Single pages held, each in a block of its own.
const HOLDS: u64 = 3000;

struct Locked<'a> {
    machine: Hosted,
    cpu: &'a Cpu<'a>,
    clock: &'a mut Clock,
    map: Map,
    source: TableFrames<'static>,
    cause: Cause,
}

const AT: At = At { cpu: CpuId::BOOT, time_ns: 0 };

impl Locked<'_> {
    /// Returns a map of small pages.
    fn new<'a>(machine: Hosted, cpu: &'a Cpu<'a>, clock: &'a mut Clock) -> Locked<'a> {
        let ram = phys(4 * GIB, GIBS * GIB);
        // SAFETY: the memory below 1 GiB is for tables alone, and each round makes all of them anew.
        let built = unsafe { Built::new(machine, phys(0, GIB), ram, PageSize::Size4K, 256) };
        let Built { mut map, source, .. } = built;
        let owner = map.add_owner(OwnerName::of("clock"), Limits::NONE).unwrap();
        Locked { machine, cpu, clock, map, source, cause: Cause::new(owner, "a clock") }
    }

    /// Does steps, each under the lock, until one answers.
    fn steps<A>(&mut self, operation: &'static str, mut step: impl FnMut(&mut Map) -> Poll<A>) -> A {
        let Self { machine, cpu, clock, map, .. } = self;
        clock.time(cpu, operation, || {
            loop {
                let _lock = machine.irq_off();
                if let Poll::Ready(answer) = step(map) {
                    return answer;
                }
            }
        })
    }

    fn finish(&mut self, batch: Batch) {
        // SAFETY: no CPU walks the tree.
        let mut flushed = Some(unsafe { batch.never_walked() });
        self.steps("settle of what an operation left", |map| {
            flushed.take().map_or(Poll::Ready(()), |flushed| {
                map.reclaim_tables(flushed);
                Poll::Ready(())
            })
        });
    }

    fn change(&mut self, operation: &'static str, frames: PfnRange) -> Hold {
        let mut batch = Batch::new();
        // SAFETY: nothing uses these frames.
        let mut work = unsafe { Changing::new(frames, Change::ReadOnly, self.cause, AT) };
        let held = self.steps(operation, |map| work.step(map, &mut batch)).unwrap();
        self.finish(batch);
        held
    }

    fn restore(&mut self, operation: &'static str, held: Hold) {
        let mut batch = Batch::new();
        let mut work = Restoring::new(held);
        self.steps(operation, |map| work.step(map, &mut batch));
        self.finish(batch);
    }
}

/// Frame `number` of the map's RAM.
fn frame(number: u64) -> Pfn {
    phys(4 * GIB, GIBS * GIB).whole_frames().start().plus(number)
}

fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(frame(start), frame(end)).unwrap()
}

pub(super) fn clock(machine: Hosted, cpu: &Cpu<'_>, clock: &mut Clock) {
    for _ in 0..ROUNDS {
        let mut locked = Locked::new(machine, cpu, clock);
        long_change(&mut locked);
        holds(&mut locked);
        let mut work = Validation::new();
        locked.steps("validation of the map, small pages", |map| work.step(map)).unwrap();
        collapse(&mut locked);
        holds(&mut locked);
        let mut work = Validation::new();
        locked.steps("validation of the map, large pages", |map| work.step(map)).unwrap();
        let Locked { map, source, .. } = &mut locked;
        let keep = map.reserve().tables.saturating_sub(8);
        clock.time(cpu, "8 tables out of the reserve", || {
            let _lock = machine.irq_off();
            // SAFETY: the map's tables are all of this source.
            unsafe { map.drain(keep, source) };
        });
    }
}

/// A change of 4 GiB and more in small pages, and what can become of it.
fn long_change(locked: &mut Locked<'_>) {
    let mut held = locked.change("change of 4 GiB in small pages", range(1, 4 << 18));
    for change in [Change::NotPresent, Change::Cache(CacheMode::WriteCombining), Change::Present] {
        let mut batch = Batch::new();
        let mut work = Altering::new(&mut held, change, AT);
        locked.steps("alteration of it", |map| work.step(map, &mut batch)).unwrap();
        locked.finish(batch);
    }
    locked.restore("restore of it", held);
}

/// Many holds, looked at, restored, and some pins.
fn holds(locked: &mut Locked<'_>) {
    let held: Vec<Hold> = (0..HOLDS)
        .map(|page| locked.change("change of one page", range(page << 9, (page << 9) + 1)))
        .collect();
    locked.steps("why a frame is mapped so", |map| Poll::Ready(black_box(map.why(frame(1 << 9)))));
    // As the kernel lists them: one look for each.
    let mut next = frame(0);
    locked.steps("list of holds", |map| {
        let found = map.holds_in(PfnRange::new(next, frame(GIBS << 18)).unwrap()).next();
        found.map_or(Poll::Ready(()), |hold| {
            next = hold.frames.end();
            Poll::Pending
        })
    });
    held.into_iter().for_each(|held| locked.restore("restore of one page", held));
    for gib in 0..GIBS {
        let (cause, start) = (locked.cause, gib << 18);
        let pin = |map: &mut Map| {
            Poll::Ready(map.pin_small(range(start, start + (4 << 9)), PageSize::Size4K, cause, AT))
        };
        let held = locked.steps("pin of 8 MiB", pin).unwrap();
        locked.restore("restore of a pin", held);
    }
}

fn collapse(locked: &mut Locked<'_>) {
    let mut work = Collapsing::new(range(0, GIBS << 18));
    loop {
        let mut batch = Batch::new();
        let done = locked.steps("collapse of small pages", |map| match work.step(map, &mut batch) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if batch.is_due() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        locked.finish(batch);
        if done.is_some() {
            let Locked { map, source, .. } = locked;
            // SAFETY: the source is over the map's tables.
            unsafe { map.refill(2 * HOLDS, source) }.unwrap();
            return;
        }
    }
}
