//! The two places where frames change their type: out of the direct map, and back into it. And the pieces in between.
//!
//! Each function does all that the change of type claims, so that there is no way to have the one without the other. A
//! block past the end of the direct map is out of it as it is: it is cleared through windows, and the map is not asked.

#![expect(unsafe_code, reason = "changes the type of frames whose presence it has changed")]

use core::sync::atomic::{Ordering::SeqCst, fence};
use core::task::Poll;

use rhumb_directmap::{At, Batch, Cause, Change, ChangeError, Changing, DirectMap, Reclaiming, Restoring};
use rhumb_frames::{Anywhere, Frame, Frames, Mapped, Owner, Unmapped};
use rhumb_machine::{Machine, Order, Pfn, Pinned, impossible};
use rhumb_pagetable::flush::FlushStats;

use crate::error::PoolError;
use crate::home::Home;

/// Clears a block and takes it out of the map, if it is in it: one change, one flush. Its handle lives on as its number.
/// Returns how many flushes it took: none where no CPU had anything to drop.
pub(crate) fn out<H: Home>(
    home: &H,
    pinned: Pinned<'_>,
    block: Frame<Anywhere>,
    reason: &'static str,
) -> Result<u64, (Frame<Anywhere>, PoolError)> {
    match block.try_mapped() {
        Ok(mut block) => {
            home.frames().zero(&mut block);
            out_of_map(home, pinned, block, reason)
                .map_err(|(block, error)| (block.into_anywhere(), PoolError::Change(error)))
        }
        Err(block) => past_map(home, block).map(|()| 0),
    }
}

/// Clears a block past the end of the map.
fn past_map<H: Home>(home: &H, block: Frame<Anywhere>) -> Result<(), (Frame<Anywhere>, PoolError)> {
    let pfn = block.pfn();
    // SAFETY: this is the pool.
    let mut block = match unsafe { block.try_unmapped() } {
        Ok(block) => block,
        Err(block) => return impossible!("{pfn} is in the map" => Err((block, PoolError::NotABlock { pfn }))),
    };
    let Err(error) = home.zero(&mut block) else {
        let _ = block.into_pfn();
        return Ok(());
    };
    // SAFETY: the pool has put nothing into it (I5), and has handed out no part of it.
    match unsafe { block.try_anywhere() } {
        Ok(block) => Err((block, PoolError::NotZeroed(error))),
        Err(_lost) => impossible!("{pfn} was past the map" => Ok(())),
    }
}

/// Takes a block, zeroed, out of the map.
fn out_of_map<H: Home>(
    home: &H,
    pinned: Pinned<'_>,
    block: Frame<Mapped>,
    reason: &'static str,
) -> Result<u64, (Frame<Mapped>, ChangeError)> {
    let machine = home.frames().machine();
    let at = At::now(machine, pinned);
    let (mut batch, cause) = (Batch::new(), Cause::new(home.map_owner(), reason));
    // SAFETY: the block's handle is here, and becomes one of frames that are not in the map.
    let mut work = unsafe { Changing::new(block.frames(), Change::NotPresent, cause, at) };
    let changed = loop {
        // The pool finds it again by owner and frames.
        let step =
            home.with_map(|map| work.step(map, &mut batch).map(|done| done.map(|held| map.leave(held))));
        if let Poll::Ready(changed) = step {
            break changed;
        }
        if batch.is_due() {
            // It goes on with the tables that this brings.
            let _ = flush(home, pinned, &mut batch);
        } else {
            home.relax();
        }
    };
    // Also where the change was refused after some steps, because it may have merged pages that others left.
    let flushed = flush(home, pinned, &mut batch);
    if let Err(error) = changed {
        return Err((block, error));
    }
    // SAFETY: the map does not show these frames (`change`), and every CPU that may have has dropped its translations
    // (I5, I6).
    let unmapped = unsafe { block.assume_unmapped() };
    let _ = unmapped.into_pfn();
    Ok(u64::from(!flushed.was_empty()))
}

/// Flushes on the CPUs that the home names, and gives the tables of the batch back. An empty batch costs nothing.
fn flush<H: Home>(home: &H, pinned: Pinned<'_>, batch: &mut Batch) -> FlushStats {
    if batch.is_empty() {
        return FlushStats::NOTHING;
    }
    let has_tables = batch.tables() > 0;
    let machine = home.frames().machine();
    let flushed = match home.rounds() {
        Some(rounds) => batch.flush_in(rounds, machine, pinned, home.wait_for_round()),
        None => {
            // Between the last write of an entry and the look at who runs: see `Tlb::flush_targets`.
            fence(SeqCst);
            // SAFETY: a home names all CPUs that may have cached the map.
            unsafe { batch.flush_on(machine, pinned, &home.flush_targets()) }
        }
    };
    let stats = flushed.stats();
    home.note_flush(stats);
    if has_tables {
        let mut work = Reclaiming::new(flushed);
        while home.with_map(|map| work.step(map)).is_pending() {}
    }
    stats
}

/// Why a block did not come back.
pub(crate) enum Stays {
    /// The map's lock is held; ask again.
    Busy,
    /// Neither the map nor the allocator knows it: lost.
    Unknown,
}

/// Whether to wait for the map's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Yes.
    Allowed,
    /// No: the caller may hold it.
    Forbidden,
}

/// Brings a block of `order` back into the map, where it is the map's, and frees it after the flush. Every frame of it is zero and in the
/// pool: the caller has taken it off the lists. Returns how many flushes it took.
pub(crate) fn back<H: Home>(
    home: &H,
    pinned: Pinned<'_>,
    (start, order): (Pfn, Order),
    wait: Wait,
) -> Result<u64, Stays> {
    let Some(block) = whole(home.frames(), start, order) else { return Err(Stays::Unknown) };
    // SAFETY: all of the block is zero (I5), and in the pool.
    let block = match unsafe { block.try_anywhere() } {
        Ok(high) => {
            home.frames().free(pinned, high);
            return Ok(0);
        }
        Err(block) => block,
    };
    let mut batch = Batch::new();
    let owner = home.map_owner();
    let mut restoring = None;
    let mut step = |map: &mut DirectMap<H::Tables, H::Rules>| {
        if restoring.is_none() {
            // SAFETY: `out` left it, and every frame of the block is in the pool.
            let held = unsafe { map.adopt(owner, block.frames()) };
            restoring = held.map(Restoring::new);
        }
        let Some(work) = &mut restoring else { return Poll::Ready(None) };
        work.step(map, &mut batch).map(Some)
    };
    let first = match wait {
        Wait::Allowed => Some(home.with_map(&mut step)),
        Wait::Forbidden => home.try_with_map(&mut step),
    };
    let Some(mut restored) = first else {
        let _ = block.into_pfn();
        return Err(Stays::Busy);
    };
    // The lock was free, so the caller does not hold it: from here on it may be waited for.
    while restored.is_pending() {
        restored = home.with_map(&mut step);
    }
    if restored == Poll::Ready(None) {
        return Err(Stays::Unknown);
    }
    let flushed = flush(home, pinned, &mut batch);
    // SAFETY: the map shows the block (`restore`), the tables that the restore has merged say the same (I6), and
    // all of the block is zero (I5).
    let block = unsafe { block.assume_mapped() };
    home.frames().free(pinned, block);
    Ok(u64::from(!flushed.was_empty()))
}

/// Returns the handle of a piece that the lists have marked as taken, just now.
pub(crate) fn part<M: Machine>(frames: &Frames<M>, pfn: Pfn, order: Order) -> Option<Frame<Unmapped>> {
    // A piece of a 1-GiB block is a piece of nothing smaller in the allocator's eyes.
    let block = whole_around(frames, pfn, Order::LARGE).or_else(|| whole_around(frames, pfn, Order::HUGE))?;
    // SAFETY: the lists mark each frame as taken once, so no other handle of a piece has any of these; the block's own
    // is a number again, right away.
    let part = unsafe { block.part(pfn, order) };
    let _ = block.into_pfn();
    part
}

fn whole_around<M: Machine>(frames: &Frames<M>, pfn: Pfn, order: Order) -> Option<Frame<Unmapped>> {
    whole(frames, Pfn::new(pfn.get() & !(order.frames() - 1)), order)
}

/// Returns the handle of a block that is out of the map, from its number.
fn whole<M: Machine>(frames: &Frames<M>, start: Pfn, order: Order) -> Option<Frame<Unmapped>> {
    // SAFETY: the pool holds the block since `out`, of this order, as its number.
    let block = unsafe { frames.from_pfn_anywhere(start, order) }.ok()?;
    // SAFETY: this is the pool.
    match unsafe { block.try_unmapped() } {
        Ok(high) => Some(high),
        // SAFETY: since `out` the map does not show it (I5).
        Err(block) => block.try_mapped().ok().map(|block| unsafe { block.assume_unmapped() }),
    }
}

/// Returns the order and owner to ask the allocator for, for reports that show who holds a frame.
pub(crate) const fn request(order: Order, owner: Owner) -> rhumb_frames::Request {
    rhumb_frames::Request::new(order).owner(owner)
}
