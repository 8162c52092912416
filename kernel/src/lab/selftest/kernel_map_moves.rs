//! Moves of the kernel map: CPUs count in an area while its frames are exchanged for those of another node.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_frames::Preference;
use rhumb_kernelmap::{Area, AreaError, AreaRequest, Moved};
use rhumb_machine::{CpuId, CpuMask, Machine, NodeId, PageSize, VirtAddr};
use rhumb_pagetable::Access;

use super::Test;
use super::kernel_map::{refusal, take, the_map, undone};
use crate::cpu::machine::MACHINE;
use crate::cpu::{self, area, call, work};
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::probe;
use crate::mm::kernel_map::{free, move_at};
use crate::mm::tables;

pub const TESTS: &[Test] = &[
    Test { name: "kernel_map::a_move_keeps_data_sizes_and_rights", run: a_move_keeps },
    Test { name: "kernel_map::cpus_count_while_an_area_moves", run: cpus_count },
];

const PAGE: u64 = 4096;

/// Moves for each kind of area, and the most until a write meets one.
const TURNS: usize = 24;
const MOST_TURNS: usize = 20 * TURNS;

/// CPUs that have words of their own in each page that is used.
const COUNTERS: u64 = 64;

fn request(pages: u64) -> AreaRequest {
    AreaRequest::new(pages).zeroed().near(Preference::Prefer(NodeId::FIRST)).movable()
}

/// Returns the node of this number. Where there is one node, all pages are there already, and stay as they are.
fn node(boot: &Boot, number: usize) -> NodeId {
    NodeId::new(number % boot.topology.domains.len().max(1)).unwrap_or(NodeId::FIRST)
}

fn ensure_or_skip(is_met: bool, why: &'static str) -> Result<(), Failure> {
    if is_met { Ok(()) } else { Err(Failure::skipped(why)) }
}

/// Moves an area, and checks that all of it is on the node.
fn moved(boot: &Boot, area: &Area, to: usize) -> Result<Moved, Failure> {
    let to = node(boot, to);
    let sum = move_at(area.start(), to).map_err(refusal)?;
    ensure_or_skip(sum.left == 0, "a node has no room")?;
    ensure!(sum.moved + sum.there == area.pages(), "{sum:?} of {} pages", area.pages());
    for page in 0..area.pages() {
        let phys = tables::walk(area.start().plus(page * PAGE)).phys();
        let on = phys.map(|phys| boot.topology.node_of(phys));
        ensure!(on == Some(to), "page {page} is on node {on:?}, not {to}");
    }
    Ok(sum)
}

fn a_move_keeps(boot: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        for (pages, largest) in [(5, PageSize::Size4K), (600, PageSize::Size4K), (1100, PageSize::Size1G)] {
            let mut area = take(request(pages).largest(largest))?;
            let result = keeps(boot, &mut area);
            free(area);
            result?;
        }
        Ok(())
    })
}

fn keeps(boot: &'static Boot, area: &mut Area) -> Result<(), Failure> {
    let map = the_map()?;
    let (start, pages) = (area.start(), area.pages());
    let address = |page: u64| start.plus(page * PAGE + page % 512 * 8);
    for page in 0..pages {
        // SAFETY: the area is the test's own, mapped and writable.
        unsafe { address(page).as_mut_ptr::<u64>().write_volatile(!page) };
    }
    let middle = pages / 2;
    let guard = MACHINE.pin();
    map.protect(guard.pinned(), area, middle..pages, Access::ReadOnly).map_err(refusal)?;
    drop(guard);
    for to in [1, 0, 1] {
        moved(boot, area, to)?;
        let wrong = AtomicU64::new(0);
        work::on_every_cpu(&|| {
            // SAFETY: the area is mapped, and nothing writes it meanwhile but a byte by itself.
            let is_wrong = |&page: &u64| unsafe { address(page).as_ptr::<u64>().read_volatile() } != !page;
            wrong.fetch_add((0..pages).filter(is_wrong).count() as u64, Relaxed);
            // SAFETY: as above.
            let may_write = |page: u64| unsafe { probe::rewrite_byte(address(page)) }.is_ok();
            let is_as_it_was =
                may_write(0) && may_write(middle - 1) && !may_write(middle) && !may_write(pages - 1);
            wrong.fetch_add(u64::from(!is_as_it_was), Relaxed);
        });
        let wrong = wrong.into_inner();
        ensure!(wrong == 0, "{wrong} pages hold other data, or have other rights");
    }
    let findings = audit(boot, |_| ()).findings;
    ensure!(findings == 0, "{findings} findings");
    let guard = MACHINE.pin();
    let past = map.move_at(guard.pinned(), area.range().end(), NodeId::FIRST);
    ensure!(matches!(past, Err(AreaError::NoArea(_))), "the guard moves: {past:?}");
    map.protect(guard.pinned(), area, 0..pages, Access::ReadWrite).map_err(refusal)
}

fn cpus_count(boot: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        for (pages, largest) in [(24, PageSize::Size4K), (512, PageSize::Size1G)] {
            let area = take(request(pages).largest(largest))?;
            let result = count_in(boot, &area);
            free(area);
            result?;
        }
        Ok(())
    })
}

/// The words of a page: one for each CPU, and one for all.
fn word(page: VirtAddr, nth: u64) -> &'static AtomicU64 {
    // SAFETY: the word is in the test's area, which is mapped until the test has ended, and is reached by atomics alone.
    unsafe { AtomicU64::from_ptr(page.plus(nth * 8).as_mut_ptr()) }
}

fn count_in(boot: &'static Boot, area: &Area) -> Result<(), Failure> {
    let (start, pages) = (area.start(), area.pages());
    // A few pages, far from each other, so that CPUs meet there.
    let places: [VirtAddr; 4] = [0, 1, pages / 2, pages - 1].map(|page| start.plus(page * PAGE));
    let (is_over, added, lost, back) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let add_for_all = |turn: u64| {
        word(places[(turn % 4) as usize], COUNTERS).fetch_add(1, Relaxed);
        added.fetch_add(1, Relaxed);
    };
    let count = || {
        let me = area::cpu_now().index() as u64 % COUNTERS;
        let (mut own, mut seen, mut turn) = ([0; 4], [0; 4], 0);
        while !is_over.load(Relaxed) {
            turn += 1;
            for (nth, &place) in places.iter().enumerate() {
                let step = || {
                    // The CPU's own word: a load and a store.
                    lost.fetch_add(u64::from(word(place, me).load(Relaxed) != own[nth]), Relaxed);
                    word(place, me).store(own[nth] + 1, Relaxed);
                };
                // Interrupts are off, or on.
                if turn % 3 == 0 {
                    let _off = MACHINE.irq_off();
                    step();
                } else {
                    step();
                }
                own[nth] += 1;
                let all = word(place, COUNTERS).load(Relaxed);
                back.fetch_add(u64::from(all < seen[nth]), Relaxed);
                seen[nth] = all;
            }
            add_for_all(turn);
            if turn % 16 == 0 {
                // The CPU that moves the area writes it, too, wherever the call finds it.
                let guard = MACHINE.pin();
                let mover = CpuMask::only(CpuId::BOOT);
                call::run_on(guard.pinned(), &mover, &|| add_for_all(turn / 16), || ());
            }
        }
    };
    let mut result = Ok(());
    let before = the_map()?.report().writes_to_moving;
    // One CPU writes between moves alone, and on one node nothing moves.
    let is_alone = cpu::online().len() == 1 || boot.topology.domains.len() == 1;
    work::on_others(&count, || {
        // A write may meet none of them where the CPUs run in turn: then some more.
        let is_met = || the_map().is_ok_and(|map| map.report().writes_to_moving > before);
        for turn in 0..MOST_TURNS {
            if turn >= TURNS && (is_met() || is_alone) {
                break;
            }
            result = moved(boot, area, 1 - turn % 2).map(drop);
            if result.is_err() {
                break;
            }
        }
        is_over.store(true, Relaxed);
    });
    result?;
    let sum: u64 = places.iter().map(|&place| word(place, COUNTERS).load(Relaxed)).sum();
    let (added, lost, back) = (added.into_inner(), lost.into_inner(), back.into_inner());
    ensure!(lost == 0, "{lost} words of a CPU were not what it had written");
    ensure!(back == 0, "{back} words went back");
    ensure!(sum == added, "{sum} of {added} writes are there");
    let met = the_map()?.report().writes_to_moving - before;
    ensure!(is_alone || met > 0, "no write met any of {MOST_TURNS} moves");
    Ok(())
}
