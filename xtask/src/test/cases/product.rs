//! The kernel alone, as `build` and `image` make it: it boots, its prompt answers, and nothing of the laboratory is
//! there.

use crate::machine::Boot;
use crate::test::case::{Case, Ends};
use crate::test::expect::{Expect, no_text, text};

/// Commands of the laboratory.
const LABORATORY: [&str; 6] = ["selftest", "stress", "count", "inject", "fault", "sample"];

pub(crate) fn cases() -> Vec<Case> {
    let views = "help; meminfo; cpus; vmstat; frames 1000; directmap heal; maps audit";
    let mut answers: Vec<Expect> =
        ["MemTotal:", "DirectMap2M:", "slabinfo", "poweroff", "bit for bit", "sound"].map(text).into();
    // Each line of `help` begins with two spaces and a command.
    answers.extend(LABORATORY.map(|command| no_text(format!("  {command} "))));
    let mut cases: Vec<Case> = [("direct", Boot::Direct), ("bios", Boot::IsoBios)]
        .map(|(name, boot)| {
            Case::new(format!("product/{name}"), views).product().boot(boot).expect(answers.clone())
        })
        .into();
    for command in LABORATORY {
        cases.push(
            Case::new(format!("product/has-no-{command}"), command)
                .product()
                .ends(Ends::Failing)
                .expect([text(format!("{command}: unknown command"))]),
        );
    }
    cases
}
