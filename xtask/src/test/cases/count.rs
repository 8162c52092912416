//! Marked regions without a counter: they run, and leave the kernel as it was.

use crate::test::case::{Case, Ends};
use crate::test::expect::{no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("count/every-region", "count; maps audit; selftest frames").cpus(8).expect([
            text("calls/8"),
            text("study/pages/256m"),
            text("sound"),
            no_text("not measured"),
        ]),
        Case::new("count/busy", "count busy flush/page directmap/nx pool/take; maps audit; directmap heal")
            .cpus(2)
            .expect([text("pool/take"), text("sound"), no_text("not measured")]),
        Case::new("count/much-data", "count study; count study; maps audit; meminfo")
            .cpus(1)
            .append("directmap=4k text=4k kmem=virtual kmap_flush=eager")
            .expect([text("study/lookup"), text("sound"), no_text("not measured")]),
        Case::new("count/list", "count list").expect([text("frames/pair/4k"), no_text("ticks")]),
        Case::new("count/too-few-cpus", "count calls; count calls/8")
            .cpus(1)
            .ends(Ends::Failing)
            .expect([text("8 CPUs are needed")]),
        Case::new("count/no-such-region", "count frames/frobnicate")
            .ends(Ends::Failing)
            .expect([text("no region is called frames/frobnicate")]),
    ]
}
