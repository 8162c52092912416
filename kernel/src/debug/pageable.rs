//! `pageable`: areas of pageable memory, and where their pages are.

use core::ops::ControlFlow;

use rhumb_frames::Zone;
use rhumb_machine::{Machine, PageSize};
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Human, Output, Table};

use super::Kernel;
use crate::cpu::machine::MACHINE;
use crate::mm::owners::Name;
use crate::mm::pageable;

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "pageable",
    usage: "[out N]",
    summary: "pageable memory: areas, with pages in memory and out",
    help: "One line an area: its first address, KiB of addresses, pages in memory, of these pinned, pages out, pages that\n\
           were not touched yet, its owner. Then all of it, and the store: pages out, those that are one word again and\n\
           again and take no memory, bytes of the compressed contents of the others, frames that these take, pages that\n\
           could not be compressed and stayed. 'pageable out N' pages out until N frames are free by it.",
    complete: Complete::Words(&["out"]),
    run,
}];

const COLUMNS: &[Column] = &[
    Column::left("address", 16),
    Column::right("kbytes", 9),
    Column::right("resident", 9),
    Column::right("pinned", 7),
    Column::right("out", 9),
    Column::right("untouched", 9),
    Column::left("owner", 0),
];

fn run(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let all = pageable::pageable()
        .ok_or_else(|| CommandError::failed("there is no pageable memory: boot says why"))?;
    let goes_out = arguments.optional(|words| words.one_of("what", &["out"]))?.is_some();
    let wanted = if goes_out { arguments.number_to("frames", u64::MAX)? } else { 0 };
    arguments.end()?;
    if goes_out {
        let freed = all.evict(MACHINE.pin().pinned(), wanted, Zone::High);
        writeln!(out, "{freed} frames are free by it");
    }
    let mut table = Table::new(out, COLUMNS);
    let walked = all.for_each_area(|range, owner, pages| {
        table.row(&[
            &format_args!("{:016x}", range.start().get()),
            &(range.bytes() >> 10),
            &pages.resident,
            &pages.pinned,
            &pages.out,
            &pages.untouched,
            &Name(owner),
        ]);
        if table.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let was_interrupted = table.interrupted();
    walked.map_err(CommandError::failed)?;
    if was_interrupted {
        return Err(CommandError::Interrupted);
    }
    let (report, store) = (all.report(), all.store().report());
    let bytes = |pages: u64| Human(pages * PageSize::Size4K.bytes());
    writeln!(out, "{} in memory, {} out", bytes(report.resident), bytes(report.out));
    writeln!(
        out,
        "{} faults: {} zeroed, {} paged in; {} paged out of {} looked at",
        report.pgfault,
        report.pgfault - report.pgmajfault,
        report.pgmajfault,
        report.pswpout,
        report.pgscan
    );
    writeln!(out, "store: {store}");
    Ok(())
}
