//! The command `vmstat`: what the kernel counts, as /proc/vmstat shows it.

use rhumb_machine::impossible;
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output, Text, counter_line};
use rhumb_pagetable::FlushCause;
use rhumb_pagetable::flush::FlushCounts;

use super::Kernel;
use crate::cpu::area::{Counter, Counters};
use crate::cpu::{area, tlb};
use crate::mm::windows::windows;
use crate::mm::{direct_map, frames, kernel_map, movable, pageable};

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "vmstat",
    usage: "",
    summary: "counters of all CPUs, as /proc/vmstat shows them",
    help: "One name and number on each line. nr_* are sums over all CPUs; nr_tlb_flush is each flush once, by the CPU that began it,\n\
           and the sum of all flush_*_flushes. nr_tlb_lazy_flush counts CPUs that idled, were not\n\
           interrupted, and flushed when they woke. compact_stall counts requests for blocks that looked for frames to\n\
           move, compact_success those that made a block whole; pgmigrate_* count frames.\n\
           pgfault counts pages of pageable memory that were zeroed at their first touch or paged in, pgmajfault those paged\n\
           in; pgscan pages looked at to be paged out, pswpout pages out, pswpin pages in again.\n\
           direct_map_level2_* count 2-MiB pages of the direct map split and merged, level3_* those of 1 GiB.\n\
           flush_CAUSE_* say why: flushes, of them full ones, pages dropped one by one,\n\
           CPUs interrupted, CPUs left alone. Causes that never came are not listed.\n\
           kmap_pages_moved counts pages of the kernel map that 'kmap move' gave other frames, kmap_writes_to_moving the\n\
           writes that came meanwhile.\n\
           allocfail_low counts requests that found no memory in the direct map while memory past it was free.\n\
           nr_impossible counts places in the code that cannot be reached and were: it is 0.",
    complete: Complete::Nothing,
    run: vmstat,
}];

/// A counter and its name.
type Line = (&'static str, fn(&Counters) -> &Counter);

/// Sums over CPUs.
const SUMS: &[Line] = &[
    ("nr_page_table_writes", |counters| &counters.page_table_writes),
    ("nr_tlb_flush", |counters| &counters.flushes),
    ("nr_tlb_remote_flush", |counters| &counters.flushes_remote),
    ("nr_tlb_remote_flush_received", |counters| &counters.flushes_received),
    ("nr_tlb_local_flush_all", |counters| &counters.flushes_all),
    ("nr_tlb_local_flush_one", |counters| &counters.flushes_page),
    ("nr_tlb_lazy_flush", |counters| &counters.flushes_lazy),
    ("nr_interrupts_timer", |counters| &counters.timer_interrupts),
    ("nr_interrupts_device", |counters| &counters.device_interrupts),
    ("nr_interrupts_call", |counters| &counters.call_interrupts),
    ("nr_interrupts_reschedule", |counters| &counters.reschedule_interrupts),
    ("nr_interrupts_spurious", |counters| &counters.spurious_interrupts),
    ("nr_interrupts_nmi", |counters| &counters.nmis),
    ("nr_calls_sent", |counters| &counters.calls_sent),
    ("nr_calls_served", |counters| &counters.calls_served),
];

fn vmstat(_: &mut Kernel, arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    for (name, counter) in SUMS {
        counter_line(out, name, area::all().map(|area| counter(&area.counters).get()).sum());
    }
    if let Some(frames) = frames::frames() {
        counter_line(out, "allocfail_low", frames.refused_for_low_memory());
    }
    if let Some(map) = kernel_map::map() {
        let report = map.report();
        counter_line(out, "kmap_pages_moved", report.moved_pages);
        counter_line(out, "kmap_writes_to_moving", report.writes_to_moving);
    }
    for (name, count) in movable::counters().lines() {
        counter_line(out, name, count);
    }
    for (name, count) in pageable::pageable().map(|all| all.report()).unwrap_or_default().lines() {
        counter_line(out, name, count);
    }
    writeln!(out, "{}", direct_map::counters());
    let kept = direct_map::with(|map| map.kept_tables()).unwrap_or_default();
    counter_line(out, "nr_direct_map_tables_kept", kept);
    counter_line(out, "nr_impossible", impossible::count());
    for cause in FlushCause::ALL {
        let counts = counts(cause);
        if counts.flushes + counts.shared == 0 {
            continue;
        }
        for (what, count) in [
            ("flushes", counts.flushes),
            ("full", counts.full),
            ("pages", counts.pages),
            ("interrupts", counts.interrupts),
            ("left_to_lazy", counts.left_to_lazy),
            ("shared", counts.shared),
        ] {
            counter_line(out, Text::<48>::of(format_args!("flush_{cause}_{what}")).as_str(), count);
        }
    }
    Ok(())
}

/// Returns the flushes for `cause`. Over all causes, `flushes` add up to the flushes that CPUs have begun
/// (`nr_tlb_flush`), and `interrupts` to those that others have received (`nr_tlb_remote_flush_received`).
pub fn counts(cause: FlushCause) -> FlushCounts {
    let counts = tlb::COUNTERS.read(cause);
    let windows = if cause == FlushCause::Window { windows() } else { None };
    let Some(windows) = windows.map(|windows| windows.counters()) else { return counts };
    FlushCounts { flushes: counts.flushes + windows.wraps, full: counts.full + windows.wraps, ..counts }
}
