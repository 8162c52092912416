//! The command `code`: executable memory, and the data beside it.

use core::ops::ControlFlow;

use rhumb_code::{Kind, PartInfo, Report};
use rhumb_machine::Counted;
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Human, Output, Table};

use super::Kernel;
use crate::mm::owners::{self, Name};
use crate::mm::{code, direct_map};

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "code",
    usage: "[parts]",
    summary: "executable memory: blocks, holes, users, what it costs the direct map",
    help: "By kind: blocks of 2 MiB, their parts, bytes in use and free, the largest hole, and how much of what is free\n\
           lies outside of it. Then the changes so far, and the cost for the direct map. All of it is checked.\n\
           'code parts' lists the parts: address, size, kind, owner, name.",
    complete: Complete::Words(&["parts"]),
    run,
}];

const KINDS: &[Column] = &[
    Column::left("kind", 14),
    Column::right("blocks", 8),
    Column::right("parts", 8),
    Column::right("used", 10),
    Column::right("free", 10),
    Column::right("hole", 10),
    Column::right("outside", 9),
];

const PARTS: &[Column] = &[
    Column::left("address", 18),
    Column::right("size", 8),
    Column::left("kind", 14),
    Column::left("owner", 18),
    Column::left("name", 23),
];

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let what = arguments.optional(|words| words.one_of("what", &["parts"]))?;
    arguments.end()?;
    let pool =
        code::pool().ok_or_else(|| CommandError::failed("there is no executable memory: boot says why"))?;
    match what {
        Some(_) => list(out)?,
        None => show(&pool.report(), out)?,
    }
    pool.validate().map_err(CommandError::failed)
}

fn list(out: &mut dyn Output) -> Result<(), CommandError> {
    let Some(pool) = code::pool() else { return Ok(()) };
    let mut table = Table::new(out, PARTS);
    let interrupted = pool.for_each(|part| {
        let PartInfo { range, kind, owner, name, .. } = *part;
        table.row(&[&range.start(), &range.bytes(), &kind, &Name(owner), &name]);
        if table.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if interrupted.is_some() { Err(CommandError::Interrupted) } else { Ok(()) }
}

fn show(report: &Report, out: &mut dyn Output) -> Result<(), CommandError> {
    let mut table = Table::new(out, KINDS);
    for kind in Kind::ALL {
        let figures = report.of(kind);
        table.row(&[
            &kind,
            &figures.blocks,
            &figures.parts,
            &Human(figures.used_bytes),
            &Human(figures.free_bytes),
            &Human(figures.largest_hole_bytes),
            &format_args!("{}%", figures.fragmentation_percent()),
        ]);
    }
    let parts: u64 = report.kinds.iter().map(|kind| kind.parts).sum();
    writeln!(
        out,
        "{} of at most {}; {}, {} written",
        report.kinds.iter().map(|kind| kind.blocks).sum::<u64>(),
        Counted(report.slots, "block"),
        Counted(report.switches, "change"),
        Counted(report.pages_written, "page")
    );
    let split = direct_map::with(|map| {
        let ours = map.owners().find(|owner| owner.name.name == owners::CODE.name());
        ours.map_or(0, |owner| owner.totals.splits)
    })
    .map_err(CommandError::failed)?;
    writeln!(
        out,
        "out of the direct map: {} of 2 MiB for {}, the spare one included; {} split",
        Counted(report.blocks_out_of_direct_map(), "page"),
        Counted(parts, "part"),
        Counted(split, "large page")
    );
    Ok(())
}
