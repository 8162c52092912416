//! The frame allocator in the kernel: all CPUs at once, on machines of several nodes and zones.

use std::ops::RangeInclusive;

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{kib, lines, no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    let all_back = || text("frames free again");
    vec![
        Case::new("frames/views", "buddyinfo; zoneinfo; frames 2000; frames phys:0x1000000").expect([
            text("Node 0, zone    DMA32"),
            text("present"),
            text("in use"),
        ]),
        Case::new("frames/taken-at-boot", "frames phys:0x1000000; frames phys:0")
            .expect([text("taken at boot: kernel image"), text("taken at boot: first MiB")]),
        Case::new("frames/no-such-frame", "frames phys:0xfee00000")
            .ends(Ends::Failing)
            .expect([text("is not RAM")]),
        Case::new("frames/stress", "frames stress 2; selftest frames").expect([all_back()]),
        Case::new("frames/stress/64M", "stress frames 2; selftest frames")
            .memory(MemorySize::mib(64))
            .expect([all_back()]),
        Case::new("frames/stress/8-cpus-4-nodes", "stress frames 4; selftest frames")
            .cpus(8)
            .nodes(4)
            .memory(MemorySize::gib(8))
            .expect([all_back(), text("8 CPUs")]),
        Case::new("frames/high-memory", "zoneinfo; meminfo; stress frames 1; selftest frames; maps audit")
            .append("directmap_limit=512M")
            .expect([all_back(), text("HighMem")]),
        // Frames that a selftest leaves in caches are no loss.
        Case::new("frames/stress/after-selftest", "selftest objects; stress frames 1")
            .cpus(8)
            .memory(MemorySize::mib(64))
            .expect([all_back()]),
        Case::new("frames/stress/1100G", "selftest frames; selftest exhaustion; maps audit")
            .memory(MemorySize::gib(1100))
            .expect([no_text("... skipped"), text("sound")]),
        // Commands that would free a person's movable frames leave them.
        Case::new(
            "frames/movable/held",
            "sample 1-in-64; stress movable 0; sample 1-in-8; selftest compaction; \
             sample; sample free",
        )
        .memory(MemorySize::mib(128))
        .ends(Ends::Failing)
        .expect([
            lines(1, "stress: "),
            lines(1, "sample: "),
            lines(5, "movable frames are held"),
            lines(2, "each holds what was written; "),
            text("each held what was written"),
        ]),
        // A test whose memory is held by hand says so: none fails, and none takes the kernel down.
        Case::new(
            "frames/selftest-without-memory",
            "sample 1-in-1; selftest; sample free; directmap pool take 10; selftest unmapped; \
             directmap pool give; selftest unmapped; maps audit",
        )
        .cpus(2)
        .memory(MemorySize::mib(64))
        .expect([
            no_text("... FAILED"),
            text("skipped: memory is short"),
            text("skipped: the pool has 10 frames out"),
            text("8 passed, 0 failed"),
        ]),
        // The least memory, with more CPUs than it is meant for: tests are skipped, none fails.
        Case::new("frames/selftest-on-32M", "selftest; stress frames 1; maps audit")
            .cpus(5)
            .memory(MemorySize::mib(32))
            .expect([no_text("... FAILED"), text("skipped: memory is short"), all_back(), text("sound")]),
        Case::new(
            "frames/out-of-the-map",
            "directmap set 0x8000000+2M np; frames 8000; directmap restore all",
        )
        .expect([text("not in the direct map"), text("changed there: "), text("by monitor")]),
        compaction("64M", MemorySize::mib(64), 4),
        compaction("128M", MemorySize::mib(128), 1),
        compaction("128M/4-cpus", MemorySize::mib(128), 4),
        Case::new("frames/compaction/4-nodes", "stress movable 2; selftest compaction; selftest frames")
            .cpus(8)
            .nodes(4)
            .memory(MemorySize::gib(4))
            .within(180)
            .expect([all_back(), text("8 CPUs")]),
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

/// One frame in 64 of all memory stays in use: no block is whole, and a frame out of the direct map, which takes a
/// block, is had through compaction; all contents survive.
fn compaction(name: &str, memory: MemorySize, cpus: u32) -> Case {
    let commands = "sample 1-in-64; buddyinfo; directmap pool take 1; directmap owners; vmstat; \
                    sample; directmap pool give; frames compact; sample free; \
                    stress movable 2; selftest compaction; directmap heal";
    Case::new(format!("frames/compaction/{name}"), commands).cpus(cpus).memory(memory).expect([
        lines(2, "each holds what was written; 0 blocks of 2 MiB whole"),
        // Orders 9 to 18 of both zones.
        lines(2, "      0".repeat(10)),
        text("1 block (1 taken, 0 given back), 1 frame out, 1 flush"),
        text("unmapped pool         1       2 MiB"),
        text("of 2 MiB made whole"),
        text("movable frames given back, each held what was written"),
        no_text("compact_success 0"),
        text("movable stress: "),
        text("the direct map is what boot made, bit for bit"),
    ])
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
