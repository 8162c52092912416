//! The checker of memory accesses: each kind of forbidden access is caught and told, and the kernel itself makes none.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{lines, text};

/// A kind of access that the monitor commits, its name in the report, and the word for the shadow there.
const FAULTS: [(&str, &str, &str); 6] = [
    ("frame-read", "use-after-free", "read of 1 byte"),
    ("frame-write", "use-after-free", "write of 1 byte"),
    ("frame-copy", "use-after-free", "read of 200 bytes"),
    ("global", "global-out-of-bounds", "which has 13"),
    ("stack", "stack-out-of-bounds", "above the last variable"),
    ("scope", "stack-use-after-scope", "outside its scope"),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, bug, detail) in FAULTS {
        let report = [
            text(format!("BUG: KASAN: {bug} in rhumb::lab::inject::accesses::")),
            text(detail),
            text("shadow, a byte for 8 bytes of memory"),
            text("backtrace"),
            lines(0, "unreached"),
        ];
        let commands = format!("kasan; inject {kind}; unreached");
        cases.push(Case::new(format!("kasan/{kind}"), &commands).ends(Ends::Panicking).expect(report));
    }
    for memory in [64, 1 << 10, 4 << 10].map(MemorySize::mib) {
        let name = format!("kasan/clean/{memory}");
        // The matrix runs all self-tests on such machines.
        let commands = "kasan; selftest kasan; stress frames 2; selftest kasan; maps audit";
        cases.push(
            Case::new(name, commands)
                .memory(memory)
                .expect([text("direct map"), text("frames_are_told ... ok")]),
        );
    }
    cases
}
