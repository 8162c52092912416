//! `stress pageable`: every CPU fills, reads and frees areas, all together larger than memory, where memory is small.
//!
//! Each CPU has areas of its own, which it reads and writes by pins and by raw touches, and reads one that all share. A
//! page says from end to end which it is, and how often it was written; a CPU that finds another number has contents that
//! are stale, lost, or another page's.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_frames::Frames;
use rhumb_machine::{Counted, VirtAddr};
use rhumb_monitor::Output;
use rhumb_pageable::{MayFault, PAGE_BYTES, PageError};

use super::free_frames;
use crate::cpu::machine::KernelMachine;
use crate::cpu::{self, area, clock, work};
use crate::debug::random::Random;
use crate::lab::failure::Failure;
use crate::lab::owners;
use crate::mm::pageable::{self, Area};

const PAGE: u64 = PAGE_BYTES as u64;
/// All areas together have at most so many pages: 512 MiB.
const MOST_PAGES: u64 = 128 << 10;
/// The most pages of a CPU's own area.
const WORDS: usize = 4096;

/// The state that all CPUs share.
struct Shared {
    area: Area,
    stop: AtomicBool,
    wrong: AtomicU64,
    steps: AtomicU64,
    refusals: AtomicU64,
}

/// Runs for `seconds` on all CPUs.
pub fn pageable(frames: &Frames<KernelMachine>, seconds: u64, out: &mut dyn Output) -> Result<(), Failure> {
    let all = pageable::pageable().ok_or_else(|| Failure::because("there is no pageable memory"))?;
    let may_fault = pageable::may_fault().map_err(Failure::because)?;
    let before = free_frames(frames);
    let cpus = cpu::online_count() as u64;
    // Twice as much as is free: a half for the shared area, a half for those of the CPUs.
    let pages = (2 * before).min(MOST_PAGES);
    let own = (pages / 2 / cpus).clamp(1, WORDS as u64);
    let mut area =
        pageable::alloc(may_fault, owners::STRESS, (pages / 2).max(1)).map_err(Failure::because)?;
    let counted = all.report();
    let filled = (0..area.pages()).try_for_each(|page| {
        area.pin_mut(may_fault, page..page + 1).map(|mut pin| fill(pin.bytes_mut(), page, 0))
    });
    let shared = Shared {
        area,
        stop: AtomicBool::new(filled.is_err()),
        wrong: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
    };
    let end = clock::now_ns() + seconds * 1_000_000_000;
    let share = |after_each: &mut dyn FnMut()| {
        if on_this_cpu(&shared, own, end, after_each).is_err() {
            shared.refusals.fetch_add(1, Relaxed);
        }
    };
    // This CPU alone looks at the console.
    let mut look = || {
        shared.stop.fetch_or(out.interrupted(), Relaxed);
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    let Shared { area, wrong, steps, refusals, .. } = shared;
    area.free(may_fault).map_err(|(error, _)| Failure::because(error))?;
    filled.map_err(Failure::because)?;
    let (after, now) = (free_frames(frames), all.report());
    writeln!(
        out,
        "stress pageable: {}, {pages} pages with {before} frames, {} steps, {} zeroed, {} paged in, {} out, {} refused",
        Counted(cpus as usize, "CPU"),
        steps.into_inner(),
        now.pgfault - counted.pgfault - (now.pgmajfault - counted.pgmajfault),
        now.pswpin - counted.pswpin,
        now.pswpout - counted.pswpout,
        refusals.into_inner()
    );
    let wrong = wrong.into_inner();
    if wrong > 0 {
        return Err(Failure::because(format_args!("{wrong} pages had other contents than they were given")));
    }
    if now.resident != counted.resident || now.out != counted.out || after < before {
        return Err(Failure::because(format_args!(
            "{} pages are in memory, {} out; {before} frames were free before, {after} after",
            now.resident, now.out
        )));
    }
    Ok(())
}

/// Does this CPU's share, with an area of its own.
fn on_this_cpu(shared: &Shared, pages: u64, end: u64, after_each: &mut dyn FnMut()) -> Result<(), PageError> {
    let may_fault = pageable::may_fault()?;
    let mut written = alloc::vec::Vec::new();
    if written.try_reserve_exact(pages as usize).is_err() {
        return Err(PageError::OutOfArea);
    }
    written.resize(pages as usize, 0u32);
    let Ok(mut own) = pageable::alloc(may_fault, owners::STRESS, pages) else {
        return Err(PageError::OutOfArea);
    };
    let mut random = Random::new(clock::ticks() ^ (area::cpu_now().index() as u64 + 1));
    while clock::now_ns() < end && !shared.stop.load(Relaxed) {
        for _ in 0..32 {
            match step(shared, &mut own, &mut written, &mut random, may_fault) {
                Ok(true) => {}
                Ok(false) => _ = shared.wrong.fetch_add(1, Relaxed),
                Err(PageError::NoFrame(_)) => _ = shared.refusals.fetch_add(1, Relaxed),
                Err(_) => _ = shared.wrong.fetch_add(1, Relaxed),
            }
        }
        shared.steps.fetch_add(32, Relaxed);
        after_each();
    }
    own.free(may_fault).map_err(|(error, _)| error)
}

/// Reads a page of the shared area, or reads and writes one of this CPU's, and tells whether the contents were right.
fn step(
    shared: &Shared,
    own: &mut Area,
    written: &mut [u32],
    random: &mut Random,
    may_fault: MayFault<'_>,
) -> Result<bool, PageError> {
    let page = random.below(shared.area.pages());
    let pin = shared.area.pin(may_fault, page..page + 1)?;
    let is_right = has(pin.bytes(), page, 0);
    drop(pin);
    let page = random.below(own.pages());
    let times = &mut written[page as usize];
    if random.below(2) == 0 {
        // As compiled code does: its first word, which is zero before the page is written.
        let at = VirtAddr::new(own.start().get() + page * PAGE);
        // SAFETY: the word is in this CPU's area; a fault is resolved.
        let word = unsafe { at.as_ptr::<u64>().read_volatile() };
        let expected = if *times == 0 { 0 } else { word_of(page, *times) };
        return Ok(is_right && word == expected);
    }
    let mut pin = own.pin_mut(may_fault, page..page + 1)?;
    let was_right = *times == 0 || has(pin.bytes(), page, *times);
    *times += 1;
    fill(pin.bytes_mut(), page, *times);
    Ok(is_right && was_right)
}

const fn word_of(page: u64, times: u32) -> u64 {
    (page + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ times as u64
}

/// Fills a page with its own word, and with noise that makes it harder to compress.
fn fill(bytes: &mut [u8], page: u64, times: u32) {
    let (word, noise) = (word_of(page, times), page as usize * 53 % 900);
    for (index, place) in bytes.chunks_exact_mut(8).enumerate() {
        place.copy_from_slice(&expected(word, index, noise).to_le_bytes());
    }
}

fn has(bytes: &[u8], page: u64, times: u32) -> bool {
    let (word, noise) = (word_of(page, times), page as usize * 53 % 900);
    bytes
        .chunks_exact(8)
        .enumerate()
        .all(|(index, place)| place == expected(word, index, noise).to_le_bytes())
}

/// Returns a word of a page: the first is plain.
const fn expected(word: u64, index: usize, noise: usize) -> u64 {
    if index == 0 || index * 8 >= noise {
        word
    } else {
        let mixed = word.wrapping_add(index as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }
}
