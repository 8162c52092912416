//! Tests that run in the kernel: what only the real tables, CPUs and interrupts can show.
//!
//! `selftest` runs them all, or those whose name holds a word, with one line each, and fails if one does. They leave
//! the kernel as they found it. A test is a function that returns what was wrong.

mod calls;
mod compaction;
mod cpus;
mod descriptors;
mod direct_map;
mod executable;
mod exhaustion;
mod flush;
mod frames;
mod nmi;
mod objects;
mod protect;
mod protection;
mod tables;
mod time;
mod unmapped;

use core::fmt;

use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output, Text};

use crate::boot::Boot;
use crate::monitor::Kernel;

/// What a test found wrong.
pub struct Wrong(Text<112>);

impl Wrong {
    /// One sentence.
    pub fn because(reason: impl fmt::Display) -> Self {
        Self(Text::of(reason))
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Fails the test with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::selftest::Wrong::because(format_args!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// A test: its name, and how it is run.
pub struct Test {
    pub name: &'static str,
    pub run: fn(&'static Boot) -> Result<(), Wrong>,
}

const TESTS: &[&[Test]] = &[
    tables::TESTS,
    protection::TESTS,
    protect::TESTS,
    calls::TESTS,
    cpus::TESTS,
    nmi::TESTS,
    flush::TESTS,
    time::TESTS,
    frames::TESTS,
    descriptors::TESTS,
    direct_map::TESTS,
    executable::TESTS,
    unmapped::TESTS,
    exhaustion::TESTS,
    compaction::TESTS,
    objects::TESTS,
    crate::irqsoff::TESTS,
    crate::kasan::TESTS,
];

pub const COMMANDS: &[Command<Kernel>] = &[Command {
    name: "selftest",
    usage: "[list|WORD]",
    summary: "run the kernel's own tests",
    help: "With WORD, only the tests whose name holds it. 'selftest list' names them all.",
    complete: Complete::Words(&["list"]),
    run,
}];

fn run(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let word = arguments.optional(|words| words.word("word"))?;
    arguments.end()?;
    let all = TESTS.iter().flat_map(|list| list.iter());
    if word == Some("list") {
        all.for_each(|test| writeln!(out, "{}", test.name));
        return Ok(());
    }
    let (mut passed, mut failed) = (0, 0);
    for test in all.filter(|test| word.is_none_or(|word| test.name.contains(word))) {
        if out.interrupted() {
            return Err(CommandError::Interrupted);
        }
        match (test.run)(kernel.boot) {
            Ok(()) => {
                passed += 1;
                writeln!(out, "test {} ... ok", test.name);
            }
            Err(Wrong(reason)) => {
                failed += 1;
                writeln!(out, "test {} ... FAILED: {reason}", test.name);
            }
        }
    }
    writeln!(out, "{passed} passed, {failed} failed");
    match (passed, failed) {
        (0, 0) => Err(CommandError::failed("no test has such a name")),
        (_, 0) => Ok(()),
        _ => Err(CommandError::failed(format_args!("{failed} tests failed"))),
    }
}
