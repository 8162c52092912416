//! The kernel map: areas keep their data on all CPUs, guards fault, policies flush as often as they say, and all comes
//! back.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_kernelmap::{Area, AreaError, AreaRequest, FlushPolicy};
use rhumb_machine::{Counted, Machine, PageSize, PhysRange, VirtAddr};
use rhumb_pagetable::{Access, CacheMode, FlushCause};

use super::Test;
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, work};
use crate::debug::audit::audit;
use crate::debug::vmstat::counts;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::{owners, probe};
use crate::layout::image;
use crate::mm::kernel_map::{self, KernelHome, alloc, free};
use crate::mm::tables;

pub const TESTS: &[Test] = &[
    Test { name: "kernel_map::areas_of_each_size_keep_their_data", run: areas_keep_their_data },
    Test { name: "kernel_map::guards_fault", run: guards_fault },
    Test { name: "kernel_map::i6_what_was_given_back_faults_on_every_cpu", run: i6_given_back_faults },
    Test { name: "kernel_map::policies_flush_as_often_as_they_say", run: policies_flush },
    Test { name: "kernel_map::rights_hold_on_every_cpu", run: rights_hold },
    Test { name: "kernel_map::a_device_is_mapped_beside_boots_mapping", run: a_device_is_mapped },
    Test { name: "kernel_map::i4_no_area_breaks_a_rule", run: i4_no_area_breaks_a_rule },
    Test { name: "kernel_map::i12_a_limit_is_an_error", run: i12_a_limit_is_an_error },
    Test { name: "kernel_map::all_cpus_at_once", run: all_cpus_at_once },
];

const PAGE: u64 = 4096;

pub(super) fn the_map() -> Result<&'static rhumb_kernelmap::KernelMap<KernelHome>, Failure> {
    kernel_map::map().ok_or_else(|| Failure::because("there is no kernel map"))
}

pub(super) fn take(request: AreaRequest) -> Result<Area, Failure> {
    alloc(owners::SELF_TEST, request).map_err(refusal)
}

/// Returns the failure that a refused area is: none where memory is short.
pub(super) fn refusal(error: AreaError) -> Failure {
    match error {
        AreaError::NoFrame(_) | AreaError::NoTable | AreaError::NoRecord(_) => Failure::skipped(error),
        _ => Failure::because(error),
    }
}

/// Runs `test`, and checks afterwards that the map is sound and nothing waits.
pub(super) fn undone(test: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let map = the_map()?;
    test()?;
    kernel_map::reclaim();
    ensure!(map.waiting() == (0, 0), "something waits although all was flushed");
    kernel_map::validate().map_err(Failure::because)
}

fn word_at(address: VirtAddr) -> *mut u64 {
    address.as_mut_ptr()
}

/// Writes a word into each page of an area.
fn fill(area: &Area, seed: u64) {
    for page in 0..area.pages() {
        let address = area.start().plus(page * PAGE);
        // SAFETY: the area is the test's own, mapped and writable.
        unsafe { word_at(address).write_volatile(seed ^ address.get()) };
    }
}

/// Counts the pages of an area that do not hold what was written.
fn wrong_pages(area: &Area, seed: u64) -> u64 {
    let addresses = (0..area.pages()).map(|page| area.start().plus(page * PAGE));
    // SAFETY: the area is mapped, and nothing writes it meanwhile.
    addresses.filter(|&at| unsafe { word_at(at).read_volatile() } != seed ^ at.get()).count() as u64
}

fn areas_keep_their_data(_: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        for pages in [1, 2, 4, 16, 100, 511, 512, 513, 1500] {
            for largest in [PageSize::Size4K, PageSize::Size1G] {
                let area = take(AreaRequest::new(pages).largest(largest).zeroed())?;
                // SAFETY: the area is the test's own, and mapped.
                let first = unsafe { word_at(area.start()).read_volatile() };
                ensure!(first == 0, "{pages} zeroed pages begin with {first:#x}");
                fill(&area, pages);
                let wrong = AtomicU64::new(0);
                work::on_every_cpu(&|| _ = wrong.fetch_add(wrong_pages(&area, pages), Relaxed));
                free(area);
                let wrong = wrong.into_inner();
                ensure!(wrong == 0, "{wrong} of {pages} pages hold other data");
            }
        }
        Ok(())
    })
}

fn guards_fault(_: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        for pages in [1, 15, 600] {
            let area = take(AreaRequest::new(pages))?;
            let range = area.range();
            for beside in [VirtAddr::new(range.start().get() - 1), range.end()] {
                ensure!(probe::read_byte(beside).is_err(), "{beside} beside {range} can be read");
            }
            free(area);
        }
        Ok(())
    })
}

fn i6_given_back_faults(_: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        for pages in [3, 700] {
            let area = take(AreaRequest::new(pages))?;
            fill(&area, 1);
            let at = area.start().plus((pages - 1) * PAGE);
            work::on_every_cpu(&|| _ = probe::read_word(at));
            free(area);
            kernel_map::reclaim();
            let readers = AtomicU64::new(0);
            work::on_every_cpu(&|| _ = readers.fetch_add(u64::from(probe::read_word(at).is_ok()), Relaxed));
            let readers = readers.into_inner();
            ensure!(readers == 0, "{} can read what was given back", Counted(readers, "CPU"));
        }
        Ok(())
    })
}

fn policies_flush(_: &'static Boot) -> Result<(), Failure> {
    const TIMES: u64 = 512;
    undone(|| {
        let map = the_map()?;
        let before = map.policy();
        for (policy, least, most) in [
            (FlushPolicy::Eager, TIMES, TIMES),
            (FlushPolicy::Batched, TIMES / 16 - 1, TIMES / 16 + 1),
            (FlushPolicy::Lazy, TIMES / 128 - 1, TIMES / 64),
        ] {
            map.set_policy(MACHINE.pin().pinned(), policy);
            let flushes = || {
                let counts = counts(FlushCause::KernelMap);
                counts.flushes + counts.shared
            };
            let at_first = flushes();
            for _ in 0..TIMES {
                free(take(AreaRequest::new(1))?);
            }
            let flushed = flushes() - at_first;
            ensure!((least..=most).contains(&flushed), "{TIMES} areas took {flushed} flushes ({policy})");
        }
        map.set_policy(MACHINE.pin().pinned(), before);
        Ok(())
    })
}

fn rights_hold(_: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        let map = the_map()?;
        for pages in [4, 1024] {
            let mut area = take(AreaRequest::new(pages))?;
            fill(&area, 2);
            let middle = pages / 2;
            // SAFETY: nothing writes the area meanwhile.
            let may_write =
                |page: u64| unsafe { probe::rewrite_byte(area.start().plus(page * PAGE)) }.is_ok();
            work::on_every_cpu(&|| _ = (may_write(0), may_write(middle)));
            let start = area.start();
            let protect = |area: &mut Area, pages, access| {
                map.protect(MACHINE.pin().pinned(), area, pages, access).map_err(Failure::because)
            };
            protect(&mut area, middle..pages, Access::ReadOnly)?;
            let wrong = AtomicU64::new(0);
            work::on_every_cpu(&|| {
                // SAFETY: nothing writes the area meanwhile.
                let may_write = |page: u64| unsafe { probe::rewrite_byte(start.plus(page * PAGE)) }.is_ok();
                let is_wrong =
                    !may_write(0) || !may_write(middle - 1) || may_write(middle) || may_write(pages - 1);
                wrong.fetch_add(u64::from(is_wrong), Relaxed);
            });
            protect(&mut area, 0..pages, Access::ReadWrite)?;
            let differ = wrong_pages(&area, 2);
            free(area);
            let wrong = wrong.into_inner();
            ensure!(wrong == 0, "{} write otherwise than they may", Counted(wrong, "CPU"));
            ensure!(differ == 0, "{differ} pages hold other data");
        }
        Ok(())
    })
}

/// Maps the page of a device once more, in the same cache mode.
fn a_device_is_mapped(boot: &'static Boot) -> Result<(), Failure> {
    let device = boot.devices.iter().find(|device| device.cache == CacheMode::UncachedStrong);
    let device = device.ok_or_else(|| Failure::skipped("no device has registers in memory"))?;
    undone(|| {
        let page = PhysRange::of_length(device.phys.start(), PAGE).unwrap_or_default();
        // SAFETY: boot maps the device in the same mode, permanently; a second mapping changes nothing for it.
        let area = unsafe { kernel_map::map_device(owners::SELF_TEST, page, CacheMode::UncachedStrong) };
        let area = area.map_err(refusal)?;
        let (ours, boots) = (tables::walk(area.start()).phys(), tables::walk(device.virt).phys());
        let range = area.range();
        free(area);
        ensure!(ours == boots, "{} is mapped to {ours:?}, not {boots:?}", device.name);
        ensure!(probe::read_byte(range.start()).is_err(), "the device's page stays mapped");
        let text = image::physical(image::text());
        // SAFETY: refused before anything is mapped.
        let in_ram = unsafe { kernel_map::map_device(owners::SELF_TEST, text, CacheMode::Uncached) };
        ensure!(in_ram.is_err(), "RAM was mapped as a device");
        Ok(())
    })
}

fn i4_no_area_breaks_a_rule(boot: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        let map = the_map()?;
        let mut area = take(AreaRequest::new(40))?;
        let large = take(AreaRequest::new(1024))?;
        map.protect(MACHINE.pin().pinned(), &mut area, 0..7, Access::ReadOnly).map_err(Failure::because)?;
        let findings = audit(boot, |_| ()).findings;
        let refused = alloc(owners::SELF_TEST, AreaRequest::new(1).access(Access::ReadExecute));
        free(large);
        free(area);
        ensure!(matches!(refused, Err(AreaError::Executable)), "an executable area was not refused");
        ensure!(findings == 0, "{findings} findings");
        Ok(())
    })
}

fn i12_a_limit_is_an_error(_: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        let map = the_map()?;
        let owner = owners::SELF_TEST.in_frames();
        map.set_limit(owner, Some(10)).map_err(Failure::because)?;
        let within = take(AreaRequest::new(10));
        let past = alloc(owners::SELF_TEST, AreaRequest::new(1));
        let within = within.map(free);
        let is_empty = map.limit(owner) == Some((0, 10));
        map.set_limit(owner, None).map_err(Failure::because)?;
        within?;
        ensure!(matches!(past, Err(AreaError::OverLimit(..))), "an 11th page was not refused");
        ensure!(is_empty, "the count of pages is not 0 afterwards");
        Ok(())
    })
}

/// Each CPU makes areas, fills them, checks them, and gives them back, under each policy.
fn all_cpus_at_once(_: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        let map = the_map()?;
        let before = map.policy();
        for policy in FlushPolicy::ALL {
            map.set_policy(MACHINE.pin().pinned(), policy);
            let (wrong, refused, short) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            work::on_every_cpu(&|| {
                let me = area::cpu_now().index() as u64 + 1;
                // An emulator takes long for interrupts of busy CPUs.
                let turns = if policy == FlushPolicy::Lazy { 200 } else { 30 };
                for turn in 0..turns {
                    let pages = if turn % 25 == 0 { 520 } else { 1 + (turn * me) % 20 };
                    match take(AreaRequest::new(pages)) {
                        Ok(area) => {
                            fill(&area, me);
                            wrong.fetch_add(wrong_pages(&area, me), Relaxed);
                            free(area);
                        }
                        Err(failure) if failure.is_skipped => _ = short.fetch_add(1, Relaxed),
                        Err(_) => _ = refused.fetch_add(1, Relaxed),
                    }
                }
            });
            let (wrong, refused) = (wrong.into_inner(), refused.into_inner());
            ensure!(wrong == 0, "{wrong} pages held other data ({policy})");
            ensure!(refused == 0, "{refused} areas were refused ({policy})");
            if short.into_inner() > 0 {
                map.set_policy(MACHINE.pin().pinned(), before);
                return Err(Failure::skipped("memory is short"));
            }
        }
        map.set_policy(MACHINE.pin().pinned(), before);
        Ok(())
    })
}
