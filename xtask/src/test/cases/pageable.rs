//! Pageable memory: its own tests, more of it than there is memory, and touches where no fault may wait.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{lines, text};

pub(crate) fn cases() -> Vec<Case> {
    let stress = |name: &str, words: &str| {
        Case::new(
            format!("pageable/{name}"),
            "selftest pageable; stress pageable 3; pageable; kmap check; maps audit; vmstat; meminfo",
        )
        .cpus(4)
        .memory(MemorySize::mib(96))
        .append(words)
        .expect([
            text("5 passed, 0 failed"),
            text("stress pageable: 4 CPUs"),
            text("0 B in memory, 0 B out"),
            text("Zswapped:"),
        ])
    };
    vec![
        stress("small", ""),
        stress("high-memory", "directmap_limit=64M"),
        stress("protected/windows", "protect_tables=window"),
        Case::new("pageable/large", "selftest pageable; pageable; kmap check").cpus(2).expect([
            text("5 passed, 0 failed"),
            text("0 B in memory, 0 B out"),
            text("every structure is sound"),
        ]),
        Case::new("pageable/interrupts-off", "fault pageable; unreached").ends(Ends::Panicking).expect([
            text("pageable memory touched at rhumb::lab::fault::"),
            text("where faults are not allowed: interrupts were off"),
            text("the address is a page of pageable memory"),
            lines(0, "unreached"),
        ]),
    ]
}
