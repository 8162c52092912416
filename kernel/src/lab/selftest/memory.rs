//! Memory for tests: taken here, and looked at once.
//!
//! A test that cannot have its memory is skipped, not failed: memory may be short because a command at the prompt holds
//! it. On a machine whose memory is free no test is skipped, which the tool's cases demand.
//!
//! Memory that a test gets without naming a node must come from the node of the CPU that asked, as long as that node
//! has such a block: each request that goes through here is looked at.

use core::fmt::Display;

use rhumb_frames::{Frame, Frames, Levels, Request, Unmapped, Zone};
use rhumb_machine::{Machine, Order, Pfn, Pinned};
use rhumb_slab::Checks;
use rhumb_unmapped::PoolError;

use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{area, work};
use crate::debug::objects::reclaim_everywhere;
use crate::lab::chain::Chain;
use crate::lab::failure::{Failure, ensure};
use crate::lab::{owners, sample};
use crate::mm::direct_map::table_supply;
use crate::mm::{self, objects, unmapped};

/// Returns the allocator, or the verdict on a test that has none.
pub fn allocator() -> Result<&'static Frames<KernelMachine>, Failure> {
    mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))
}

/// Makes all unneeded frames free: those that wait in caches of frames, and those that reclaim would find.
pub fn drain_all(frames: &Frames<KernelMachine>) {
    if let Some(slabs) = mm::objects::slabs() {
        reclaim_everywhere(slabs);
    }
    mm::unmapped::shrink();
    // The blocks that went back have left merged tables.
    table_supply::come_to_rest();
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        frames.drain(guard.pinned());
    });
}

/// Returns the verdict on a test whose memory is not to be had.
pub fn short(error: impl Display) -> Failure {
    Failure::skipped(format_args!("memory is short: {error}"))
}

/// Takes a block for a test, and sees that it comes from where it should.
pub fn take(frames: &Frames<KernelMachine>, pinned: Pinned<'_>, request: Request) -> Result<Frame, Failure> {
    let frame = frames.alloc(pinned, request).map_err(short)?;
    match must_be_near(frames, frame.pfn(), frame.order()) {
        Ok(()) => Ok(frame),
        Err(wrong) => {
            frames.free(pinned, frame);
            Err(wrong)
        }
    }
}

/// Takes a block out of the direct map for a test.
pub fn take_unmapped(order: Order) -> Result<Frame<Unmapped>, Failure> {
    unmapped::take(owners::SELF_TEST, order).map_err(|error| match error {
        PoolError::NoBlock(error) => short(error),
        error => Failure::because(error),
    })
}

/// Sees that a frame which this CPU was given lies on its node, unless that node has no block of `order` to spare.
pub fn must_be_near(frames: &Frames<KernelMachine>, pfn: Pfn, order: Order) -> Result<(), Failure> {
    let home = MACHINE.node_of(area::cpu_now());
    let found = frames.describe(pfn).map_or(home, |known| known.node);
    let has_more = || {
        // Below its high mark a node keeps back what it has, and gives each kind of frames blocks of its own.
        let has_more = |levels: Levels| levels.free > levels.high + 2 * Order::LARGE.frames();
        let whole =
            |free: &[u64]| free[usize::from(order.get().max(Order::LARGE.get()))..].iter().any(|&n| n > 0);
        frames.zones().any(|zone| {
            zone.node == home
                && zone.zone <= Zone::Normal
                && zone.zone >= Zone::Dma32
                && has_more(zone.levels)
                && whole(&zone.free_by_order)
        })
    };
    ensure!(
        found == home || !has_more(),
        "frame {pfn} is of node {found}, and CPU {} is on node {home}, which has memory",
        area::cpu_now()
    );
    Ok(())
}

/// Sees that `count` frames are free beside the reserves, for code that cannot be refused memory.
pub fn must_be_free(count: u64) -> Result<(), Failure> {
    must_have(count, Order::BASE)
}

/// Sees that `count` blocks of 2 MiB are whole at once, for code that takes them where no error comes out.
pub fn must_have_blocks(count: usize) -> Result<(), Failure> {
    must_have(count as u64, Order::LARGE)
}

/// Takes so many blocks and gives them back.
fn must_have(count: u64, order: Order) -> Result<(), Failure> {
    let frames = allocator()?;
    let guard = MACHINE.pin();
    let mut chain = Chain::default();
    let mut outcome = Ok(());
    while chain.frames() < count * order.frames() && outcome.is_ok() {
        let got = frames.alloc(guard.pinned(), Request::new(order));
        outcome = got.map(|frame| chain.push(frame.into_anywhere())).map_err(short);
    }
    let unknown = chain.free(frames, guard.pinned());
    ensure!(unknown == 0, "{unknown} blocks were not known to the allocator that gave them");
    outcome
}

/// Skips a test that must find the pool empty.
pub fn pool_must_be_empty() -> Result<(), Failure> {
    unmapped::shrink();
    let counters = unmapped::pool().map(|pool| pool.counters()).unwrap_or_default();
    if counters.frames_out > 0 || counters.blocks() > 0 {
        return Err(Failure::skipped(format_args!(
            "the pool has {} frames out: 'directmap pool give' gives back those of the prompt",
            counters.frames_out
        )));
    }
    Ok(())
}

/// Skips a test that frees all movable sample frames, because a command may hold some.
pub fn no_sample_must_be_held() -> Result<(), Failure> {
    match sample::check_all().map_err(Failure::because)? {
        tally if tally.frames > 0 => {
            Err(Failure::skipped("movable frames are held: 'sample free' gives them back"))
        }
        _ => Ok(()),
    }
}

/// Skips a test that looks at what freed objects of cache `name` leave, where checks have no magazine keep them.
pub fn must_be_unchecked(name: &str) -> Result<(), Failure> {
    if !objects::checks().of(name).is_off() {
        return Err(Failure::skipped(format_args!(
            "slab_debug checks objects of {name}: no magazine keeps them"
        )));
    }
    Ok(())
}

/// Skips a test that counts frames exactly, where a quarantine of freed objects keeps some.
pub fn no_quarantine() -> Result<(), Failure> {
    if objects::checks().of("kmalloc-64").has(Checks::QUARANTINE) {
        return Err(Failure::skipped("slab_debug=Q keeps freed objects for a while"));
    }
    Ok(())
}
