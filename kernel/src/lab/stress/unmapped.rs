//! `stress pool`: every CPU takes frames out of the direct map, uses them through windows, and gives them
//! back.
//!
//! A taken frame must be zero, must not be reachable in the direct map, and must keep its data, while all
//! other CPUs do the same. At the end everything is given back: the books balance, nothing is lost, and the map is, bit
//! for bit, what it was.
//!
//! Where movable frames lie in every block (`sample 1-in-64`), the pool's blocks come by compaction: then
//! what was moved for them must hold what was written, wherever it is now.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arrayvec::ArrayVec;
use rhumb_directmap::ChangeError;
use rhumb_frames::{Frame, Unmapped};
use rhumb_machine::{Counted, Machine};
use rhumb_monitor::Output;
use rhumb_unmapped::PoolError;
use spin::mutex::SpinMutex;

use crate::cpu::machine::MACHINE;
use crate::cpu::{self, area, clock, work};
use crate::debug::directmap::shape;
use crate::debug::random::Random;
use crate::lab::failure::Failure;
use crate::lab::sizes::order;
use crate::lab::{owners, probe, sample};
use crate::mm::direct_map::table_supply;
use crate::mm::unmapped::{give, take};
use crate::mm::windows::windows;
use crate::mm::{direct_map, movable, unmapped};

/// Frames that a CPU holds at most.
const HELD: usize = 48;

/// The part of the test that all CPUs share.
struct Shared {
    stop: AtomicBool,
    failure: SpinMutex<Option<Failure>>,
    taken: AtomicU64,
    waits: AtomicU64,
}

/// Runs for `seconds` on all CPUs.
pub fn unmapped(seconds: u64, out: &mut dyn Output) -> Result<(), Failure> {
    let pool = unmapped::pool().ok_or_else(|| Failure::because("there is no pool"))?;
    unmapped::shrink();
    let (before, held) = (shape::of_tables(), pool.counters());
    let (tally, moved) =
        (sample::check_all().map_err(Failure::because)?, movable::counters().pgmigrate_success);
    let shared = Shared {
        stop: AtomicBool::new(false),
        failure: SpinMutex::new(None),
        taken: AtomicU64::new(0),
        waits: AtomicU64::new(0),
    };
    let end = clock::now_ns() + seconds * 1_000_000_000;
    let share = |after_each: &mut dyn FnMut()| {
        let mut worker = Worker::new(&shared);
        while clock::now_ns() < end && !shared.stop.load(Relaxed) {
            let done = worker.step();
            worker.note(done);
            after_each();
        }
        while !worker.held.is_empty() {
            let done = worker.give_one();
            worker.note(done.map(|_| ()));
        }
    };
    // This CPU alone looks at the console.
    let mut look = || {
        shared.stop.fetch_or(out.interrupted(), Relaxed);
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    unmapped::shrink();
    table_supply::fill();
    let (after, now) = (shape::of_tables(), pool.counters());
    let (taken, flushes) = (shared.taken.load(Relaxed), now.flushes - held.flushes);
    let moved = movable::counters().pgmigrate_success - moved;
    writeln!(
        out,
        "pool stress: {}, {} taken and given back, {}, {}; {} moved for them; {}",
        Counted(cpu::online_count(), "CPU"),
        Counted(taken, "frame"),
        Counted(now.blocks_taken - held.blocks_taken, "block"),
        Counted(flushes, "flush"),
        Counted(moved, "frame"),
        Counted(shared.waits.load(Relaxed), "wait")
    );
    if let Some(failure) = shared.failure.into_inner() {
        return Err(failure);
    }
    let tally_now = sample::check_all().map_err(Failure::because)?;
    if tally != tally_now {
        return Err(Failure::because(format_args!(
            "{} movable frames were there, {} are",
            tally.frames, tally_now.frames
        )));
    }
    if taken == 0 {
        return Err(Failure::because("no frame could be taken"));
    }
    pool.validate().map_err(|_| Failure::because("afterwards the pool's books do not balance"))?;
    direct_map::validate().map_err(|_| Failure::because("afterwards the map's books do not balance"))?;
    if windows().is_none_or(|windows| windows.validate().is_err() || windows.counters().open > 0) {
        return Err(Failure::because("afterwards windows are left open"));
    }
    if now.lost_blocks != held.lost_blocks || now.frames_out != held.frames_out {
        return Err(Failure::because("afterwards frames are missing"));
    }
    if before == after {
        Ok(())
    } else {
        Err(Failure::because(format_args!("the map was {before}, and is {after}")))
    }
}

/// One CPU's share.
struct Worker<'a> {
    shared: &'a Shared,
    random: Random,
    held: ArrayVec<Frame<Unmapped>, HELD>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared) -> Self {
        let me = area::cpu_now().index() as u64;
        Self { shared, random: Random::new(clock::ticks() ^ (me + 1)), held: ArrayVec::new() }
    }

    fn note(&self, done: Result<(), Failure>) {
        if let Err(failure) = done {
            self.shared.failure.lock().get_or_insert(failure);
            self.shared.stop.store(true, Relaxed);
        }
    }

    /// Takes a frame, or gives one back.
    fn step(&mut self) -> Result<(), Failure> {
        // Now and then all of it, so that blocks empty out.
        if self.held.is_full() || self.random.below(3) == 0 {
            let all = self.random.below(64) == 0;
            while self.give_one()? && all {}
            return Ok(());
        }
        self.take_one()
    }

    fn take_one(&mut self) -> Result<(), Failure> {
        let exponent = if self.random.below(64) == 0 { 9 } else { self.random.below(4) as u8 };
        let order = order(exponent);
        let mut frame = match take(owners::STRESS, order) {
            Ok(frame) => frame,
            Err(PoolError::NoBlock(_)) => return Ok(()),
            Err(PoolError::Change(ChangeError::OutOfTables { .. } | ChangeError::OutOfRecords { .. })) => {
                self.shared.waits.fetch_add(1, Relaxed);
                table_supply::fill();
                return Ok(());
            }
            Err(error) => {
                return Err(Failure::because(format_args!(
                    "a request that breaks no rule was refused: {error}"
                )));
            }
        };
        self.shared.taken.fetch_add(1, Relaxed);
        let used = self.first_use(&mut frame);
        if let Err(full) = self.held.try_push(frame) {
            let _ = give(full.element());
        }
        used
    }

    /// Checks that the frame is zero and out of the map, and leaves a stamp on one of its pages.
    fn first_use(&mut self, frame: &mut Frame<Unmapped>) -> Result<(), Failure> {
        let page = self.random.below(frame.order().frames());
        let mut found = [1; 64];
        copy_from(frame, page * 4096 + self.random.below(63) * 64, &mut found)?;
        if found != [0; 64] {
            return Err(wrong(frame, "something old"));
        }
        let at = frame.pfn().plus(page).addr();
        if probe::read_byte(MACHINE.direct(at)).is_ok() {
            return Err(Failure::because(format_args!(
                "CPU {} reads {at}, which is out of the map",
                area::cpu_now()
            )));
        }
        copy_to(frame, 0, &stamp_of(frame))?;
        let last = frame.order().bytes() - 8;
        copy_to(frame, last, &stamp_of(frame))
    }

    /// Gives one back that still has its stamps. Whether there was one.
    fn give_one(&mut self) -> Result<bool, Failure> {
        if self.held.is_empty() {
            return Ok(false);
        }
        let index = self.random.below(self.held.len() as u64) as usize;
        let frame = self.held.swap_remove(index);
        let (mut first, mut last) = ([0; 8], [0; 8]);
        copy_from(&frame, 0, &mut first)?;
        copy_from(&frame, frame.order().bytes() - 8, &mut last)?;
        let is_kept = [first, last] == [stamp_of(&frame); 2];
        let verdict = if is_kept { Ok(true) } else { Err(wrong(&frame, "something else")) };
        give(frame).map_err(|refused| {
            Failure::because(format_args!("a frame was not taken back: {}", refused.error))
        })?;
        verdict
    }
}

fn wrong(frame: &Frame<Unmapped>, what: &'static str) -> Failure {
    Failure::because(format_args!("CPU {} finds {what} at {}", area::cpu_now(), frame.pfn().addr()))
}

/// Returns a word that no other frame has.
const fn stamp_of(frame: &Frame<Unmapped>) -> [u8; 8] {
    (frame.pfn().get().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xa5a5_a5a5_a5a5_a5a5).to_le_bytes()
}

fn copy_to(frame: &mut Frame<Unmapped>, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
    let windows = windows().ok_or_else(|| Failure::because("there is no pool"))?;
    windows.copy_to(frame, offset, bytes).map_err(Failure::because)
}

fn copy_from(frame: &Frame<Unmapped>, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
    let windows = windows().ok_or_else(|| Failure::because("there is no pool"))?;
    windows.copy_from(frame, offset, bytes).map_err(Failure::because)
}
