//! `stress longmap`: every CPU maps pages for long, writes, looks and unmaps, and hands mappings to other CPUs.
//!
//! Each page holds its frame's number from end to end as long as it is mapped: a CPU that sees another number has a
//! translation that is stale, or shares the frame. At the end no slot is held and all frames are free again.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arrayvec::ArrayVec;
use rhumb_frames::{Frames, Request};
use rhumb_longmap::MapError;
use rhumb_machine::{Counted, Machine};
use rhumb_monitor::Output;
use spin::mutex::SpinMutex;

use super::free_frames;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area, clock, work};
use crate::debug::random::Random;
use crate::lab::failure::Failure;
use crate::lab::owners;
use crate::mm::long_map::{self, Mapping};

/// Mappings that a CPU holds at most: with four CPUs, most of the slots are spent, and few are held.
const HELD: usize = 24;
/// Mappings on their way to another CPU.
const PASSED: usize = 16;

/// The state that all CPUs share.
struct Shared {
    passed: SpinMutex<ArrayVec<Mapping, PASSED>>,
    stop: AtomicBool,
    wrong: AtomicU64,
    refusals: AtomicU64,
}

/// Runs for `seconds` on all CPUs.
pub fn long_map(frames: &Frames<KernelMachine>, seconds: u64, out: &mut dyn Output) -> Result<(), Failure> {
    let map = long_map::long_map().ok_or_else(|| Failure::because("there are no long mappings"))?;
    let (before, counted) = (free_frames(frames), map.counters());
    let shared = Shared {
        passed: SpinMutex::new(ArrayVec::new_const()),
        stop: AtomicBool::new(false),
        wrong: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
    };
    let end = clock::now_ns() + seconds * 1_000_000_000;
    let share = |after_each: &mut dyn FnMut()| {
        let mut random = Random::new(clock::ticks() ^ (area::cpu_now().index() as u64 + 1));
        let mut held = ArrayVec::<Mapping, HELD>::new();
        while clock::now_ns() < end && !shared.stop.load(Relaxed) {
            (0..64).for_each(|_| step(frames, &shared, &mut random, &mut held));
            after_each();
        }
    };
    // This CPU alone looks at the console.
    let mut look = || {
        shared.stop.fetch_or(out.interrupted(), Relaxed);
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    shared.passed.lock().clear();
    let (after, now) = (free_frames(frames), map.counters());
    writeln!(
        out,
        "stress longmap: {}, {} in slots, {}, {} refused, {after} of {before} frames free again",
        Counted(cpu::online_count(), "CPU"),
        Counted(now.mapped - counted.mapped, "mapping"),
        Counted(now.flushes - counted.flushes, "flush"),
        shared.refusals.load(Relaxed)
    );
    let wrong = shared.wrong.into_inner();
    if wrong > 0 {
        return Err(Failure::because(format_args!("{wrong} looks found another frame's page")));
    }
    map.validate().map_err(Failure::because)?;
    if now.held != counted.held || before != after {
        return Err(Failure::because(format_args!(
            "{} slots were held and {before} frames free before, {} and {after} after",
            counted.held, now.held
        )));
    }
    Ok(())
}

/// Maps a page, looks at one, ends one, or exchanges one with another CPU.
fn step(
    frames: &Frames<KernelMachine>,
    shared: &Shared,
    random: &mut Random,
    held: &mut ArrayVec<Mapping, HELD>,
) {
    if held.is_empty() || (!held.is_full() && random.below(2) == 0) {
        let frame = {
            let guard = MACHINE.pin();
            frames.alloc_anywhere(guard.pinned(), Request::FRAME)
        };
        let Ok(frame) = frame else { return };
        match long_map::map(frame, owners::STRESS) {
            Ok(mut mapping) => {
                let word = mapping.pfn().get().to_le_bytes();
                mapping.bytes_mut().chunks_exact_mut(8).for_each(|place| place.copy_from_slice(&word));
                held.push(mapping);
            }
            Err(refused) => {
                let is_expected =
                    matches!(refused.error, MapError::OverLimit { .. } | MapError::AllTaken | MapError::Busy);
                let count = if is_expected { &shared.refusals } else { &shared.wrong };
                count.fetch_add(1, Relaxed);
                let guard = MACHINE.pin();
                frames.free(guard.pinned(), refused.frame);
            }
        }
        return;
    }
    let mut mapping = held.swap_remove(random.below(held.len() as u64) as usize);
    let word = mapping.pfn().get().to_le_bytes();
    let is_whole = mapping.bytes().chunks_exact(8).all(|place| place == word);
    shared.wrong.fetch_add(u64::from(!is_whole), Relaxed);
    match random.below(4) {
        0 => {
            let Some(mut passed) = shared.passed.try_lock() else { return drop(mapping) };
            if !passed.is_full() {
                return passed.push(mapping);
            }
            let other = random.below(PASSED as u64) as usize;
            core::mem::swap(&mut passed[other], &mut mapping);
            drop(passed);
            held.push(mapping);
        }
        1 => held.push(mapping),
        _ => drop(mapping),
    }
}
