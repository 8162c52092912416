//! The kernel map: its own tests and those of stacks under each policy and each protection of tables, and what its
//! commands say.

use crate::machine::MemorySize;
use crate::test::case::Case;
use crate::test::expect::{lines, text};

/// The kernel's tests of the map, then a check of all of it.
const ALL: &str = "selftest kernel_map; selftest stacks; kmap check; vmallocinfo; maps audit";

/// CPUs count in areas that move, and areas that were taken by hand move.
const MOVES: &str = "selftest kernel_map::cpus_count_while; selftest kernel_map::a_move_keeps; kmap take 700 0; \
                     kmap take 5 0; kmap move all 1; vmallocinfo; vmstat; kmap move all 0; kmap move all 0; kmap give; \
                     kmap check; maps audit";

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, words: &str, policy: &str| {
        Case::new(format!("kernel-map/{name}"), ALL).cpus(4).append(words).expect([
            text("the page tables say the same"),
            text("every structure is sound"),
            text(format!("waiting for a flush ({policy})")),
            // Of each of four CPUs, that on which it came up, four for interrupts, and the idle thread's; and that of the
            // boot CPU's worker.
            lines(25, "kernel_stacks pages="),
            text("CPU 3 machine-check stack"),
            text("phys=0x00000000fee00000 ioremap"),
        ])
    };
    let moves = |name: &str, words: &str| {
        Case::new(format!("kernel-map/moves{name}"), MOVES).cpus(4).nodes(2).append(words).within(60).expect(
            [
                text("cpus_count_while_an_area_moves ... ok"),
                text("a_move_keeps_data_sizes_and_rights ... ok"),
                text("705 pages moved to node 1"),
                text("pages=700 vmalloc movable N1=700"),
                text("kmap_pages_moved"),
                text("0 pages moved to node 0; 705 there before"),
                text("2 areas given back"),
                text("every structure is sound"),
                text(": sound"),
            ],
        )
    };
    vec![
        moves("", ""),
        // The frames of both nodes but the first 256 MiB are copied through windows.
        moves("/high-memory", "directmap_limit=256M"),
        moves("/protected", "protect_tables=window kmap_flush=eager"),
        case("selftest", "", "lazy"),
        // Two CPUs on each node, whose stacks are there, and the boot CPU's worker.
        case("eager", "kmap_flush=eager", "eager")
            .nodes(2)
            .expect([lines(3, "pages=32 vmalloc N0=32"), lines(2, "pages=32 vmalloc N1=32")]),
        case("batched/5-levels", "kmap_flush=batched la57 nogbpages", "batched"),
        case("protected/windows", "protect_tables=window", "lazy"),
        case("protected/keys", "protect_tables=pks", "lazy").memory(MemorySize::mib(256)),
        Case::new(
            "kernel-map/objects",
            "selftest objects::collections; selftest objects::i12; kmem compare; kmap check; stress slabs 1; maps audit",
        )
        .cpus(4)
        .append("kmem=virtual")
        .expect([text("512 pages       kernel map, lazy"), text("every structure is sound"), text(", 0 bytes in use")]),
        Case::new("kernel-map/objects/protected", "kmem compare; selftest kernel_map")
            .append("kmem=virtual protect_tables=window")
            .expect([text("kmem=virtual: not with protected page tables")]),
        // Their stacks would take half of the memory that is left.
        Case::new("stacks/no-memory", "cpus; kmap check; selftest calls::all; maps audit")
            .cpus(96)
            .memory(MemorySize::mib(64))
            .append("mem=34M")
            .within(300)
            .expect([
                text("cannot have stacks: left out (no memory for the area"),
                text("do not take part, and are parked"),
                text("every structure is sound"),
            ]),
        case("bad-policy", "kmap_flush=never", "lazy")
            .expect([text("'kmap_flush=never' is ignored: accepted is eager, batched or lazy")]),
    ]
}
