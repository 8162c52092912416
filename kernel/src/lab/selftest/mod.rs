//! Tests that run in the kernel: what only the real tables, CPUs and interrupts can show.
//!
//! `selftest` runs them all, or those whose name holds a word, with one line each, and fails if one does. They leave
//! the kernel as they found it, also where they end early. A test is a function that returns what was wrong, or why it
//! was skipped: it could not have its memory, or a command at the prompt holds what the test would count.

mod bpf;
mod calls;
mod code;
mod compaction;
mod cpus;
mod descriptors;
mod direct_map;
mod entry;
mod executable;
mod exhaustion;
mod fixture;
mod flush;
mod frames;
mod irqsoff;
#[cfg(feature = "kasan")]
mod kasan;
mod kernel_map;
mod kernel_map_moves;
mod long_map;
mod memory;
mod modules;
mod nmi;
mod objects;
mod pageable;
mod preempt;
mod protect;
mod protection;
mod stacks;
mod tables;
mod threads;
mod time;
mod unmapped;
mod user_access;

use rhumb_machine::{Counted, impossible};
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};

use crate::debug::Kernel;
use crate::facts::Boot;
use crate::lab::failure::Failure;
pub use bpf::FOR_ANY_EVENT;

/// A test: its name, and how it is run.
pub struct Test {
    pub name: &'static str,
    pub run: fn(&'static Boot) -> Result<(), Failure>,
}

const TESTS: &[&[Test]] = &[
    tables::TESTS,
    protection::TESTS,
    stacks::TESTS,
    user_access::TESTS,
    entry::TESTS,
    protect::TESTS,
    bpf::TESTS,
    calls::TESTS,
    cpus::TESTS,
    threads::TESTS,
    nmi::TESTS,
    preempt::TESTS,
    flush::TESTS,
    time::TESTS,
    frames::TESTS,
    descriptors::TESTS,
    direct_map::TESTS,
    executable::TESTS,
    code::TESTS,
    unmapped::TESTS,
    long_map::TESTS,
    kernel_map::TESTS,
    kernel_map_moves::TESTS,
    pageable::TESTS,
    exhaustion::TESTS,
    compaction::TESTS,
    objects::TESTS,
    irqsoff::TESTS,
    #[cfg(feature = "kasan")]
    kasan::TESTS,
];

pub const COMMAND: Command<Kernel> = Command {
    name: "selftest",
    usage: "[list|WORD]",
    summary: "run the kernel's own tests",
    help: "With WORD, only the tests whose name holds it. 'selftest list' names them all. A test is skipped where it cannot\n\
               have the memory that it needs, or where a command holds what it would count: 'directmap pool give',\n\
               'sample free' and 'directmap heal' give back what the prompt holds.",
    complete: Complete::Words(&["list"]),
    run,
};

fn run(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let word = arguments.optional(|words| words.word("word"))?;
    arguments.end()?;
    // Those of modules need the modules that are made for them.
    let of_modules = if modules::has_probe() { modules::TESTS } else { &[] };
    let all = TESTS.iter().flat_map(|list| list.iter()).chain(of_modules);
    if word == Some("list") {
        all.for_each(|test| writeln!(out, "{}", test.name));
        return Ok(());
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for test in all.filter(|test| word.is_none_or(|word| test.name.contains(word))) {
        if out.interrupted() {
            return Err(CommandError::Interrupted);
        }
        // The name first: a test that hangs is known by it.
        write!(out, "test {} ... ", test.name);
        match (test.run)(kernel.boot) {
            Ok(()) => {
                passed += 1;
                writeln!(out, "ok");
            }
            Err(wrong) => {
                if wrong.is_skipped {
                    skipped += 1;
                } else {
                    failed += 1;
                }
                writeln!(out, "{wrong}");
            }
        }
    }
    write!(out, "{passed} passed, {failed} failed");
    if skipped > 0 {
        write!(out, ", {skipped} skipped");
    }
    writeln!(out);
    let impossible = impossible::count();
    if impossible > 0 {
        let steps = Counted(impossible, "impossible step");
        return Err(CommandError::failed(format_args!("the kernel has taken {steps}: see 'dmesg'")));
    }
    match (passed + skipped, failed) {
        (0, 0) => Err(CommandError::failed("no test has such a name")),
        (_, 0) => Ok(()),
        (_, 1) => Err(CommandError::failed("1 test failed")),
        _ => Err(CommandError::failed(format_args!("{failed} tests failed"))),
    }
}
