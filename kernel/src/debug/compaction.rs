//! `frames compact`.

use rhumb_frames::Frames;
use rhumb_machine::{Counted, Machine};
use rhumb_monitor::{Arguments, CommandError, Output};

use super::frames::drain_all;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::mm::movable;

/// `frames compact`.
pub fn compact(
    arguments: Arguments<'_>,
    frames: &Frames<KernelMachine>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    arguments.end()?;
    drain_all(frames);
    let done = {
        let guard = MACHINE.pin();
        movable::compact_all(guard.pinned())
    };
    writeln!(
        out,
        "compaction: {} of 2 MiB made whole, {} moved, {} not to be emptied; whole now: {}",
        Counted(done.blocks, "block"),
        Counted(done.moved, "frame"),
        Counted(done.stuck, "block"),
        frames.free_large_blocks()
    );
    Ok(())
}
