//! `stress movable`: every CPU allocates, reads and frees movable blocks, while they are moved under it.
//!
//! Each block must hold what was written whenever it is read, wherever it is by then; at the end all frames are free
//! again.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_frames::Frames;
use rhumb_machine::{Counted, Machine};
use rhumb_monitor::Output;
use spin::mutex::SpinMutex;

use super::free_frames;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area, clock, work};
use crate::debug::random::Random;
use crate::lab::failure::Failure;
use crate::lab::sample::{self, SampleError};
use crate::lab::sizes::order;
use crate::mm::movable::{self, compact_all};

/// Blocks that a CPU adds at most, on average: enough for several broken blocks of 2 MiB.
const HELD: u64 = 1200;

/// A slow machine may go on for so many times the seconds that were asked for, until a frame has been moved.
const PATIENCE: u64 = 20;

/// Runs for `seconds` on all CPUs, and until a frame has been moved.
pub fn movable(frames: &Frames<KernelMachine>, seconds: u64, out: &mut dyn Output) -> Result<(), Failure> {
    // At the end all movable frames of the sample are freed: a person's would be among them.
    let held = sample::check_all().map_err(Failure::because)?;
    if held.frames > 0 {
        return Err(Failure::because(format_args!(
            "movable frames are held, {} in all: 'sample free' gives them back",
            held.frames
        )));
    }
    let (before, moved_before) = (free_frames(frames), movable::counters().pgmigrate_success);
    let (stop, steps, compactions) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let failure = SpinMutex::<_>::new(None);
    let start = clock::now_ns();
    let moved = || movable::counters().pgmigrate_success - moved_before;
    let is_over = || {
        let passed = clock::now_ns() - start;
        let limit = seconds * 1_000_000_000;
        passed >= limit && (moved() > 0 || passed >= limit * PATIENCE)
    };
    let share = |after_each: &mut dyn FnMut()| {
        let list = area::cpu_now().index();
        let mut random = Random::new(clock::ticks() ^ (list as u64 + 1));
        let mut held = 0;
        while !stop.load(Relaxed) && !is_over() {
            if let Err(error) = (0..100).try_for_each(|_| step(frames, list, &mut random, &mut held)) {
                failure.lock().get_or_insert(error);
                stop.store(true, Relaxed);
            }
            steps.fetch_add(100, Relaxed);
            if random.below(8) == 0 {
                let guard = MACHINE.pin();
                compact_all(guard.pinned());
                compactions.fetch_add(1, Relaxed);
            }
            after_each();
        }
    };
    // This CPU alone looks at the console.
    let mut look = || {
        stop.fetch_or(out.interrupted(), Relaxed);
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    let freed = {
        let guard = MACHINE.pin();
        sample::free_all(frames, guard.pinned())
    };
    let (after, moved) = (free_frames(frames), moved());
    writeln!(
        out,
        "movable stress: {}, {}, {}, {} moved, {after} of {} free again",
        Counted(cpu::online_count(), "CPU"),
        Counted(steps.into_inner(), "step"),
        Counted(compactions.into_inner(), "compaction"),
        Counted(moved, "frame"),
        Counted(before, "frame")
    );
    if let Some(error) = failure.into_inner().or(freed.err()) {
        return Err(Failure::because(error));
    }
    if let Err(inconsistency) = frames.validate() {
        writeln!(out, "movable stress: {inconsistency}");
        return Err(Failure::because("the allocator's own books do not balance"));
    }
    match (before == after, moved) {
        (false, _) => {
            Err(Failure::because(format_args!("{before} frames were free before, {after} are after")))
        }
        (true, 0) => Err(Failure::because("no frame was moved")),
        _ => Ok(()),
    }
}

/// Adds a block, reads one, or frees one. Lack of memory is no failure.
fn step(
    frames: &Frames<KernelMachine>,
    list: usize,
    random: &mut Random,
    held: &mut u64,
) -> Result<(), SampleError> {
    let guard = MACHINE.pin();
    let place = random.next() as usize >> 1;
    if random.below(4) == 0 {
        return sample::check(list, place);
    }
    if random.below(2 * HELD) < *held {
        *held -= 1;
        return sample::remove(frames, guard.pinned(), list, place).map(|_| ());
    }
    let order = order(random.next().trailing_zeros().min(8) as u8);
    match sample::add(frames, guard.pinned(), list, order) {
        Ok(()) => {
            *held += 1;
            Ok(())
        }
        Err(SampleError::Damaged { at }) => Err(SampleError::Damaged { at }),
        Err(_) => Ok(()),
    }
}
