//! The frame allocator in the kernel: all CPUs at once, on machines of several nodes and zones.

use crate::machine::MemorySize;
use crate::test::case::Case;
use crate::test::expect::text;

pub(crate) fn cases() -> Vec<Case> {
    let all_back = || text("frames free again");
    vec![
        Case::new("frames/views", "buddyinfo; zoneinfo; frames 2000; frames phys:0x1000000").expect([
            text("Node 0, zone    DMA32"),
            text("present"),
            text("in use"),
        ]),
        Case::new("frames/no-such-frame", "frames phys:0xfee00000")
            .ends(crate::test::case::Ends::Failing)
            .expect([text("is not RAM")]),
        Case::new("frames/stress", "frames stress 2; selftest frames").expect([all_back()]),
        Case::new("frames/stress/64M", "frames stress 2; selftest frames")
            .memory(MemorySize::mib(64))
            .expect([all_back()]),
        Case::new("frames/stress/8-cpus-4-nodes", "frames stress 4; selftest frames")
            .cpus(8)
            .nodes(4)
            .memory(MemorySize::gib(8))
            .expect([all_back(), text("8 CPUs")]),
        Case::new("frames/high-memory", "zoneinfo; meminfo; frames stress 1; selftest frames; maps audit")
            .append("directmap_limit=512M")
            .expect([all_back(), text("HighMem")]),
    ]
}
