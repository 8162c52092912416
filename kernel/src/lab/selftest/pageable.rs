//! Pageable memory: contents survive, raw touches fault and go on, pages go out under pressure, and not where they are
//! pinned.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Request, Zone};
use rhumb_machine::{Machine, VirtAddr};
use rhumb_pageable::{PAGE_BYTES, PageError};

use super::Test;
use super::memory::{allocator, short};
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, work};
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::chain::Chain;
use crate::lab::failure::{Failure, ensure};
use crate::lab::{owners, probe};
use crate::mm::kernel_map;
use crate::mm::pageable::{self, Area, KernelPageable};

pub const TESTS: &[Test] = &[
    Test { name: "pageable::contents_go_out_and_come_in", run: contents_go_out_and_come_in },
    Test { name: "pageable::raw_touches_fault_and_go_on", run: raw_touches_fault_and_go_on },
    Test { name: "pageable::i6_no_cpu_sees_a_frame_that_has_gone", run: no_cpu_sees_a_frame_that_has_gone },
    Test { name: "pageable::pressure_pages_out", run: pressure_pages_out },
    Test { name: "pageable::no_fault_with_interrupts_off", run: no_fault_with_interrupts_off },
];

const PAGE: u64 = PAGE_BYTES as u64;

fn all() -> Result<&'static KernelPageable, Failure> {
    pageable::pageable().ok_or_else(|| Failure::because("there is no pageable memory"))
}

fn take(pages: u64) -> Result<Area, Failure> {
    let may_fault = pageable::may_fault().map_err(Failure::because)?;
    pageable::alloc(may_fault, owners::SELF_TEST, pages).map_err(short)
}

/// Skips the test unless so many frames are to be had, because a raw touch that finds none stops the kernel.
fn want_frames(count: u64) -> Result<(), Failure> {
    let (frames, guard) = (allocator()?, MACHINE.pin());
    let mut chain = Chain::default();
    let mut outcome = Ok(());
    for _ in 0..count {
        match frames.alloc(guard.pinned(), Request::FRAME) {
            Ok(frame) => chain.push(frame.into_anywhere()),
            Err(error) => {
                outcome = Err(short(error));
                break;
            }
        }
    }
    chain.free(frames, guard.pinned());
    outcome
}

fn out_of_memory(error: PageError) -> Failure {
    match error {
        PageError::NoFrame(error) => short(error),
        error => Failure::because(error),
    }
}

/// Makes an area, runs `test`, and gives the area back; as many pages are out and in memory afterwards as before.
fn with_area(pages: u64, test: impl FnOnce(&mut Area) -> Result<(), Failure>) -> Result<(), Failure> {
    let all = all()?;
    let before = all.report();
    let mut area = take(pages)?;
    let outcome = test(&mut area);
    let may_fault = pageable::may_fault().map_err(Failure::because)?;
    area.free(may_fault).map_err(|(error, _)| Failure::because(error))?;
    // Its last pages wait for a flush: tests that follow count frames.
    kernel_map::reclaim();
    outcome?;
    let after = all.report();
    ensure!(
        (before.resident, before.out) == (after.resident, after.out),
        "{} pages in memory and {} out before, {} and {} after",
        before.resident,
        before.out,
        after.resident,
        after.out
    );
    kernel_map::validate().map_err(Failure::because)
}

/// Returns the word with which a page is filled for the most part, and how many bytes of it are noise.
fn contents(page: u64) -> (u64, u64) {
    (page.wrapping_mul(0x9e37_79b9_7f4a_7c15), page * 37 % 1500)
}

/// Fills a page with contents that are its own, compressible by more or less.
fn fill(bytes: &mut [u8], page: u64) {
    let (word, noise) = contents(page);
    let mut seed = word | 1;
    for (index, place) in bytes.chunks_exact_mut(8).enumerate() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let written = if (index as u64) * 8 < noise { seed } else { word };
        place.copy_from_slice(&written.to_le_bytes());
    }
}

/// Tells whether a page has its contents.
fn has(bytes: &[u8], page: u64) -> bool {
    let (word, noise) = contents(page);
    let mut seed = word | 1;
    bytes.chunks_exact(8).enumerate().all(|(index, place)| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let written = if (index as u64) * 8 < noise { seed } else { word };
        place == written.to_le_bytes()
    })
}

fn contents_go_out_and_come_in(boot: &'static Boot) -> Result<(), Failure> {
    const PAGES: u64 = 96;
    let all = all()?;
    let may_fault = pageable::may_fault().map_err(Failure::because)?;
    with_area(PAGES, |area| {
        let mut byte = [1];
        area.read(may_fault, PAGES * PAGE - 1, &mut byte).map_err(out_of_memory)?;
        ensure!(byte == [0], "a page that was not touched holds {}", byte[0]);
        for page in 0..PAGES {
            let mut pin = area.pin_mut(may_fault, page..page + 1).map_err(out_of_memory)?;
            fill(pin.bytes_mut(), page);
        }
        let pin = area.pin(may_fault, 3..5).map_err(out_of_memory)?;
        all.evict(MACHINE.pin().pinned(), u64::MAX, Zone::High);
        let pages = all.pages_of(area.range());
        ensure!(
            pages.pinned == 2 && pages.out > PAGES / 2 && pages.resident + pages.out == PAGES,
            "{pages:?} after all could go out"
        );
        ensure!(has(&pin.bytes()[..PAGE_BYTES], 3), "a pinned page has changed");
        drop(pin);
        let findings = audit(boot, |_| ()).findings;
        ensure!(findings == 0, "the audit finds {findings} broken rules");
        let before = all.report().pswpin;
        for page in 0..PAGES {
            let pin = area.pin(may_fault, page..page + 1).map_err(out_of_memory)?;
            ensure!(has(pin.bytes(), page), "page {page} has changed");
        }
        let paged_in = all.report().pswpin - before;
        ensure!(paged_in >= pages.out, "{paged_in} pages came in, {} were out", pages.out);
        Ok(())
    })
}

/// Writes a word as compiled code does.
fn write_word(at: VirtAddr, word: u64) {
    // SAFETY: the word is in an area that this test holds; a fault is resolved.
    unsafe { at.as_mut_ptr::<u64>().write_volatile(word) };
}

/// Reads a word as compiled code does.
fn read_word(at: VirtAddr) -> u64 {
    // SAFETY: the word is in an area that this test holds; a fault is resolved.
    unsafe { at.as_ptr::<u64>().read_volatile() }
}

/// All CPUs touch all pages at the same time: each page is zeroed once, or paged in once.
fn raw_touches_fault_and_go_on(_: &'static Boot) -> Result<(), Failure> {
    const PAGES: u64 = 64;
    let all = all()?;
    with_area(PAGES, |area| {
        want_frames(2 * PAGES)?;
        let (start, before) = (area.start(), all.report());
        let place = |page: u64| start.plus(page * PAGE + area::cpu_now().index() as u64 * 8 % PAGE);
        work::on_every_cpu(&|| (0..PAGES).for_each(|page| write_word(place(page), page + 1)));
        let zeroed = all.report().pgfault - before.pgfault;
        ensure!(zeroed == PAGES, "{zeroed} pages were zeroed, of {PAGES}");
        let freed = all.evict(MACHINE.pin().pinned(), u64::MAX, Zone::High);
        let pages = all.pages_of(area.range());
        ensure!(pages.out == PAGES, "{pages:?} after {freed} frames were free");
        let wrong = AtomicU64::new(0);
        work::on_every_cpu(&|| {
            let bad = (0..PAGES).filter(|&page| read_word(place(page)) != page + 1).count();
            wrong.fetch_add(bad as u64, Relaxed);
        });
        let (wrong, paged_in) = (wrong.into_inner(), all.report().pgmajfault - before.pgmajfault);
        ensure!(wrong == 0, "{wrong} words have changed");
        ensure!(paged_in == PAGES, "{paged_in} pages were paged in, of {PAGES}");
        Ok(())
    })
}

/// All CPUs have the translation of a page that goes out; its frame is written by its next owner.
fn no_cpu_sees_a_frame_that_has_gone(_: &'static Boot) -> Result<(), Failure> {
    const ROUNDS: u64 = 50;
    let all = all()?;
    let frames = allocator()?;
    with_area(8, |area| {
        let start = area.start();
        for round in 0..ROUNDS {
            want_frames(32)?;
            (0..8).for_each(|page| write_word(start.plus(page * PAGE), round << 8 | page));
            let wrong = AtomicU64::new(0);
            let look = || {
                let bad =
                    (0..8).filter(|&page| read_word(start.plus(page * PAGE)) != round << 8 | page).count();
                wrong.fetch_add(bad as u64, Relaxed);
            };
            work::on_every_cpu(&look);
            all.evict(MACHINE.pin().pinned(), u64::MAX, Zone::High);
            let guard = MACHINE.pin();
            let mut chain = Chain::default();
            for _ in 0..8 {
                let frame = frames.alloc(guard.pinned(), Request::FRAME.zeroed()).map_err(short);
                match frame {
                    Ok(frame) => chain.push(frame.into_anywhere()),
                    Err(short) => {
                        chain.free(frames, guard.pinned());
                        return Err(short);
                    }
                }
            }
            drop(guard);
            work::on_every_cpu(&look);
            let unknown = chain.free(frames, MACHINE.pin().pinned());
            let wrong = wrong.into_inner();
            ensure!(wrong == 0 && unknown == 0, "{wrong} words were another's in round {round}");
        }
        Ok(())
    })
}

/// On a small machine, twice as much as is free, so that pages go out because memory is short; on a large one they are
/// told to.
fn pressure_pages_out(_: &'static Boot) -> Result<(), Failure> {
    const MOST: u64 = 24 << 10;
    let (all, frames) = (all()?, allocator()?);
    let may_fault = pageable::may_fault().map_err(Failure::because)?;
    let free = frames.free_frames();
    let (pages, is_large) = if 2 * free > MOST { (2048, true) } else { (2 * free, false) };
    with_area(pages, |area| {
        let before = all.report();
        for page in 0..pages {
            let mut pin = area.pin_mut(may_fault, page..page + 1).map_err(out_of_memory)?;
            fill(pin.bytes_mut(), page);
        }
        if is_large {
            all.evict(MACHINE.pin().pinned(), pages, Zone::High);
        }
        let out = all.report().pswpout - before.pswpout;
        ensure!(out > pages / 4, "{out} of {pages} pages went out, with {free} frames free before");
        let (next, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
        let area = &*area;
        work::on_every_cpu(&|| {
            let Ok(may_fault) = pageable::may_fault() else {
                wrong.fetch_add(1, Relaxed);
                return;
            };
            loop {
                let page = next.fetch_add(1, Relaxed);
                if page >= pages {
                    break;
                }
                let is_right = area.pin(may_fault, page..page + 1).is_ok_and(|pin| has(pin.bytes(), page));
                wrong.fetch_add(u64::from(!is_right), Relaxed);
            }
        });
        let wrong = wrong.into_inner();
        ensure!(wrong == 0, "{wrong} of {pages} pages have changed, or cannot be had");
        Ok(())
    })
}

/// Neither the functions nor a touch waits there.
fn no_fault_with_interrupts_off(_: &'static Boot) -> Result<(), Failure> {
    let all = all()?;
    with_area(1, |area| {
        want_frames(4)?;
        write_word(area.start(), 7);
        all.evict(MACHINE.pin().pinned(), u64::MAX, Zone::High);
        ensure!(all.pages_of(area.range()).out == 1, "the page is in memory still");
        let guard = MACHINE.irq_off();
        let (may_fault, faults) = (pageable::may_fault().err(), all.report().pgfault);
        // A probe is told that it cannot have the byte.
        let touched = probe::read_byte(area.start());
        let faults = all.report().pgfault - faults;
        drop(guard);
        ensure!(may_fault == Some(PageError::MayNotFault), "interrupts are off, and {may_fault:?}");
        ensure!(touched.is_err() && faults == 0, "the page came in with interrupts off");
        ensure!(read_word(area.start()) == 7, "the page has changed");
        Ok(())
    })
}
