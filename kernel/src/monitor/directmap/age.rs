//! `directmap age` breaks the map on purpose; `directmap heal` gives everything back and proves it.

use rhumb_directmap::{Block, ChangeError};
use rhumb_machine::{PageSize, PhysRange};
use rhumb_monitor::{Arguments, CommandError, Output};

use super::{mapped_ram, set};
use crate::boot::Boot;
use crate::mm::direct_map::{self, Adopted, Changer, adopt, leave_pin, pin_small, reserve, shape, unpin};
use crate::stress::Random;

/// Which blocks are broken.
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

/// `directmap age full|1-in-N|random:SEED`: keeps 2-MiB blocks in 4-KiB pages.
pub fn age(boot: &Boot, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let how = How::parse(arguments.word("how")?);
    let mut how = how.ok_or_else(|| CommandError::failed("how: not one of full 1-in-N random:SEED"))?;
    arguments.end()?;
    let blocks = mapped_ram(boot).into_iter().flat_map(blocks_of);
    let (mut broken, mut held, mut number) = (0u64, 0u64, 0u64);
    for block in blocks {
        let is_meant = how.takes(number);
        number += 1;
        if !is_meant {
            continue;
        }
        if out.interrupted() {
            return Err(CommandError::Interrupted);
        }
        match pin_small(block.frames(), PageSize::Size4K, Changer::Age, "broken on purpose") {
            Ok(pin) => {
                leave_pin(pin);
                broken += 1;
            }
            Err(ChangeError::Held { .. } | ChangeError::AlreadyRemoved { .. }) => held += 1,
            Err(error) => {
                return Err(CommandError::failed(format_args!("{error}; {broken} blocks were broken")));
            }
        }
    }
    writeln!(
        out,
        "{broken} of {number} blocks of 2 MiB are kept in 4-KiB pages now, {held} were held before"
    );
    Ok(())
}

/// The whole 2-MiB blocks of a piece of RAM.
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
    let (set, _) = set::restore_set(all);
    let mut pins = 0u64;
    while let Some(Adopted::Pin(pin)) = adopt(Changer::Age, all) {
        unpin(pin);
        pins += 1;
    }
    let collapsed = direct_map::collapse();
    reserve::fill();
    let planned = shape::of_plan(boot).map_err(CommandError::failed)?;
    let found = shape::of_tables();
    writeln!(
        out,
        "{set} ranges restored, {pins} aged blocks made whole, {} more pages merged",
        collapsed.level2 + collapsed.level3
    );
    writeln!(out, "planned by boot: {planned}\nin the tables:   {found}");
    direct_map::validate().map_err(CommandError::failed)?;
    if found == planned {
        writeln!(out, "the direct map is what boot made, bit for bit");
        return Ok(());
    }
    let held = direct_map::with(|map| map.holds().count()).map_err(CommandError::failed)?;
    Err(CommandError::failed(format_args!(
        "the direct map is not what boot made; {held} ranges are held by others: see 'directmap owners'"
    )))
}
