//! Executable memory: the kernel's own tests of it, on several machines; reports of faults in it; the prompt's command.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{lines, no_text, text};

/// All tests of the pool, the rules about aliases, and nothing left behind.
const ALL: &str = "selftest code::; selftest executable; code; code parts; maps audit; directmap heal";

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, commands: &str| Case::new(format!("code/{name}"), commands);
    let sound = || {
        [
            text("6 passed, 0 failed\n"),
            text("0 pages of 2 MiB for 0 parts"),
            text("sound"),
            text("bit for bit"),
        ]
    };
    let mut cases = vec![
        case("1-cpu", ALL).cpus(1).expect(sound()),
        case("8-cpus", ALL).cpus(8).within(240).expect(sound()),
        case("2-nodes", ALL).cpus(4).nodes(2).memory(MemorySize::gib(2)).expect(sound()),
        case("4k", ALL).append("directmap=4k").expect(sound()),
        case("protected-tables", ALL).append("protect_tables=window").expect(sound()),
        case("5-levels", ALL).append("la57").expect(sound()),
    ];
    let reports = [
        ("code", "#BP breakpoint", "no part of it is there: what is free traps"),
        (
            "codewrite",
            "#PF page fault, error code 0x3: write to",
            "it is 0x0 into the code of 'fault' (monitor)",
        ),
        ("codeud", "#UD invalid opcode, at [fault]+0x0", "it is 0x0 into the code of 'fault' (monitor)"),
    ];
    for (kind, name, place) in reports {
        let said = [
            text(name),
            text(place),
            text("the pool of executable memory"),
            text("backtrace"),
            lines(0, "unreached"),
        ];
        let report = said.into_iter().chain([no_text("bytes of stack")]);
        cases.push(
            case(&format!("fault/{kind}"), &format!("fault {kind}; unreached"))
                .ends(Ends::Panicking)
                .expect(report),
        );
    }
    cases
}
