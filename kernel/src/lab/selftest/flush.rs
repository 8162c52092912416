//! Flushes: one round for many changes, CPUs that idle left alone, and no stale translation afterwards.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_directmap::Change;
use rhumb_frames::{Frame, Request};
use rhumb_machine::{CpuMask, Machine, Order, PageSize, VirtAddr};
use rhumb_pagetable::{Access, Attributes, Entry, FlushBatch, FlushCause, FlushStats, TableMemory};
use x86_64::registers::control::Cr4Flags;

use super::{Test, memory};
use crate::arch::control::Controls;
use crate::arch::features::{Features, features};
use crate::arch::requirements;
use crate::cpu::area::{Counter, Counters};
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, call, clock, tlb, work};
use crate::debug::vmstat::counts;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::{inject, owners};
use crate::mm::direct_map::{change, restore};
use crate::mm::{tables, unmapped};
use crate::{cpu, layout, mm};

pub const TESTS: &[Test] = &[
    Test { name: "flush::idle_cpus_are_left_alone", run: idle_cpus_are_left_alone },
    Test { name: "flush::tables_wake_idle_cpus", run: tables_wake_idle_cpus },
    Test { name: "flush::running_cpus_are_interrupted_once", run: running_cpus_are_interrupted_once },
    Test { name: "flush::each_is_counted_by_its_cause", run: each_is_counted_by_its_cause },
    Test { name: "flush::every_cpu_can_do_what_flushes_rely_on", run: every_cpu_can_do_what_flushes_rely_on },
];

/// A CPU that does not halt within this long has something else to do: the test says so.
const IDLE_NS: u64 = 2_000_000_000;

/// Two frames, each with its own word in it, and one page that shows one of them at a time.
struct TwoFaces {
    frames: [Option<Frame>; 2],
    page: VirtAddr,
}

/// Returns the first word of frame `face`.
fn word(face: usize) -> u64 {
    0x5eed_0000 + face as u64
}

impl TwoFaces {
    fn new() -> Result<Self, Failure> {
        let allocator =
            mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
        let guard = MACHINE.pin();
        let mut faces = Self { frames: [None, None], page: inject::tables::place() };
        for (face, place) in faces.frames.iter_mut().enumerate() {
            let frame = memory::take(allocator, guard.pinned(), Request::FRAME)?;
            let first = MACHINE.direct(frame.addr()).as_mut_ptr::<u64>();
            // SAFETY: the frame is ours, and the direct map shows it.
            unsafe { first.write_volatile(word(face)) };
            *place = Some(frame);
        }
        Ok(faces)
    }

    /// Lets the page show frame `face`; flushes nothing.
    fn show(&self, face: usize) -> Result<FlushBatch, Failure> {
        let frame = self.frames[face].as_ref().ok_or_else(|| Failure::because("the frame is gone"))?;
        self.write(Entry::leaf(frame.addr(), PageSize::Size4K, Attributes::kernel(Access::ReadOnly)))
    }

    fn write(&self, entry: Entry) -> Result<FlushBatch, Failure> {
        // SAFETY: the page is for injected faults, and shows a frame of this test or nothing.
        let mut writer = unsafe { tables::writer() };
        let walk = writer.walk(self.page);
        let last = walk.steps().last().filter(|step| step.level == 1);
        let last = last.ok_or_else(|| Failure::because(inject::tables::NoPlace::Guard))?;
        writer.write(last.table, last.index, entry);
        let mut batch = FlushBatch::new();
        batch.add_leaf(layout::range(self.page, 1), PageSize::Size4K);
        Ok(batch)
    }

    /// Reads through the page on every CPU; returns how many CPUs saw something else than `expected`.
    fn strangers(&self, expected: u64) -> u64 {
        let strangers = AtomicU64::new(0);
        work::on_every_cpu(&|| {
            // SAFETY: the page shows one of the two frames.
            if unsafe { self.page.as_ptr::<u64>().read_volatile() } != expected {
                strangers.fetch_add(1, Relaxed);
            }
        });
        strangers.load(Relaxed)
    }
}

impl Drop for TwoFaces {
    fn drop(&mut self) {
        let Ok(mut batch) = self.write(Entry::EMPTY) else { return };
        // The frames go back only after the flush, and no CPU may still be on its way to it.
        let _ticket: FlushStats = tlb::flush_everywhere(&mut batch, FlushCause::Other);
        let Some(allocator) = mm::frames::frames() else { return };
        let guard = MACHINE.pin();
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            allocator.free(guard.pinned(), frame);
        }
    }
}

fn others() -> CpuMask {
    cpu::online().without(area::cpu_now())
}

/// Waits until every other CPU idles.
fn wait_until_idle() -> Result<(), Failure> {
    let deadline = clock::now_ns() + IDLE_NS;
    for cpu in others().iter() {
        while !area::of(cpu).is_some_and(|area| area.is_lazy()) {
            ensure!(clock::now_ns() < deadline, "CPU {cpu} does not idle");
            core::hint::spin_loop();
        }
    }
    Ok(())
}

/// Call interrupts taken by, and lazy flushes of, all CPUs but this one.
fn received() -> (u64, u64) {
    others().iter().filter_map(area::of).fold((0, 0), |(calls, lazy), area| {
        (calls + area.counters.call_interrupts.get(), lazy + area.counters.flushes_lazy.get())
    })
}

/// Idle CPUs have the old translation cached, get no interrupt when it changes, and see the new one when they wake.
fn idle_cpus_are_left_alone(_: &'static Boot) -> Result<(), Failure> {
    let faces = TwoFaces::new()?;
    let _first = tlb::flush_everywhere(&mut faces.show(0)?, FlushCause::Other);
    for round in 0..20 {
        let (old, new) = (round % 2, (round + 1) % 2);
        let before = faces.strangers(word(old));
        ensure!(before == 0, "{before} CPUs did not see frame {old} in round {round}");
        wait_until_idle()?;
        let (calls, lazy) = received();
        let ticket = tlb::flush_everywhere(&mut faces.show(new)?, FlushCause::Other);
        let left = ticket.left_to_lazy() as usize;
        ensure!(left == others().len(), "{left} of {} CPUs were left alone", others().len());
        let sent = received().0 - calls;
        ensure!(ticket.interrupts() == 0 && sent == 0, "idle CPUs took {sent} interrupts");
        let stale = faces.strangers(word(new));
        ensure!(stale == 0, "{stale} CPUs saw the old frame after they woke");
        let caught_up = received().1 - lazy;
        ensure!(
            caught_up as usize == others().len(),
            "{caught_up} CPUs caught up, {} missed it",
            others().len()
        );
    }
    Ok(())
}

/// A change of tables is not left to them: they may walk on speculation.
fn tables_wake_idle_cpus(_: &'static Boot) -> Result<(), Failure> {
    wait_until_idle()?;
    let (calls, _) = received();
    let mut batch = FlushBatch::new();
    batch.add_table(inject::tables::place());
    let ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
    let interrupts = ticket.interrupts() as usize;
    ensure!(interrupts == others().len(), "{interrupts} of {} CPUs were interrupted", others().len());
    let taken = received().0 - calls;
    ensure!(taken as usize == others().len(), "{taken} interrupts were taken by {} CPUs", others().len());
    Ok(())
}

/// CPUs that run a job take one interrupt for a batch of many pages, and see the new frame at once.
fn running_cpus_are_interrupted_once(_: &'static Boot) -> Result<(), Failure> {
    static STAGE: AtomicU64 = AtomicU64::new(0);
    const READ_NEW: u64 = 1 << 32;
    let faces = TwoFaces::new()?;
    let _first = tlb::flush_everywhere(&mut faces.show(0)?, FlushCause::Other);
    let (stale, page) = (AtomicU64::new(0), faces.page);
    STAGE.store(0, Release);
    let read = || {
        // SAFETY: the page shows one of the two frames.
        unsafe { page.as_ptr::<u64>().read_volatile() }
    };
    let mut outcome = Err(Failure::because("the change was not made"));
    work::on_others(
        &|| {
            stale.fetch_add(u64::from(read() != word(0)), Relaxed);
            STAGE.fetch_add(1, Release);
            while STAGE.load(Acquire) < READ_NEW {
                core::hint::spin_loop();
            }
            stale.fetch_add(u64::from(read() != word(1)), Relaxed);
        },
        || {
            while STAGE.load(Acquire) < others().len() as u64 {
                call::serve_if_here();
            }
            let calls = received().0;
            outcome = faces.show(1).map(|mut batch| {
                for number in 1..8u64 {
                    let other = layout::range(VirtAddr::new(page.get() - number * 3 * 4096), 4096);
                    batch.add_leaf(other, PageSize::Size4K);
                }
                let ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
                (received().0 - calls, ticket)
            });
            STAGE.fetch_or(READ_NEW, Release);
        },
    );
    let (taken, ticket) = outcome?;
    ensure!(ticket.pages() == 8, "{} pages were flushed, not 8", ticket.pages());
    ensure!(
        taken as usize == others().len(),
        "{} CPUs took {taken} interrupts for one batch",
        others().len()
    );
    let stale = stale.load(Relaxed);
    ensure!(stale == 0, "{stale} reads saw the wrong frame");
    Ok(())
}

/// Flushes begun, and calls to flush received: by all CPUs' own counters, and by the sums over causes.
fn totals() -> ([u64; 2], [u64; 2]) {
    let sum =
        |counter: fn(&Counters) -> &Counter| area::all().map(|area| counter(&area.counters).get()).sum();
    let counters = [sum(|c| &c.flushes), sum(|c| &c.flushes_received)];
    let causes = FlushCause::ALL.map(counts);
    let causes = [
        causes.iter().map(|counts| counts.flushes).sum(),
        causes.iter().map(|counts| counts.interrupts).sum(),
    ];
    (counters, causes)
}

/// Flushes of every cause that there is: what the CPUs count is what the causes add up to, from boot on.
fn each_is_counted_by_its_cause(_: &'static Boot) -> Result<(), Failure> {
    let of = |cause| counts(cause).flushes;
    // Out of a 1-GiB page, a removal splits it: a flush that goes with a split is counted as a split.
    let counted = || {
        let removed = of(FlushCause::Remove) + of(FlushCause::Split);
        [of(FlushCause::Pool), of(FlushCause::Window), removed, of(FlushCause::Other)]
    };
    let before = counted();
    unmapped::shrink();
    // Each of 512 pages is cleared through a window, so that the windows wrap at the second turn.
    let mut is_high = false;
    for _ in 0..2 {
        let frame = memory::take_unmapped(Order::LARGE)?;
        is_high = frame.is_high();
        unmapped::give(frame).map_err(|refused| Failure::because(refused.error))?;
    }
    unmapped::shrink();
    let allocator = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    let block = {
        let guard = MACHINE.pin();
        memory::take(allocator, guard.pinned(), Request::LARGE)?
    };
    let removed = change(block, Change::NotPresent, owners::SELF_TEST, "a flush with a cause");
    let block = match removed {
        Ok(changed) => restore(changed),
        Err(refused) => refused.frames,
    };
    {
        let guard = MACHINE.pin();
        allocator.free(guard.pinned(), block);
    }
    let mut batch = FlushBatch::new();
    batch.add_everything();
    let _ticket = tlb::flush_everywhere(&mut batch, FlushCause::Other);
    let after = counted();
    // A block past the map's end leaves the map as it is.
    let skipped = usize::from(is_high);
    let grew = before.iter().zip(&after).skip(skipped).all(|(before, after)| after > before);
    ensure!(!is_high || before[0] == after[0], "a block past the map's end was flushed");
    ensure!(grew, "pool, windows, removals, others: {before:?} flushes before, {after:?} after");
    let (counters, causes) = totals();
    ensure!(
        counters == causes,
        "CPUs count {counters:?} flushes begun and received, the causes add up to {causes:?}"
    );
    Ok(())
}

/// A CPU that lacks an instruction of flushes, or reads entries otherwise, is left out; no CPU tags translations, since
/// `invlpg` may spare global ones then.
fn every_cpu_can_do_what_flushes_rely_on(_: &Boot) -> Result<(), Failure> {
    let boot = Features { invpcid: true, ..*features() };
    let without = Features { invpcid: false, ..boot };
    ensure!(requirements::missing(&boot, &without).is_some(), "a CPU without INVPCID is let in");
    let narrow = Features { physical_bits: boot.physical_bits - 1, ..boot };
    ensure!(requirements::missing(&boot, &narrow).is_some(), "a CPU with fewer address bits is let in");
    ensure!(requirements::missing(&narrow, &boot).is_none(), "a CPU that has more is left out");
    let tagging = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        if Controls::read().cr4 & Cr4Flags::PCID.bits() != 0 {
            tagging.fetch_add(1, Relaxed);
        }
    });
    ensure!(tagging.load(Relaxed) == 0, "a CPU tags translations with address spaces");
    Ok(())
}
