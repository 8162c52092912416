//! A direct map that ends within RAM: the kernel's own tests and stresses, with most memory past the map's end; and
//! limits that cannot be kept.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{Expect, kib, lines, no_text, text};

const LIMIT: &str = "directmap_limit=256M";
const LIMIT_KIB: u64 = 256 << 10;

pub(crate) fn cases() -> Vec<Case> {
    let machine = |name: &str, commands: &str| {
        Case::new(format!("high-memory/{name}"), commands).memory(MemorySize::gib(2)).cpus(4).append(LIMIT)
    };
    let stressed = "stress frames 2; stress slabs 2; stress movable 1; stress pool 1; stress longmap 1; stress directmap 1; \
                    maps audit; directmap heal";
    let sound = || [text("frames free again"), text("sound"), text("what boot made, bit for bit")];
    vec![
        machine("selftest", "meminfo; zoneinfo; selftest; maps audit").within(180).expect([
            no_text("... FAILED"),
            text(", 0 failed"),
            text("HighMem"),
            text("sound"),
            // Low memory is all that the map shows.
            kib(&["LowTotal"], LIMIT_KIB - 2048..=LIMIT_KIB),
            kib(&["DirectMap4k", "DirectMap2M"], LIMIT_KIB - 2048..=LIMIT_KIB),
        ]),
        machine("stress", stressed).within(180).expect(sound()),
        machine("stress/2-nodes", stressed).nodes(2).within(180).expect(sound()),
        // Movable memory and the pool's are past the map's end, and moved and cleared through windows.
        Case::new(
            "high-memory/used-first",
            "sample 1-in-64; directmap pool take 600; directmap pool; sample; frames compact; \
             directmap pool give; sample free; maps audit",
        )
        .memory(MemorySize::mib(256))
        .append("directmap_limit=96M")
        .expect([
            text("2 blocks (2 taken, 0 given back), 600 frames out, 0 flushes"),
            lines(2, "each holds what was written"),
            text("movable frames given back, each held what was written"),
            text("sound"),
        ]),
        // A module leaves memory of the map to the kernel, however much there is past its end.
        machine("module", "insmod probe; probe greed; rmmod probe; maps audit")
            .ram_disk()
            .expect([text("blocks, and 4 MiB for the kernel"), text("sound")]),
        machine("longmap", "longmap map 3; longmap unmap; longmap; maps audit").expect([
            text("3 of 512 slots held, 3 at most; 3 made, 0 flushes"),
            text("monitor: 3 pages"),
            text(" ms, on CPU 0, kernel/src/debug/long_map.rs"),
            text("0 of 512 slots held, 3 at most; 3 made, 0 flushes"),
            text("sound"),
        ]),
        Case::new("high-memory/longmap/none", "longmap map 3; longmap unmap; maps audit").expect([
            lines(2, "0 of 0 slots held, 0 at most; 0 made, 0 flushes"),
            text("so mappings need no slots; 3 by hand"),
            text("so mappings need no slots; 0 by hand"),
            text("sound"),
        ]),
        machine("longmap/too-many", "longmap map 3; longmap map 254; longmap; longmap unmap; maps audit")
            .ends(Ends::Failing)
            .expect([
                text("longmap: at most 256 pages can be mapped by hand, and 3 are already"),
                lines(2, "monitor: 3 pages"),
                text("sound"),
            ]),
        limit("zero", "0").expect(unlimited("'directmap_limit=0' is ignored: accepted is a size above 0")),
        limit("below-the-image", "16M").expect(unlimited("is below the end of the kernel's image")),
        // The allocator's records of a TiB alone are larger.
        limit("too-low", "64M")
            .memory(MemorySize::gib(1024))
            .expect(unlimited("KiB there: the direct map shows all RAM")),
        limit("past-all-ram", "8G").expect(unlimited("all of it is in the direct map")),
        limit("within-a-frame", "0x10000123").expect([
            text("0x10000123 is no multiple of 4 KiB: the direct map ends at 0x10000000"),
            kib(&["LowTotal"], LIMIT_KIB - 2048..=LIMIT_KIB),
            text("sound"),
        ]),
        limit("not-a-number", "lots").expect(unlimited("'directmap_limit=lots' is ignored")),
    ]
}

/// Boots with a limit that is no good, and looks what came of it.
fn limit(name: &str, limit: &str) -> Case {
    Case::new(format!("high-memory/limit/{name}"), "meminfo; maps audit")
        .memory(MemorySize::mib(512))
        .append(&format!("directmap_limit={limit}"))
}

/// The boot log says this, and all RAM is in the map.
fn unlimited(sentence: &'static str) -> [Expect; 3] {
    [text(sentence), kib(&["HighTotal"], 0..=0), text("sound")]
}
