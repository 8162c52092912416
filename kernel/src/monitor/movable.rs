//! `frames compact`, and `frames movable`: something for it to move.

use rhumb_frames::Frames;
use rhumb_machine::{Counted, Machine};
use rhumb_monitor::{Arguments, CommandError, Output};

use super::frames::drain_all;
use crate::machine::{KernelMachine, MACHINE};
use crate::mm::{movable, sample};
use crate::stress;

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

/// `frames movable [1-in-N|free|stress SECONDS]`.
pub fn movable(
    mut arguments: Arguments<'_>,
    frames: &Frames<KernelMachine>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    match arguments.optional(|words| words.word("what"))? {
        None => {}
        Some("free") => {
            arguments.end()?;
            let guard = MACHINE.pin();
            let freed = sample::free_all(frames, guard.pinned()).map_err(CommandError::failed)?;
            writeln!(
                out,
                "{} given back, each held what was written",
                Counted(freed.frames, "movable frame")
            );
            return Ok(());
        }
        Some("stress") => {
            let seconds = arguments.number_to("seconds", 86_400)?;
            arguments.end()?;
            return stress::movable(frames, seconds, out).map_err(CommandError::failed);
        }
        Some(word) => {
            let one_in = word.strip_prefix("1-in-").and_then(|number| number.parse::<u64>().ok());
            let one_in = one_in.filter(|&one_in| one_in > 0);
            let one_in = one_in.ok_or_else(|| CommandError::failed("what: not one of 1-in-N free stress"))?;
            arguments.end()?;
            drain_all(frames);
            let held = sample::check_all().map_err(CommandError::failed)?.frames;
            if held > 0 {
                return Err(CommandError::failed(format_args!(
                    "movable frames are held, {held} in all: 'frames movable free' gives them back"
                )));
            }
            let guard = MACHINE.pin();
            sample::scatter(frames, guard.pinned(), one_in).map_err(CommandError::failed)?;
        }
    }
    let tally = sample::check_all().map_err(CommandError::failed)?;
    writeln!(
        out,
        "{} in {}, each holds what was written; {} of 2 MiB whole",
        Counted(tally.frames, "movable frame"),
        Counted(tally.blocks, "piece"),
        Counted(frames.free_large_blocks(), "block")
    );
    Ok(())
}
