//! `directmap set` and `restore`: changes by hand, of frames that are free.

use rhumb_directmap::{Change, ChangeError, ParseChangeError, STEP_ENTRIES, frames_at};
use rhumb_frames::{AllocError, FrameRange, NothingMoves};
use rhumb_machine::{Counted, Machine, Pfn, PfnRange, PhysAddr, impossible};
use rhumb_monitor::arguments::hexadecimal;
use rhumb_monitor::{Arguments, CommandError, Human, Output};

use crate::cpu::machine::MACHINE;
use crate::debug::frames::{allocator, drain_all};
use crate::mm::direct_map::{Changed, adopt, alter, change, first_left, leave};
use crate::mm::owners::{self, Owner};
use crate::mm::{self, direct_map};

/// `directmap set RANGE ATTR`.
pub fn set(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let frames = range(&mut arguments)?;
    let word = arguments.word("attribute")?;
    let wanted: Change = word.parse().map_err(|error: ParseChangeError| {
        CommandError::failed(format_args!("attribute '{word}': {error}"))
    })?;
    arguments.end()?;
    // SAFETY: what the monitor leaves it does not use.
    let changed = match unsafe { adopt(owners::MONITOR, frames) } {
        Some(mut changed) => {
            if let Err(error) = alter(&mut changed, wanted) {
                leave(changed);
                return Err(CommandError::failed(error));
            }
            changed
        }
        None => begin(frames, wanted)?,
    };
    if changed.is_in_force() {
        leave(changed);
        let bytes = Human(frames.addrs().bytes());
        writeln!(out, "{bytes} at {}: {wanted}", frames.start().addr());
    } else {
        give_back(direct_map::restore(changed));
        writeln!(out, "these frames are as boot made them");
    }
    Ok(())
}

/// Takes the frames and changes them. A refusal by the map is reported first, because it names the rule.
fn begin(frames: PfnRange, wanted: Change) -> Result<Changed<FrameRange>, CommandError> {
    let owner = owners::MONITOR.in_map().ok_or_else(|| CommandError::failed(ChangeError::UnknownOwner))?;
    // A part at a time, because each look is made with the map's lock held.
    let mut rest = frames;
    while !rest.is_empty() {
        let end = rest.end().min(rest.start().plus(STEP_ENTRIES));
        let part = PfnRange::below(end).intersection(rest);
        direct_map::with(|map| map.needs(owner, part, wanted))
            .and_then(|needs| needs)
            .map_err(CommandError::failed)?;
        rest = PfnRange::new(end, rest.end())
            .unwrap_or_else(|| impossible!("a part ends behind the rest" => PfnRange::default()));
    }
    drain_all(allocator()?);
    let taken = take(frames).map_err(|error| match error {
        AllocError::Unmovable(pfn) => {
            CommandError::failed(format_args!("frame {pfn} is in use: see 'frames {pfn}'"))
        }
        other => CommandError::failed(other),
    })?;
    change(taken, wanted, owners::MONITOR, "set by hand").map_err(|refused| {
        give_back(refused.frames);
        CommandError::failed(refused.error)
    })
}

/// Takes these very frames, if all of them are free.
pub fn take(frames: PfnRange) -> Result<FrameRange, AllocError> {
    let Some(allocator) = mm::frames::frames() else { return Err(AllocError::BadRange(frames)) };
    let guard = MACHINE.pin();
    allocator.alloc_range(guard.pinned(), frames, &NothingMoves)
}

/// `directmap restore RANGE|all`.
pub fn restore(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let within = if arguments.peek() == Some("all") {
        let _ = arguments.word("range")?;
        direct_map::everywhere()
    } else {
        range(&mut arguments)?
    };
    arguments.end()?;
    let (ranges, bytes) = restore_all(owners::MONITOR, within);
    // A range is given back as it was set, whole.
    let reaches_out = |left: &PfnRange| !within.covers(*left);
    if let Some(left) = first_left(owners::MONITOR, within).filter(reaches_out) {
        let (start, end) = (left.addrs().start(), left.addrs().end());
        return Err(CommandError::failed(format_args!(
            "{} restored; {start}..{end} was set as one range and reaches out of this one",
            Counted(ranges, "range")
        )));
    }
    if ranges == 0 {
        return Err(CommandError::failed("nothing in there was set by hand"));
    }
    writeln!(out, "{} restored, {}", Counted(ranges, "range"), Human(bytes));
    Ok(())
}

/// Restores all that `owner` left and that lies within `within`; returns how many ranges, and their bytes. `owner` is a
/// command of this monitor: [`owners::MONITOR`] or [`owners::AGE`].
pub fn restore_all(owner: Owner, within: PfnRange) -> (u64, u64) {
    let (mut ranges, mut bytes) = (0, 0);
    let mut next = within.start();
    while let Some(left) =
        PfnRange::new(next, within.end()).and_then(|rest| direct_map::first_left(owner, rest))
    {
        next = left.end();
        if !within.covers(left) || !matches!(owner, owners::MONITOR | owners::AGE) {
            continue;
        }
        // SAFETY: what these commands leave they do not use.
        if let Some(changed) = unsafe { adopt(owner, left) } {
            ranges += 1;
            bytes += left.addrs().bytes();
            give_back(direct_map::restore(changed));
        }
    }
    (ranges, bytes)
}

pub fn give_back(frames: FrameRange) {
    let Ok(allocator) = allocator() else {
        return impossible!("the frames came from the allocator: it is there");
    };
    let guard = MACHINE.pin();
    if let Err((frames, fault)) = allocator.free_range(guard.pinned(), frames) {
        log::error!("the frames {} cannot be freed: {fault}", frames.into_frames());
    }
}

/// Returns the range that is typed as `START..END`, `START+SIZE`, or `frames:START..END`.
fn range(arguments: &mut Arguments<'_>) -> Result<PfnRange, CommandError> {
    if let Some(ends) = arguments.peek().and_then(|word| word.strip_prefix("frames:")) {
        let _ = arguments.word("range")?;
        let ends = ends.split_once("..").map(|(start, end)| (hexadecimal(start), hexadecimal(end)));
        let Some((Some(start), Some(end))) = ends else {
            return Err(CommandError::failed(
                "range: frames:START..END takes two frame numbers in hexadecimal",
            ));
        };
        let frames = PfnRange::new(Pfn::new(start), Pfn::new(end)).filter(|frames| !frames.is_empty());
        return frames.ok_or_else(|| CommandError::failed("range: it ends before it begins"));
    }
    let bytes = arguments.phys_range("range")?;
    frames_at(PhysAddr::new(bytes.start().get()), bytes.bytes()).map_err(CommandError::failed)
}
