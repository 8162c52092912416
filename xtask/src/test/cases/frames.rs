//! The frame allocator in the kernel: all CPUs at once, on machines of several nodes and zones.

use std::ops::RangeInclusive;

use crate::machine::MemorySize;
use crate::test::case::Case;
use crate::test::expect::{kib, no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    let all_back = || text("frames free again");
    vec![
        Case::new("frames/views", "buddyinfo; zoneinfo; frames 2000; frames phys:0x1000000").expect([
            text("Node 0, zone    DMA32"),
            text("present"),
            text("in use"),
        ]),
        Case::new("frames/taken-at-boot", "frames phys:0x1000000; frames phys:0")
            .expect([text("taken at boot: kernel image"), text("taken at boot: first page")]),
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
        // Descriptors: 3 KiB a MiB of RAM, rounded to pages, in large ones where they fit.
        descriptors("64M", MemorySize::mib(64), 1, 192..=200),
        descriptors("1G", MemorySize::gib(1), 1, 3072..=3080),
        descriptors("1T", MemorySize::gib(1024), 1, (3 << 20)..=(3 << 20) + 64),
        descriptors("1T/4-nodes", MemorySize::gib(1024), 4, (3 << 20)..=(3 << 20) + 64),
        descriptors("8G/4-nodes", MemorySize::gib(8), 4, 24_576..=24_640),
        descriptors("8G/high-memory", MemorySize::gib(8), 2, 24_576..=24_640).append("directmap_limit=5G"),
        descriptors("8G/nogbpages", MemorySize::gib(8), 1, 24_576..=24_640).append("nogbpages directmap=4k"),
    ]
}

/// The descriptors take so many KiB, are the kernel's to read and write, and pass its tests.
fn descriptors(name: &str, memory: MemorySize, nodes: u32, kib_range: RangeInclusive<u64>) -> Case {
    Case::new(
        format!("frames/descriptors/{name}"),
        "meminfo; maps; maps audit; selftest descriptors; selftest exhaustion",
    )
    .memory(memory)
    .nodes(nodes)
    .expect([
        kib(&["FrameDescriptors"], kib_range),
        text("frame descriptors"),
        text("sound"),
        no_text("on another node"),
    ])
}
