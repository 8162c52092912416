//! `directmap pool`: what is out of the map through the pool, and frames taken by hand.

use arrayvec::ArrayVec;
use rhumb_frames::{Frame, Unmapped};
use rhumb_machine::{Counted, Order, impossible};
use rhumb_monitor::{Arguments, CommandError, Output};

use crate::cpu::lock::IrqMutex;
use crate::mm::{owners, unmapped, windows};

/// Frames that a person can hold.
const MOST: usize = 2048;

/// The frames that were taken by hand.
static TAKEN: IrqMutex<ArrayVec<Frame<Unmapped>, MOST>> = IrqMutex::new(ArrayVec::new_const());

/// `directmap pool [grow 1G|take N|give|shrink]`.
pub fn run(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    match arguments.optional(|words| words.one_of("what", &["grow", "take", "give", "shrink"]))? {
        Some("grow") => {
            arguments.one_of("size", &["1G"])?;
            arguments.end()?;
            unmapped::grow(owners::MONITOR).map_err(CommandError::failed)?;
        }
        Some("shrink") => {
            arguments.end()?;
            unmapped::shrink();
        }
        Some("take") => {
            let count = arguments.number_to("frames", MOST as u64)?;
            arguments.end()?;
            take(count)?;
        }
        Some(_) => {
            arguments.end()?;
            give()?;
        }
        None => arguments.end()?,
    }
    show(out)
}

fn take(count: u64) -> Result<(), CommandError> {
    for _ in 0..count {
        if TAKEN.lock().is_full() {
            return Err(CommandError::failed(format_args!("{MOST} frames are held by hand already")));
        }
        let frame = unmapped::take(owners::MONITOR, Order::BASE).map_err(CommandError::failed)?;
        if let Err(full) = TAKEN.lock().try_push(frame) {
            impossible!("there was room, and one person types at a time");
            let _ = unmapped::give(full.element());
        }
    }
    Ok(())
}

fn give() -> Result<(), CommandError> {
    loop {
        // Its lock is released before the frame is cleared.
        let Some(frame) = TAKEN.lock().pop() else { break };
        if let Err(refused) = unmapped::give(frame) {
            let error = CommandError::failed(&refused);
            if TAKEN.lock().try_push(refused.frame).is_err() {
                impossible!("the frame has just come from there");
            }
            return Err(error);
        }
    }
    unmapped::shrink();
    Ok(())
}

/// Prints how much is out of the map, and for which owner.
pub fn show(out: &mut dyn Output) -> Result<(), CommandError> {
    let (Some(pool), Some(windows)) = (unmapped::pool(), windows::windows()) else {
        return Err(CommandError::failed("there is no pool"));
    };
    writeln!(out, "pool: {}", pool.counters());
    for owner in owners::all() {
        if let Some(account) = pool.account(owner.in_frames()) {
            let (name, blocks, frames) = (owner.name(), account.blocks(), account.frames());
            writeln!(out, "  {name}: {}, {}", Counted(frames, "frame"), Counted(blocks, "block"));
        }
    }
    let counters = windows.counters();
    writeln!(
        out,
        "windows: {} opened, {} of all, {} open",
        counters.opened,
        Counted(counters.wraps, "local flush"),
        counters.open
    );
    pool.validate().map_err(|error| CommandError::failed(format_args!("the pool's books: {error:?}")))
}
