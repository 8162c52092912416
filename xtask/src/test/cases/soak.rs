//! Thousands of random command lines, with an audit after each hundred.
//!
//! The seed is a part of the test's name; `RHUMB_SEED=N` makes the same lines again.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{at_least, lines, no_text, text};
use crate::test::lines::Lines;

/// Lines between two audits.
const BETWEEN: usize = 100;
/// Gives back all that a command may hold, and shows that the kernel is then as it was at boot.
const END: &str = "directmap pool give; directmap pool shrink; sample free; directmap restore all; directmap heal; \
                   stress frames 1; stress slabs 1; maps audit";

pub(crate) fn cases(seed: u64) -> Vec<Case> {
    let random = |name, count, memory| random(seed, name, count, memory);
    vec![
        random("4-cpus", 10_000, MemorySize::mib(256)).cpus(4),
        random("protected", 2000, MemorySize::mib(192)).cpus(2).append("protect_tables=on"),
        random("2-nodes", 2000, MemorySize::gib(2)).cpus(4).nodes(2),
        random("64M", 2000, MemorySize::mib(64)).cpus(1),
    ]
}

/// So many lines on a machine of so much memory.
fn random(seed: u64, name: &str, count: usize, memory: MemorySize) -> Case {
    let mut source = Lines::new(seed, memory.bytes());
    let mut commands = Vec::new();
    for number in 1..=count {
        commands.push(source.line());
        if number.is_multiple_of(BETWEEN) {
            commands.push("maps audit | grep sound".into());
        }
    }
    let mut case = Case::new(format!("soak/command-lines/{name}/seed-{seed}"), END).memory(memory).soak(60);
    commands.append(&mut case.commands);
    case.commands = commands;
    // Most lines are wrong. Random ones may ask for audits, too, so the sound ones are at least so many.
    case.ends(Ends::Failing).expect([
        at_least((count / BETWEEN) as u32 + 1, "in the direct map: sound"),
        no_text("broken rule"),
        lines(0, "had two holders"),
        no_text("does not hold what was written"),
        text("the direct map is what boot made, bit for bit"),
    ])
}
