//! Marked regions: operations of the kernel, each between two marks, for a counter outside the machine.
//!
//! `count` runs them. `cargo xtask count` does so in an emulator with a counting plugin, and adds what the plugin saw:
//! exact instructions, by function, with lines and accesses. Without the plugin a mark is a no-op, and what remains is
//! the TSC and the kernel's own counters: on hardware, cycles.
//!
//! | module | operations |
//! |---|---|
//! | [`known`] | code whose count is known beforehand: the check of the instrument |
//! | [`frames`] | the frame allocator |
//! | [`objects`] | object caches |
//! | [`tables`] | page tables |
//! | [`flush`] | flushes on all CPUs |
//! | [`data`] | reads, look-ups and copies of much data: what the study of the direct map measures |
//! | [`direct_map`] | changes of the direct map |
//! | [`pool`] | frames out of the direct map |
//! | [`code`] | executable memory |
//! | [`kernel_map`] | areas of the kernel map |
//! | [`vm`] | maps of tasks |
//! | [`window`] | windows onto frames that the direct map does not show |
//! | [`calls`] | cross-calls, interrupts |
//! | [`threads`] | threads made and joined, switches |
//! | [`record`] | the log |
//! | [`bpf`] | programs at an event |
//!
//! Any of them can be measured while all other CPUs run instead of idling: [`busy`].
//!
//! To add one: implement [`Operation`], and list it with the next free number in its file's `regions!`. The compiler
//! refuses a number that is used twice. Two operations that undo each other are a [`toggle`].

/// Lists the operations of a file, each with the number in its marks, which is its own permanently, with its name
/// (`subject/operation/variant`), and with one line for `count list`.
macro_rules! regions {
    ($($number:literal: $operation:ty, $name:literal, $summary:literal;)*) => {
        pub const REGIONS: &[super::Region] = &[
            $(super::Region::of::<$operation, $number>($name, $summary)),*
        ];
    };
}

mod bpf;
mod busy;
mod calls;
mod code;
mod data;
mod direct_map;
mod flush;
mod frames;
mod kernel_map;
mod known;
mod measure;
mod objects;
mod pool;
mod record;
mod refusals;
mod tables;
mod threads;
mod toggle;
mod vm;
mod window;

use rhumb_machine::Counted;
use rhumb_mark::{RegionId, is_meant_by};
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Output, Table};

use super::count::measure::{Measured, measure};
use crate::debug::Kernel;
use crate::facts::Boot;
use crate::lab::failure::Failure;

/// Whether an operation is measured with interrupts on. The console's stay off in either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupts {
    On,
    Off,
}

/// The work of the other CPUs meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// They halt: what can wait until they wake is left to them.
    Idle,
    /// They run, so they are interrupted.
    Busy,
}

/// Something that is measured: prepared once, then run again and again.
pub trait Operation: Sized {
    const INTERRUPTS: Interrupts = Interrupts::Off;

    /// Takes all that the operation needs; an error says why it cannot be measured on this machine.
    fn prepare(boot: &'static Boot) -> Result<Self, Failure>;

    /// Prepares one run. Not measured.
    fn before(&mut self) {}

    /// Runs the measured operation. Inlined between the marks.
    fn run(&mut self);

    /// Clears up after one run. Not measured.
    fn after(&mut self) {}

    /// Leaves the kernel as it was; an error says that the runs did not do what they must.
    fn finish(self) -> Result<(), Failure> {
        Ok(())
    }
}

/// An operation in the list of all.
pub struct Region {
    id: RegionId,
    name: &'static str,
    summary: &'static str,
    measure: fn(&'static Boot, Others) -> Result<Measured, Failure>,
}

impl Region {
    pub const fn of<O: Operation, const ID: u16>(name: &'static str, summary: &'static str) -> Self {
        Self { id: number(ID), name, summary, measure: measure::<O, ID> }
    }

    /// Tells whether `word` at the prompt means it: by its name, or the first parts of it.
    fn is_meant_by(&self, word: &str) -> bool {
        is_meant_by(self.name, word)
    }
}

const REGIONS: &[&[Region]] = &[
    known::REGIONS,
    frames::REGIONS,
    objects::REGIONS,
    tables::REGIONS,
    flush::REGIONS,
    direct_map::REGIONS,
    pool::REGIONS,
    code::REGIONS,
    kernel_map::REGIONS,
    vm::REGIONS,
    window::REGIONS,
    calls::REGIONS,
    threads::REGIONS,
    record::REGIONS,
    bpf::REGIONS,
    data::REGIONS,
];

const _: () = assert!(ids_are_distinct(), "two regions have the same number");

const fn ids_are_distinct() -> bool {
    let mut seen = [false; RegionId::MAX as usize + 1];
    let mut list = 0;
    while list < REGIONS.len() {
        let mut index = 0;
        while index < REGIONS[list].len() {
            let id = REGIONS[list][index].id.get() as usize;
            if seen[id] {
                return false;
            }
            seen[id] = true;
            index += 1;
        }
        list += 1;
    }
    true
}

/// Returns the number of a region, known when the kernel is compiled.
const fn number(number: u16) -> RegionId {
    match RegionId::new(number) {
        Some(id) => id,
        None => panic!("a region's number has 14 bits"),
    }
}

pub const COMMAND: Command<Kernel> = Command {
    name: "count",
    usage: "[list|[busy] REGION...]",
    summary: "run marked operations, for 'cargo xtask count' and by the TSC",
    help: "REGION is a name of 'count list' or its first parts: 'count frames' runs all that begin with frames/.\n\
           With 'busy' in front the other CPUs run meanwhile; else they idle, and are not interrupted where that can wait.\n\
           A row has the runs, the least TSC ticks of one, and sums over all runs: ticks, page-table writes, flushes,\n\
           rounds of flushes on other CPUs and interrupts, all of them on all CPUs. Ticks of the region 'empty' are the measuring itself.",
    complete: Complete::Words(&["list", "busy"]),
    run,
};

/// `cargo xtask count` reads the rows.
const COLUMNS: &[Column] = &[
    Column::left("region", 20),
    Column::right("id", 4),
    Column::right("runs", 5),
    Column::right("least", 8),
    Column::right("ticks", 10),
    Column::right("writes", 6),
    Column::right("flushes", 7),
    Column::right("remote", 6),
    Column::right("interrupts", 10),
];

fn all() -> impl Iterator<Item = &'static Region> {
    REGIONS.iter().flat_map(|list| list.iter())
}

fn run(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let others = if arguments.peek() == Some("busy") {
        let _ = arguments.word("busy")?;
        Others::Busy
    } else {
        Others::Idle
    };
    let words = arguments;
    if words.peek() == Some("list") {
        let _ = arguments.word("list")?;
        arguments.end()?;
        all().for_each(|region| writeln!(out, "{:<20}  {}", region.name, region.summary));
        return Ok(());
    }
    let is_meant = |region: &Region| words.is_empty() || { words }.any(|word| region.is_meant_by(word));
    for word in words {
        if !all().any(|region| region.is_meant_by(word)) {
            return Err(CommandError::failed(format_args!("no region is called {word}: see 'count list'")));
        }
    }
    let mut failed = 0;
    let mut table = Table::new(out, COLUMNS);
    for region in all().filter(|region| is_meant(region)) {
        if table.interrupted() {
            return Err(CommandError::Interrupted);
        }
        match (region.measure)(kernel.boot, others) {
            Ok(measured) => row(region, &measured, &mut table),
            Err(why) => {
                // An operation that this machine cannot run is an error only where it was asked for by its full name.
                failed += u32::from({ words }.any(|word| word == region.name));
                table.row(&[&region.name, &region.id, &format_args!("not measured: {}", why.reason())]);
            }
        }
    }
    if failed > 0 {
        return Err(CommandError::failed(format_args!("not measured: {}", Counted(failed, "region"))));
    }
    Ok(())
}

fn row(region: &Region, measured: &Measured, table: &mut Table<'_>) {
    let Measured { runs, least_ticks, ticks, noise } = measured;
    table.row(&[
        &region.name,
        &region.id,
        runs,
        least_ticks,
        ticks,
        &noise.table_writes,
        &noise.flushes,
        &noise.remote_flushes,
        &noise.interrupts,
    ]);
}
