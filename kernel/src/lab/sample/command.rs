//! The command `sample`.

use rhumb_machine::{Counted, Machine};
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use super::{check_all, free_all, scatter};
use crate::cpu::machine::MACHINE;
use crate::debug::Kernel;
use crate::debug::frames::{allocator, drain_all};

pub const COMMAND: Command<Kernel> = Command {
    name: "sample",
    usage: "[1-in-N|free]",
    summary: "movable frames with known contents, for compaction to move",
    help: "'sample 1-in-N' takes all free memory and keeps one frame in N, movable and with known contents: no block is\n\
           whole then. 'sample' reads them all, 'sample free' gives them back. Also: 'frames movable'.",
    complete: Complete::Words(&["free"]),
    run,
};

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let frames = allocator()?;
    match arguments.optional(|words| words.word("what"))? {
        None => {}
        Some("free") => {
            arguments.end()?;
            let guard = MACHINE.pin();
            let freed = free_all(frames, guard.pinned()).map_err(CommandError::failed)?;
            writeln!(
                out,
                "{} given back, each held what was written",
                Counted(freed.frames, "movable frame")
            );
            return Ok(());
        }
        Some(word) => {
            let one_in = word.strip_prefix("1-in-").and_then(|number| number.parse::<u64>().ok());
            let one_in = one_in.filter(|&one_in| one_in > 0);
            let one_in = one_in.ok_or_else(|| CommandError::failed("what: not one of 1-in-N free"))?;
            arguments.end()?;
            drain_all(frames);
            let held = check_all().map_err(CommandError::failed)?.frames;
            if held > 0 {
                return Err(CommandError::failed(format_args!(
                    "movable frames are held, {held} in all: 'sample free' gives them back"
                )));
            }
            let guard = MACHINE.pin();
            scatter(frames, guard.pinned(), one_in).map_err(CommandError::failed)?;
        }
    }
    let tally = check_all().map_err(CommandError::failed)?;
    writeln!(
        out,
        "{} in {}, each holds what was written; {} of 2 MiB whole",
        Counted(tally.frames, "movable frame"),
        Counted(tally.blocks, "piece"),
        Counted(frames.free_large_blocks(), "block")
    );
    Ok(())
}
