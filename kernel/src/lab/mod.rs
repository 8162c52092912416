//! The laboratory: tests and measurements of the kernel, in kernels built with it (feature `lab`).
//!
//! | module | owns |
//! |---|---|
//! | [`selftest`] | tests that run in the kernel |
//! | [`stress`] | tests of all CPUs at once |
//! | [`count`] | marked operations, for a counter outside the machine |
//! | [`inject`] | faults in tables, with objects, of accesses, for checks to find |
//! | [`fault`] | CPU exceptions, to see their reports |
//! | [`sample`] | movable frames with known contents, for compaction to move |
//! | [`failure`] | why something did not pass |
//! | [`nmi`] | non-maskable interrupts that a test announces |
//! | [`owners`] | the laboratory's owners of memory |
//! | [`probe`] | whether a write or a fetch would fault |
//! | [`caches`] | object caches of tests |
//! | [`chain`] | a list of frames that lies in the frames |
//! | [`contents`] | the contents of frames in the direct map and past it |
//! | [`taken`] | the memory that threads take |
//! | [`sizes`] | orders and ranges that tests write as numbers |
//!
//! Only `main` names the laboratory: `main` starts it, and adds its commands to the prompt's. The laboratory uses the
//! kernel as any other part does, or registers a handler.

mod caches;
mod chain;
mod contents;
pub mod count;
mod failure;
mod fault;
mod inject;
mod nmi;
mod owners;
mod probe;
mod program;
mod sample;
mod selftest;
mod sizes;
mod stress;
mod taken;
mod user_pages;

use rhumb_monitor::{Alias, Command};

use crate::debug::Kernel;
use crate::mm::movable;

pub const COMMANDS: &[Command<Kernel>] = &[
    selftest::COMMAND,
    stress::COMMAND,
    count::COMMAND,
    inject::COMMAND,
    fault::COMMAND,
    sample::command::COMMAND,
];

/// A test or a fault is also found behind the command of its subject.
pub const ALIASES: &[Alias] = &[
    Alias { words: "frames stress", meaning: "stress frames" },
    Alias { words: "frames movable stress", meaning: "stress movable" },
    Alias { words: "frames movable", meaning: "sample" },
    Alias { words: "slabs stress", meaning: "stress slabs" },
    Alias { words: "slabs plant", meaning: "inject" },
    Alias { words: "directmap stress", meaning: "stress directmap" },
    Alias { words: "directmap pool stress", meaning: "stress pool" },
    Alias { words: "longmap stress", meaning: "stress longmap" },
    Alias { words: "plant", meaning: "inject" },
];

/// Registers the laboratory's owners of memory, and its handlers of non-maskable interrupts and of programs. Once, before memory is
/// taken over and before other CPUs run: all serve also where there is no frame allocator.
pub fn start() {
    owners::register();
    nmi::start();
    program::start();
}

/// Registers the movable sample. Once, when frames can be moved and before other CPUs run.
pub fn register_movable() {
    if let Err(error) = movable::register(&sample::SAMPLE) {
        log::error!("the movable sample cannot be moved: {error}");
    }
}
