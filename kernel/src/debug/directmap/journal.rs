//! `directmap why`, `owners`, `journal`: changes of the map, by their owners.

use core::ops::ControlFlow;

use arrayvec::ArrayVec;
use rhumb_directmap::{OwnerReport, SplitReport};
use rhumb_machine::{Counted, PfnRange, PhysAddr, VirtAddr};
use rhumb_monitor::{Address, Arguments, Column, CommandError, Human, Output, Table};

use crate::layout;
use crate::mm::{direct_map, tables};

/// Reports that are copied with the lock held, and printed without it: the console is slow.
const COPIED: usize = 16;

/// `directmap why ADDRESS`.
pub fn why(mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let address = arguments.address("address")?;
    arguments.end()?;
    let phys = match address {
        Address::Physical(phys) => phys,
        Address::Virtual(virt) => shown_at(virt)?,
    };
    let why = direct_map::with(|map| map.why(phys.pfn())).map_err(CommandError::failed)?;
    writeln!(out, "{why}");
    Ok(())
}

/// Returns the frame at `virt`: in the direct map by the offset, mapped or not; elsewhere by the tables.
fn shown_at(virt: VirtAddr) -> Result<PhysAddr, CommandError> {
    let range = layout::direct_map();
    if range.contains(virt) {
        return Ok(PhysAddr::new(virt.since(range.start())));
    }
    let phys = tables::walk(virt).phys();
    phys.ok_or_else(|| CommandError::failed(format_args!("nothing is mapped at {virt}")))
}

const OWNER_COLUMNS: &[Column] = &[
    Column::left("owner", 12),
    Column::right("ranges", 8),
    Column::right("size", 10),
    Column::right("split", 8),
    Column::right("breaks", 8),
    Column::right("limit", 8),
];

/// `directmap owners`.
pub fn owners(arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    let owners: ArrayVec<OwnerReport, COPIED> =
        direct_map::with(|map| map.owners().take(COPIED).collect()).map_err(CommandError::failed)?;
    let mut table = Table::new(out, OWNER_COLUMNS);
    for OwnerReport { name, totals, .. } in owners {
        let size = Human(totals.frames * 4096);
        if totals.limit == u64::MAX {
            table.row(&[&name, &totals.holds, &size, &totals.splits, &totals.breaks, &"none"]);
        } else {
            table.row(&[&name, &totals.holds, &size, &totals.splits, &totals.breaks, &totals.limit]);
        }
    }
    Ok(())
}

/// `directmap journal`: changed ranges, then split pages.
pub fn journal(arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    let mut shown = 0;
    let mut rest = direct_map::everywhere();
    loop {
        // A range has a dozen of them at most, so those of the first that has any fit.
        let mut splits = ArrayVec::<SplitReport, COPIED>::new();
        let end = direct_map::for_each_hold(rest, |map, hold| {
            splits.extend(map.splits_of(*hold).take(COPIED));
            if splits.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(hold.frames.end()) }
        });
        for split in &splits {
            if out.interrupted() {
                return Err(CommandError::Interrupted);
            }
            writeln!(out, "{split}");
        }
        shown += splits.len();
        match end.and_then(|end| PfnRange::new(end, rest.end())) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    let (holds, pages, kept, reserve) =
        direct_map::with(|map| (map.hold_count(), map.pages(), map.kept_tables(), map.reserve()))
            .map_err(CommandError::failed)?;
    writeln!(
        out,
        "{} split, {} changed; the map has {pages}",
        Counted(shown, "large page"),
        Counted(holds, "range")
    );
    writeln!(
        out,
        "{} kept until they are split again or flushed; {} in reserve",
        Counted(kept, "merged table"),
        Counted(reserve.tables, "table")
    );
    Ok(())
}
