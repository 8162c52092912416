//! Frames out of the direct map: no CPU reaches them but through windows, they come and go zeroed, and by whole blocks.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Anywhere, Frame, Presence, Request, Unmapped};
use rhumb_machine::{Machine, Order, PageSize, Pfn, VirtAddr};
use rhumb_unmapped::{Limits, PoolError};
use rhumb_windows::RING;

use super::memory::take_unmapped;
use super::{Test, memory};
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, work};
use crate::debug::audit::audit;
use crate::debug::directmap::shape;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners::{self, Owner};
use crate::lab::probe;
use crate::lab::sizes::order;
use crate::mm::unmapped::{KernelHome, give, set_limits, take};
use crate::mm::window_tables::KernelWindows;
use crate::mm::windows::windows;
use crate::mm::{self, direct_map, unmapped};

pub const TESTS: &[Test] = &[
    Test { name: "unmapped::windows_reach_what_the_map_does_not_show", run: windows_reach_it },
    Test { name: "unmapped::i4_a_window_breaks_no_rule", run: i4_a_window_breaks_no_rule },
    Test { name: "unmapped::i5_no_cpu_reaches_a_taken_frame", run: i5_no_cpu_reaches_a_taken_frame },
    Test { name: "unmapped::i5_what_was_given_back_is_zero", run: i5_what_was_given_back_is_zero },
    Test { name: "unmapped::i3_i6_a_block_takes_one_flush", run: i3_i6_a_block_takes_one_flush },
    Test { name: "unmapped::i3_a_gibibyte_goes_and_comes_whole", run: i3_a_gibibyte_goes_and_comes_whole },
    Test { name: "unmapped::i11_a_limit_holds", run: i11_a_limit_holds },
    Test { name: "unmapped::high_frames_through_windows", run: high_frames_through_windows },
];

const WHO: Owner = owners::SELF_TEST;

fn the_windows() -> Result<&'static KernelWindows, Failure> {
    windows().ok_or_else(|| Failure::because("there are no windows"))
}

fn the_pool() -> Result<&'static rhumb_unmapped::UnmappedPool<KernelHome>, Failure> {
    unmapped::pool().ok_or_else(|| Failure::because("there is no pool"))
}

fn write<P: Presence>(frame: &mut Frame<P>, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
    the_windows()?.copy_to(frame, offset, bytes).map_err(Failure::because)
}

fn read<P: Presence>(frame: &Frame<P>, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
    the_windows()?.copy_from(frame, offset, bytes).map_err(Failure::because)
}

fn put_back(frame: Frame<Unmapped>) -> Result<(), Failure> {
    give(frame).map_err(|refused| Failure::because(refused.error))
}

fn rounds() -> u64 {
    area::all().map(|area| area.counters.flushes_remote.get()).sum()
}

/// Runs `test` with no spare block in the pool, and finds map and books afterwards as they were.
fn undone(test: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let pool = the_pool()?;
    memory::pool_must_be_empty()?;
    let (shape, before) = (shape::of_tables(), pool.counters());
    test()?;
    unmapped::shrink();
    let (now, after) = (shape::of_tables(), pool.counters());
    ensure!(now == shape, "the map was {shape}, and is {now}");
    ensure!(after.blocks() == before.blocks(), "the pool has kept a block: {after}");
    ensure!(after.frames_out == before.frames_out, "frames are out: {after}");
    ensure!(after.lost_blocks == before.lost_blocks, "a block was lost");
    pool.validate().map_err(|error| Failure::because(format_args!("{error:?}")))?;
    the_windows()?
        .validate()
        .map_err(|(cpu, slot)| Failure::because(format_args!("window {slot} of CPU {cpu}")))?;
    direct_map::validate().map_err(Failure::because)
}

/// Copies over the boundary of two pages, many more than there are slots; each page costs two entries and no other CPU
/// hears of it. Five windows a turn, so that a slot shows another page after a wrap than before: 384 slots are no
/// multiple of five.
fn windows_reach_it(_: &'static Boot) -> Result<(), Failure> {
    const TURNS: u64 = 1024;
    undone(|| {
        let mut frame = take_unmapped(order(1))?;
        let before = the_windows()?.counters();
        let rounds_before = rounds();
        let writes = || area::all().map(|area| area.counters.page_table_writes.get()).sum::<u64>();
        let writes_before = writes();
        for turn in 0..TURNS {
            let stamp = turn.wrapping_mul(0x0101_0101_0101_0101).to_le_bytes();
            let mut found = [0; 8];
            write(&mut frame, 4092, &stamp)?;
            read(&frame, 4092, &mut found)?;
            ensure!(found == stamp, "{found:?} was read where {stamp:?} was written");
            read(&frame, 0, &mut [0])?;
        }
        let (after, flushed, written) =
            (the_windows()?.counters(), rounds() - rounds_before, writes() - writes_before);
        let opened = after.opened - before.opened;
        ensure!(opened == 5 * TURNS, "{opened} windows were opened, not {}", 5 * TURNS);
        ensure!(written == 2 * opened, "{opened} windows wrote {written} entries");
        ensure!(flushed == 0, "windows flushed other CPUs {flushed} times");
        let wraps = after.wraps - before.wraps;
        ensure!(
            wraps > 0 && wraps <= opened / RING as u64 + 1,
            "{opened} windows took {wraps} local flushes"
        );
        ensure!(write(&mut frame, 8190, &[1; 3]).is_err(), "a write past the end was not refused");
        put_back(frame)
    })
}

/// Windows on an unmapped frame and on one in the map, while the audit looks.
fn i4_a_window_breaks_no_rule(boot: &'static Boot) -> Result<(), Failure> {
    let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    undone(|| {
        let mut hidden = take_unmapped(Order::BASE)?;
        let guard = MACHINE.pin();
        let mut shown = memory::take(frames, guard.pinned(), Request::FRAME)?;
        let windows = the_windows()?;
        let look = |first: VirtAddr, second: VirtAddr| {
            let findings = audit(boot, |_| ()).findings;
            let here = crate::mm::place::Place::Window { cpu: area::cpu_now() };
            // SAFETY: the frame is zero, no code, and is not executable; a fault is caught.
            let executable = unsafe { probe::execute(first) }.is_ok();
            (findings, executable, mm::describe(second) == here)
        };
        let seen = windows.with_page(&mut hidden, 0, |first| {
            windows.with_page(&mut shown, 0, |second| look(first.address(), second.address()))
        });
        frames.free(guard.pinned(), shown);
        drop(guard);
        let (findings, executable, is_in_place) =
            seen.map_err(Failure::because)?.map_err(Failure::because)?;
        ensure!(findings == 0, "the audit finds {findings} broken rules");
        ensure!(is_in_place, "a window is not where the layout says");
        ensure!(!executable, "a window is executable");
        put_back(hidden)
    })
}

/// All CPUs use a block's pages, so that they have translations; then the pool takes it.
fn i5_no_cpu_reaches_a_taken_frame(_: &'static Boot) -> Result<(), Failure> {
    let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    undone(|| {
        let start = {
            let guard = MACHINE.pin();
            let block = memory::take(frames, guard.pinned(), Request::LARGE)?;
            let start = block.pfn();
            frames.free(guard.pinned(), block);
            start
        };
        let reached = |first: Pfn| {
            let count = AtomicU64::new(0);
            work::on_every_cpu(&|| {
                let at = |page: u64| MACHINE.direct(first.plus(page * 73 % 512).addr());
                let read = (0..8).filter(|&page| probe::read_byte(at(page)).is_ok()).count();
                count.fetch_add(read as u64, Relaxed);
            });
            count.into_inner()
        };
        reached(start);
        // The allocator gives out last what came back last, so this is the same block, most often.
        let frame = take_unmapped(Order::LARGE)?;
        let (first, is_high) = (frame.pfn(), frame.is_high());
        let reads = reached(first);
        put_back(frame)?;
        unmapped::shrink();
        let again = reached(first);
        ensure!(reads == 0, "{reads} reads of a taken block went through");
        ensure!(is_high || again > 0, "no read of a block went through that is back in the map");
        ensure!(!is_high || again == 0, "{again} reads of a block past the map's end went through");
        Ok(())
    })
}

/// A secret is gone as soon as its frame is given back: for the next taker, and in the map.
fn i5_what_was_given_back_is_zero(_: &'static Boot) -> Result<(), Failure> {
    undone(|| {
        let order = order(2);
        let mut frame = take_unmapped(order)?;
        let (pfn, is_high) = (frame.pfn(), frame.is_high());
        for page in 0..4 {
            write(&mut frame, page * 4096 + 2048, b"a secret")?;
        }
        put_back(frame)?;
        let frame = take_unmapped(order)?;
        let same = frame.pfn() == pfn;
        let mut old = 0;
        for page in 0..4 {
            let mut found = [1; 8];
            read(&frame, page * 4096 + 2048, &mut found)?;
            old += u64::from(found != [0; 8]);
        }
        put_back(frame)?;
        ensure!(same, "the pool served another frame first");
        ensure!(old == 0, "{old} pages came out of the pool as they were given back");
        unmapped::shrink();
        if is_high {
            // The map does not show it, before or after.
            return Ok(());
        }
        for page in 0..4 {
            let at = MACHINE.direct(pfn.plus(page).addr()).plus(2048);
            let word =
                probe::read_word(at).map_err(|_| Failure::because("a freed frame is not in the map"))?;
            ensure!(word == 0, "{word:#x} is left in the map");
        }
        Ok(())
    })
}

/// 512 frames, one by one: one round when they go, at most one when they come back, and nothing split afterwards.
fn i3_i6_a_block_takes_one_flush(_: &'static Boot) -> Result<(), Failure> {
    let pool = the_pool()?;
    undone(|| {
        let before = pool.counters();
        let mut held = arrayvec::ArrayVec::<Frame<Unmapped>, 512>::new();
        let mut outcome = Ok(());
        let rounds_before = rounds();
        while !held.is_full() && outcome.is_ok() {
            outcome = take_unmapped(Order::BASE).map(|frame| held.push(frame));
        }
        let (out, rounds_out) = (pool.counters(), rounds() - rounds_before);
        for frame in held {
            put_back(frame)?;
        }
        unmapped::shrink();
        outcome?;
        let back = pool.counters();
        let (blocks, flushes) = (out.blocks_taken - before.blocks_taken, out.flushes - before.flushes);
        ensure!(blocks == 1, "512 frames took {blocks} blocks");
        ensure!(flushes <= 1 && rounds_out <= 1, "512 frames took {flushes} flushes, {rounds_out} rounds");
        ensure!(back.flushes - out.flushes <= 1, "a block's return took more than one flush");
        Ok(())
    })
}

/// A block of 1 GiB in advance: one entry written, one flush; pieces come and go within it; and it comes back as one.
/// Clearing it takes seconds under emulation, so this is for machines with 1-GiB pages, of a size that tests have for
/// other reasons.
fn i3_a_gibibyte_goes_and_comes_whole(boot: &'static Boot) -> Result<(), Failure> {
    const MOST_RAM_BYTES: u64 = 8 << 30;
    let pool = the_pool()?;
    if boot.largest_page < PageSize::Size1G || boot.memory.lock().ram_bytes() > MOST_RAM_BYTES {
        return Ok(());
    }
    undone(|| {
        let (before, splits) = (pool.counters(), direct_map::counters());
        let rounds_before = rounds();
        let grown = unmapped::grow(WHO);
        match grown {
            Ok(()) => {}
            // All of RAM lies below the hole for devices, or other nodes have it.
            Err(PoolError::NoBlock(_)) => return Ok(()),
            Err(error) => return Err(Failure::because(error)),
        }
        let (grown, rounds_out) = (pool.counters(), rounds() - rounds_before);
        let block = take_unmapped(Order::LARGE)?;
        let mut frame = take_unmapped(Order::BASE)?;
        let is_near = frame.pfn().get() >> 18 == block.pfn().get() >> 18;
        let written = write(&mut frame, 0, b"in the middle of a gibibyte");
        let (within, is_high) = (pool.counters(), frame.is_high());
        let held = direct_map::with(|map| map.why(frame.pfn())).map_err(Failure::because)?.held;
        put_back(frame)?;
        put_back(block)?;
        written?;
        let kept = pool.counters();
        unmapped::shrink();
        let (after, now) = (pool.counters(), direct_map::counters());
        let blocks = grown.blocks_taken - before.blocks_taken;
        ensure!(blocks == 512, "1 GiB is {blocks} blocks");
        ensure!(
            grown.flushes - before.flushes == u64::from(!is_high) && rounds_out <= 1,
            "1 GiB took {rounds_out} rounds: {grown}"
        );
        ensure!(is_near && within.blocks() == grown.blocks(), "pieces were taken elsewhere: {within}");
        let is_one_change = held.as_ref().is_some_and(|held| held.frames.frames() == 1 << 18);
        ensure!(if is_high { held.is_none() } else { is_one_change }, "1 GiB is not one change");
        ensure!(kept.blocks() == grown.blocks(), "a piece of 1 GiB went back alone: {kept}");
        ensure!(after.blocks() == before.blocks(), "1 GiB did not go back: {after}");
        let new_splits = now.level2_splits + now.level3_splits - splits.level2_splits - splits.level3_splits;
        ensure!(new_splits == 0, "{new_splits} large pages were split");
        Ok(())
    })
}

/// At its limits an owner is refused, and may have again what it gave back.
fn i11_a_limit_holds(_: &'static Boot) -> Result<(), Failure> {
    let pool = the_pool()?;
    undone(|| {
        let first = take_unmapped(Order::BASE)?;
        let outcome = (|| {
            set_limits(pool, WHO, Limits { blocks: 1, frames: 2, ..Limits::NONE })
                .map_err(Failure::because)?;
            let second = take_unmapped(Order::BASE)?;
            let third = take(WHO, Order::BASE);
            set_limits(pool, WHO, Limits { blocks: 1, ..Limits::NONE }).map_err(Failure::because)?;
            let block = take(WHO, Order::LARGE);
            // A block of 1 GiB counts 512, whether there is one or not.
            set_limits(pool, WHO, Limits { blocks: 512, ..Limits::NONE }).map_err(Failure::because)?;
            let gibibyte = unmapped::grow(WHO);
            put_back(second)?;
            let third_refused = matches!(third, Err(PoolError::OverFrames { .. }));
            let block_refused = matches!(block, Err(PoolError::OverBlocks { .. }));
            for frame in [third, block].into_iter().flatten() {
                put_back(frame)?;
            }
            ensure!(third_refused, "a frame past the limit was not refused");
            ensure!(block_refused, "a block past the limit was not refused");
            ensure!(
                matches!(gibibyte, Err(PoolError::OverBlocks { limit: 512, .. })),
                "1 GiB past the limit: {gibibyte:?}"
            );
            Ok(())
        })();
        set_limits(pool, WHO, Limits::NONE).map_err(Failure::because)?;
        put_back(first)?;
        outcome
    })
}

/// Frames past the direct map's limit; where there are none, nothing.
fn high_frames_through_windows(boot: &'static Boot) -> Result<(), Failure> {
    if boot.direct_map.high_bytes == 0 {
        return Ok(());
    }
    let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    let limit = boot.options.direct_map_limit_bytes.unwrap_or(u64::MAX);
    let mut frame: Frame<Anywhere> = {
        let guard = MACHINE.pin();
        frames.alloc_anywhere(guard.pinned(), Request::FRAME).map_err(Failure::because)?
    };
    let at = frame.pfn().addr();
    let outcome = (|| {
        ensure!(at.get() >= limit, "the frame at {at} is below the limit");
        ensure!(probe::read_byte(MACHINE.direct(at)).is_err(), "the direct map shows {at}");
        let mut found = [0; 16];
        write(&mut frame, 1000, b"past the map's e")?;
        read(&frame, 1000, &mut found)?;
        ensure!(&found == b"past the map's e", "{found:?} was read at {at}");
        let shown =
            the_windows()?.with_page(&mut frame, 0, |window| mm::tables::walk(window.address()).phys());
        let shown = shown.map_err(Failure::because)?;
        ensure!(shown == Some(at), "the window shows {shown:?}, not {at}");
        Ok(())
    })();
    let guard = MACHINE.pin();
    frames.free(guard.pinned(), frame);
    outcome
}
