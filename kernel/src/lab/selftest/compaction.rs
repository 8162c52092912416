//! Compaction: where movable frames lie in every block, a request for a block has them moved; where they cannot be
//! moved, it is refused, and nothing else happens.

use arrayvec::ArrayVec;
use rhumb_directmap::{Change, OwnerName};
use rhumb_frames::{AllocError, Anywhere, Frame, Frames, Request, Unmapped};
use rhumb_machine::{Machine, NodeId, Order, PageSize, Pinned};
use rhumb_unmapped::PoolError;

use super::exhaustion::{Reserves, take_all};
use super::memory::{allocator, drain_all};
use super::{Test, memory};
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::{owners, sample};
use crate::mm::direct_map::{change, restore};
use crate::mm::unmapped::{give, take};
use crate::mm::{direct_map, movable, unmapped};

pub const TESTS: &[Test] = &[
    Test { name: "compaction::a_pool_block_out_of_scattered_frames", run: a_pool_block },
    Test { name: "compaction::a_large_block_out_of_scattered_frames", run: a_large_block },
    Test { name: "compaction::i12_what_cannot_be_moved_is_an_error", run: what_cannot_be_moved },
];

/// Blocks that the frames are scattered over.
const BLOCKS: usize = 8;
/// Frames of a block that stay in use: 16.
const ONE_IN: u64 = 32;

/// Runs `test` with no whole block anywhere: eight hold movable frames of known contents, in some there are a few
/// others, and the rest is in use. Afterwards all memory is free that was free before.
fn scattered(test: impl FnOnce(&Frames<KernelMachine>) -> Result<(), Failure>) -> Result<(), Failure> {
    let frames = allocator()?;
    // Of the highest zone: lower ones are guarded from the requests that follow.
    let highest = frames.zones().max_by_key(|zone| zone.zone);
    let node = highest.map_or(NodeId::FIRST, |zone| zone.node);
    memory::no_sample_must_be_held()?;
    memory::no_quarantine()?;
    fetch_records(frames)?;
    drain_all(frames);
    let before = frames.free_frames();
    let reserves = Reserves::lift(frames);
    let (rest, whole_blocks) = {
        let guard = MACHINE.pin();
        let mut blocks = ArrayVec::<Frame<Anywhere>, BLOCKS>::new();
        while !blocks.is_full()
            && let Ok(block) = frames.alloc_anywhere(guard.pinned(), Request::LARGE.bind(node))
        {
            blocks.push(block);
        }
        let rest = take_all(frames, guard.pinned(), Order::LARGE.get()..=Order::HUGE.get());
        let whole_blocks = blocks.len();
        blocks.into_iter().for_each(|block| frames.free(guard.pinned(), block));
        frames.drain(guard.pinned());
        (rest, whole_blocks)
    };
    let outcome = (|| {
        let tally = {
            let guard = MACHINE.pin();
            sample::scatter(frames, guard.pinned(), ONE_IN).map_err(memory::short)?
        };
        if whole_blocks < BLOCKS {
            return Err(memory::short(format_args!("{whole_blocks} blocks are whole, not {BLOCKS}")));
        }
        ensure!(
            tally.frames >= BLOCKS as u64 * (512 / ONE_IN),
            "only {} frames were scattered",
            tally.frames
        );
        let whole: u64 = frames.zones().map(|zone| zone.free_by_order[9..].iter().sum::<u64>()).sum();
        ensure!(whole == 0, "{whole} blocks are whole");
        test(frames)?;
        sample::check_all().map(|_| ()).map_err(Failure::because)
    })();
    let guard = MACHINE.pin();
    let freed = sample::free_all(frames, guard.pinned()).map_err(Failure::because);
    let unknown = rest.free(frames, guard.pinned());
    drop((reserves, guard));
    drain_all(frames);
    outcome?;
    freed?;
    let after = frames.free_frames();
    ensure!(unknown == 0 && after == before, "{before} frames were free before, {after} are after");
    frames.validate().map_err(Failure::because)
}

/// Records of the direct map, once fetched, stay its own: those that the tests take are fetched before frames are
/// counted.
fn fetch_records(frames: &Frames<KernelMachine>) -> Result<(), Failure> {
    let frame = {
        let guard = MACHINE.pin();
        frames.alloc(guard.pinned(), Request::FRAME).map_err(memory::short)?
    };
    let changed = change(frame, Change::ReadOnly, owners::SELF_TEST, "records for a test");
    let (frame, outcome) = match changed {
        Ok(changed) => (restore(changed), Ok(())),
        Err(refused) => (refused.frames, Err(Failure::because(refused.error))),
    };
    let guard = MACHINE.pin();
    frames.free(guard.pinned(), frame);
    outcome
}

/// One frame out of the map: a block becomes whole for it, goes out as one, and comes back.
fn a_pool_block(_: &'static Boot) -> Result<(), Failure> {
    scattered(|_| {
        let before = movable::counters();
        let frame: Frame<Unmapped> = take(owners::SELF_TEST, Order::BASE).map_err(Failure::because)?;
        let (pfn, is_high, after) = (frame.pfn(), frame.is_high(), movable::counters());
        let (holder, intact) = (direct_map::with(|map| map.why(pfn)), sample::check_all());
        give(frame).map_err(|refused| Failure::because(refused.error))?;
        unmapped::shrink();
        intact.map_err(Failure::because)?;
        let moved = after.pgmigrate_success - before.pgmigrate_success;
        ensure!((1..=480).contains(&moved), "{moved} frames were moved for one block");
        ensure!(after.compact_success > before.compact_success, "no compaction was successful: {after:?}");
        let held = holder.map_err(Failure::because)?.held;
        if is_high {
            // Past the map's end there is nothing to hold.
            ensure!(held.is_none(), "the map's journal holds {pfn}");
            return Ok(());
        }
        let held = held.ok_or_else(|| Failure::because("no owner holds the frame"))?;
        let is_block = held.frames.frames() == PageSize::Size2M.bytes() / 4096;
        ensure!(is_block && held.owner == OwnerName::of("unmapped pool"), "the frame is held as {held}");
        Ok(())
    })
}

/// The same for an ordinary request, which no pool helps.
fn a_large_block(_: &'static Boot) -> Result<(), Failure> {
    scattered(|frames| {
        for order in [9, 8, 9].into_iter().filter_map(Order::new) {
            let guard = MACHINE.pin();
            let block = ask_patiently(frames, guard.pinned(), order)?;
            frames.free(guard.pinned(), block);
            let tally = sample::check_all().map_err(Failure::because)?;
            ensure!(tally.frames > 0, "the scattered frames are gone");
        }
        Ok(())
    })
}

/// Asks for a block until there is one. A request must get one as soon as a compaction is made for it, unless another
/// CPU was giving back frames just then; requests that come after compactions for nothing are turned away without one.
fn ask_patiently(
    frames: &Frames<KernelMachine>,
    pinned: Pinned<'_>,
    order: Order,
) -> Result<Frame<Anywhere>, Failure> {
    const MOST_FAILURES: u64 = 4;
    let failed = || movable::counters().compact_fail;
    let before = failed();
    for _ in 0..=MOST_FAILURES * u64::from(movable::MOST_PUT_OFF + 1) {
        if let Ok(block) = frames.alloc_anywhere(pinned, Request::new(order)) {
            return Ok(block);
        }
        ensure!(
            failed() - before < MOST_FAILURES,
            "no block of order {order} after {MOST_FAILURES} compactions: {:?}",
            movable::counters()
        );
    }
    Err(Failure::because(format_args!(
        "no block of order {order}, and no compaction: {:?}",
        movable::counters()
    )))
}

/// Frames that stay where they are, and interrupts off: a typed error. With neither the same request is served.
fn what_cannot_be_moved(_: &'static Boot) -> Result<(), Failure> {
    const EXHAUSTED: PoolError = PoolError::NoBlock(AllocError::Exhausted(Order::LARGE));
    scattered(|frames| {
        let (before, counted) = (frames.free_frames(), movable::counters());
        let ask = || take(owners::SELF_TEST, Order::BASE).map(give);
        let held = sample::held_still(ask);
        let (failed, left) = (movable::counters(), frames.free_frames());
        let silenced = {
            let _irq_off = MACHINE.irq_off();
            ask()
        };
        let stalls = movable::counters().compact_stall - failed.compact_stall;
        let served = ask();
        unmapped::shrink();
        ensure!(matches!(held, Err(EXHAUSTED)), "with frames that stay: {held:?}");
        ensure!(failed.compact_fail > counted.compact_fail, "no compaction has failed: {failed:?}");
        ensure!(left == before, "{before} frames were free before the refusal, {left} after");
        ensure!(matches!(silenced, Err(EXHAUSTED)), "with interrupts off: {silenced:?}");
        ensure!(stalls == 0, "{stalls} compactions with interrupts off");
        ensure!(matches!(served, Ok(Ok(()))), "with frames that move: {served:?}");
        Ok(())
    })
}
