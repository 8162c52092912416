//! An exchange: one visit to a pool's lock that sees to the blocks of orders 1 to 9, and not only to the order whose
//! magazine is empty or full.
//!
//! ```text
//!   orders 1 to 5   alloc <- magazine, newest first       <- pool    free -> the same magazine -> pool, oldest first
//!   orders 6 to 8   alloc <- magazine, else the queue     <- pool    free -> queue             -> pool
//!   order 9         alloc <- magazine, newest first       <- pool    free -> the same magazine -> pool, oldest first
//! ```
//!
//! A short run is used again while it is warm. A freed long run goes home, and the pool chooses the next one, so that
//! blocks become whole as they would without a cache; it is used again only where its magazine is empty. An exchange
//! gives back all long runs that are on their way home, and half of each other magazine that is more than two
//! thirds full. It fills each magazine of long runs that is half empty, and tops up to half each magazine of short
//! runs that has a third or less. So a miss of one order saves the misses that other orders would have had soon.
//! Magazines of orders that the CPU has not asked for since the last tick are not filled.
//!
//! Runs for later come from blocks that are already partial and were opened for such orders. For a request that may
//! never come, no whole block is made partial, and no block of another kind is stolen.
//!
//! Bounded (I13): at most 24 long runs, 120 short ones, and four blocks of order 9 go back; the runs for later come
//! from at most [`BLOCKS`] blocks for each order, and two blocks of order 9.

use rhumb_machine::Order;

use crate::cache::{CpuCache, Ring, is_long};
use crate::pool::PoolGuard;
use crate::request::Mobility;

/// Blocks from which an exchange takes runs for later, for each order at most.
const BLOCKS: usize = 8;

/// Returns the orders, longest first, so that short runs come from the pieces that long runs leave.
fn orders() -> impl Iterator<Item = Order> {
    (1..=Order::LARGE.get()).rev().filter_map(Order::new)
}

/// Gives runs back, calls `serve` for the request at hand, and takes runs for later. Where the pool cannot serve the
/// request, nothing is taken for later.
pub(crate) fn exchange<T>(
    held: &mut PoolGuard<'_>,
    cache: &CpuCache,
    kind: Mobility,
    serve: impl FnOnce(&mut PoolGuard<'_>) -> Option<T>,
) -> Option<T> {
    give_runs(held, cache, kind);
    let served = serve(held)?;
    take_runs(held, cache, kind);
    Some(served)
}

/// Gives blocks back to the pool: all long runs on their way home, and half of each other magazine of `kind` that is
/// more than two thirds full.
fn give_runs(held: &mut PoolGuard<'_>, cache: &CpuCache, kind: Mobility) {
    give_oldest(held, &cache.away_runs, 0);
    for order in orders().filter(|order| !is_long(order.get())) {
        let Some(ring) = cache.runs(order, kind as usize) else { continue };
        let limit = cache.run_limit(order.get()).max(0) as u32;
        if ring.len() > limit - limit / 3 {
            // Half of the larger number, so that a limit that has fallen, even to 0, sends half of a magazine home in
            // one visit and no more.
            give_oldest(held, ring, limit.max(ring.len()) / 2);
        }
    }
}

/// Gives the oldest runs back until `left` are left, or the oldest is of another pool.
fn give_oldest<const SLOTS: usize>(held: &mut PoolGuard<'_>, ring: &Ring<SLOTS>, left: u32) {
    while ring.len() > left
        && let Some(raw) = ring.oldest().filter(|raw| held.pool.span.contains(raw.pfn()))
    {
        held.give_block(raw.pfn(), raw.order());
        ring.forget_oldest(1);
    }
}

/// Fills the magazines of `kind` that run low and whose orders the CPU asks for, and leaves the frames below the cache
/// floor in the pool.
fn take_runs(held: &mut PoolGuard<'_>, cache: &CpuCache, kind: Mobility) {
    let (tag, floor) = (held.pool.tag, held.pool.cache_floor());
    for order in orders().filter(|&order| cache.has_missed(order, kind)) {
        let Some(ring) = cache.runs(order, kind as usize) else { continue };
        let limit = cache.run_limit(order.get()).max(0) as u32;
        let (least, most) = match order {
            Order::LARGE => (limit / 8, limit / 4),
            order if is_long(order.get()) => (limit / 2, limit),
            _ => (limit / 3, limit / 2),
        };
        if ring.len() > least {
            continue;
        }
        if order == Order::LARGE {
            while ring.len() < most
                && let Some(pfn) = held.take_blocks(order, kind, floor)
            {
                ring.put(tag.at(pfn, order, kind));
            }
            continue;
        }
        let mut blocks = 0;
        while ring.len() < most && blocks < BLOCKS {
            let wanted = u64::from(most - ring.len());
            let put = |pfn| ring.put(tag.at(pfn, order, kind));
            if held.take_spare_runs(order, kind, floor, wanted, put).is_none() {
                break;
            }
            blocks += 1;
        }
    }
}
