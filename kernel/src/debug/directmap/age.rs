//! `directmap age` splits pages on purpose; `directmap heal` restores them all and proves it.

use rhumb_frames::{FrameRange, Place};
use rhumb_machine::{Block, Counted, PageSize, Pfn, PfnRange, PhysRange};
use rhumb_monitor::{Arguments, CommandError, Output};

use super::{mapped_ram, set, shape};
use crate::debug::frames::{allocator, drain_all};
use crate::debug::random::Random;
use crate::facts::Boot;
use crate::mm::direct_map::{Refused, first_left, leave, pin_small, table_supply};
use crate::mm::{self, direct_map, owners};

/// The choice of blocks whose pages are split.
enum How {
    Every(u64),
    Random(Random),
}

impl How {
    fn parse(word: &str) -> Option<Self> {
        if word == "full" {
            return Some(Self::Every(1));
        }
        if let Some(seed) = word.strip_prefix("random:") {
            return seed.parse().ok().map(|seed| Self::Random(Random::new(seed)));
        }
        let every = word.strip_prefix("1-in-")?.parse().ok()?;
        (every > 0).then_some(Self::Every(every))
    }

    fn takes(&mut self, number: u64) -> bool {
        match self {
            Self::Every(every) => number.is_multiple_of(*every),
            Self::Random(random) => random.below(2) == 0,
        }
    }
}

/// `directmap age full|1-in-N|random:SEED`: takes a free frame of a 2-MiB block and keeps it in a 4-KiB page.
pub fn age(boot: &Boot, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let how = How::parse(arguments.word("how")?);
    let mut how = how.ok_or_else(|| CommandError::failed("how: not one of full 1-in-N random:SEED"))?;
    arguments.end()?;
    drain_all(allocator()?);
    let (mut split, mut full, mut already, mut number) = (0u64, 0u64, 0u64, 0u64);
    for block in mapped_ram(boot).into_iter().flat_map(blocks_of) {
        let is_meant = how.takes(number);
        number += 1;
        if !is_meant {
            continue;
        }
        if out.interrupted() {
            writeln!(out, "{} of 2 MiB split: 'directmap heal' restores all", Counted(split, "block"));
            return Err(CommandError::Interrupted);
        }
        if first_left(owners::AGE, block.frames()).is_some() {
            already += 1;
            continue;
        }
        let Some(frame) = free_frame(block) else {
            full += 1;
            continue;
        };
        match pin_small(frame, PageSize::Size4K, owners::AGE, "split on purpose") {
            Ok(pinned) => {
                leave(pinned);
                split += 1;
            }
            Err(Refused { frames, error }) => {
                set::give_back(frames);
                return Err(CommandError::failed(format_args!("{error}; {} split", Counted(split, "block"))));
            }
        }
    }
    writeln!(
        out,
        "{split} of {} of 2 MiB kept in 4-KiB pages, {already} since before; {full} without a free frame",
        Counted(number, "block")
    );
    Ok(())
}

/// Returns a free frame of the block, now ours.
fn free_frame(block: Block) -> Option<FrameRange> {
    let frames = mm::frames::frames()?;
    let is_free =
        |pfn: &Pfn| frames.describe(*pfn).is_some_and(|known| matches!(known.place, Place::Free(_)));
    // The highest first: the allocator begins below.
    block.frames().iter().rev().filter(is_free).find_map(|pfn| set::take(PfnRange::of_length(pfn, 1)?).ok())
}

/// Returns the whole 2-MiB blocks of a piece of RAM.
fn blocks_of(ram: PhysRange) -> impl Iterator<Item = Block> {
    let whole = ram.align_inward(PageSize::Size2M);
    let count = whole.bytes() / PageSize::Size2M.bytes();
    (0..count).map(move |number| {
        let start = whole.start().plus(number * PageSize::Size2M.bytes());
        Block::around(start.pfn(), PageSize::Size2M)
    })
}

/// `directmap heal`.
pub fn heal(boot: &Boot, arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    let all = direct_map::everywhere();
    let (set, _) = set::restore_all(owners::MONITOR, all);
    let (aged, _) = set::restore_all(owners::AGE, all);
    // Frames that are out of the map and have no owner.
    mm::unmapped::shrink();
    let mut merged = 0;
    for ram in mapped_ram(boot) {
        let collapsed = direct_map::collapse(ram.whole_frames());
        merged += collapsed.level2 + collapsed.level3;
    }
    table_supply::renew();
    let planned = shape::of_plan(boot).map_err(CommandError::failed)?;
    let found = shape::of_tables();
    writeln!(
        out,
        "{} and {} restored, {} merged",
        Counted(set, "range"),
        Counted(aged, "aged block"),
        Counted(merged, "more page")
    );
    writeln!(out, "planned by boot: {planned}\nin the tables:   {found}");
    direct_map::validate().map_err(CommandError::failed)?;
    if found == planned {
        writeln!(out, "the direct map is what boot made, bit for bit");
        return Ok(());
    }
    let held = direct_map::with(|map| map.hold_count()).map_err(CommandError::failed)?;
    Err(CommandError::failed(format_args!(
        "the direct map is not what boot made; others hold {}: see 'directmap owners'",
        Counted(held, "range")
    )))
}
