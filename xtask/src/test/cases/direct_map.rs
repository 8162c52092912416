//! The direct map: the largest pages that CPU, command line and memory allow, and nothing but RAM; and after whatever
//! changes exactly that again.
//!
//! Expected sizes are those of `meminfo`'s `DirectMap` lines; the machines are QEMU's q35, which puts 2 GiB of a large
//! memory below its PCI hole and the rest from 4 GiB on.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{Expect, kib, lines, nearly, no_text, text};

const MEMORY: MemorySize = MemorySize::gib(32);
const SIZES: &[&str] = &["DirectMap4k", "DirectMap2M", "DirectMap1G"];
const GIB_KIB: u64 = 1 << 20;

/// Direct-mapped addresses: in the second GiB from 4 GiB on, and in the PCI hole.
const WALK_RAM: &str = "walk 0xffff800140000000";
const WALK_HOLE: &str = "walk 0xffff8000e0000000";
/// In the kernel image, which large pages map.
const WALK_TEXT: &str = "walk 0xffffffff81000000";

pub(crate) fn cases() -> Vec<Case> {
    as_built().into_iter().chain(changed()).chain(pool()).collect()
}

/// The sentence for a map that is as boot made it.
const HEALED: &str = "bit for bit";

/// Changes by hand, on purpose, and on all CPUs.
fn changed() -> Vec<Case> {
    let case = |name: &str, commands: &str| Case::new(format!("direct-map/{name}"), commands);
    let healed = || text(HEALED);
    let in_a_gib = "directmap set 0x240000000+4K ro; directmap why phys:0x240001000; directmap owners; \
                    directmap journal; vmstat; directmap; directmap restore 0x240000000+2M; directmap journal; \
                    directmap set 0x240000000+4K np; directmap restore all; vmstat; directmap heal; vmstat";
    vec![
        case("4k/selftest", "selftest; maps audit; directmap heal")
            .append("directmap=4k")
            .expect([text("sound"), healed()]),
        case("picture", "directmap").memory(MEMORY).expect([text("GGGGGGGG"), text("read-only")]),
        case("set", in_a_gib).memory(MEMORY).expect([
            text("direct_map_level3_splits 1"),
            text("direct_map_level2_splits 1"),
            text("no 1G page because of"),
            text("by monitor: set by hand"),
            text("2 large pages split, 1 range changed"),
            text("2 merged tables kept"),
            text("direct_map_tables_taken_back 2"),
            text("direct_map_level3_collapses 2"),
            text("flush_restore_flushes 1"),
            text("flush_collapse_flushes 1"),
            text("nr_direct_map_tables_kept 2"),
            text("nr_direct_map_tables_kept 0"),
            healed(),
        ]),
        case("why", "directmap why phys:0x10000000; directmap set 0x10000000+4K ro; directmap why phys:0x10001000; directmap heal")
            .expect([
                text("no 1G page since boot: boot maps a part of it otherwise than the rest"),
                text("no 2M page because of [0x10000, 0x10001) ro"),
                healed(),
            ]),
        case(
            "part",
            "directmap set 0x10000000..0x10800000 np; directmap restore 0x107ff000+4K; directmap journal; directmap heal",
        )
        .ends(Ends::Failing)
        .expect([
            text("was set as one range and reaches out of this one"),
            text("1 range changed"),
            healed(),
        ]),
        case("age-twice", "directmap age 1-in-8; directmap age 1-in-8; directmap heal")
            .expect([text("\n0 of "), healed()]),
        case(
            "refused",
            "directmap set 0x1000000+4K ro; directmap set 0x20000000+4K rwx; directmap set 0x20000000+4K x; \
             directmap set 0x20000001+4K ro; directmap set 0xfee00000+4K ro; directmap set 0x20000000+8K np; \
             directmap set 0x20001000+4K np; directmap restore 0x30000000+4K; directmap heal",
        )
        .ends(Ends::Failing)
        .expect([
            text("they hold the kernel's image"),
            text("writable and executable at once cannot be had"),
            text("the frames would be writable and executable"),
            text("are not whole 4-KiB frames"),
            text("is not RAM in the direct map"),
            text("were taken out of the map already, by monitor"),
            text("nothing in there was set by hand"),
            healed(),
        ]),
        case(
            "executable",
            "directmap set 0x20000000+8K rox; directmap why phys:20000000; maps audit; directmap set 0x20000000+8K nx; \
             directmap set 0x20000000+8K x; maps audit; directmap heal; maps audit",
        )
        .expect([text("rox WB"), lines(3, "sound"), healed()]),
        case(
            "executable/never-writable",
            "directmap set 0x20000000+4K rox; directmap set 0x20000000+4K rw; directmap why phys:20000000; directmap heal",
        )
        .ends(Ends::Failing)
        .expect([text("would be writable and executable"), text("rox WB"), healed()]),
        case("age/full", "directmap age full; directmap; maps audit; directmap heal; maps audit").expect([
            text("kkkkkkkk"),
            lines(2, "sound"),
            healed(),
        ]),
        case("age/1-in-3", "directmap age 1-in-3; stress directmap 1; directmap heal; selftest direct_map")
            .memory(MemorySize::gib(4))
            .expect([healed()]),
        case("age/random", "directmap age random:7; maps audit; stress directmap 1; directmap heal")
            .append("nogbpages")
            .expect([text("sound"), healed()]),
        case("stress", "stress directmap 2; directmap heal; maps audit").expect([text("sound"), healed()]),
        case("stress/8-cpus", "stress directmap 4; directmap heal; maps audit; selftest direct_map")
            .cpus(8)
            .memory(MemorySize::gib(4))
            .within(180)
            .expect([text("8 CPUs"), text("sound"), healed()]),
        case("stress/5-levels", "stress directmap 1; directmap heal; maps audit")
            .append("la57")
            .expect([text("sound"), healed()]),
        case(
            "soak",
            "directmap age random:1; stress directmap 240; directmap heal; maps audit; stress frames 2",
        )
        .cpus(8)
        .memory(MemorySize::gib(4))
        .soak(12)
        .expect([text("8 CPUs"), text("sound"), healed()]),
    ]
}

/// Frames out of the map by whole blocks, and the windows through which they are used.
fn pool() -> Vec<Case> {
    let case = |name: &str, commands: &str| Case::new(format!("direct-map/pool{name}"), commands);
    let by_hand = "directmap pool take 600; directmap pool; maps audit; directmap pool give; selftest unmapped; \
                   directmap heal";
    let stressed = |seconds: u64| {
        format!("stress pool {seconds}; stress directmap 1; selftest unmapped; maps audit; directmap heal")
    };
    // No block is whole: the pool makes one whole by moving the frames in it.
    let scattered = format!("sample 1-in-64; {}; sample free", stressed(2));
    let sound = || [text("0 frames out"), text("sound"), text(HEALED)];
    vec![
        case("", by_hand).expect([
            text("2 blocks (2 taken, 0 given back), 600 frames out, 2 flushes"),
            text("monitor: 600 frames, 2 blocks"),
            text("0 blocks (2 taken, 2 given back), 0 frames out"),
            text("sound"),
            text(HEALED),
        ]),
        case("/stress", &stressed(2)).expect(sound()),
        case("/stress/8-cpus", &stressed(4)).cpus(8).memory(MemorySize::gib(4)).within(180).expect(sound()),
        case("/stress/5-levels", &stressed(1)).append("la57").expect(sound()),
        case("/stress/4k", &stressed(1)).append("directmap=4k").expect(sound()),
        case("/stress/scattered", &scattered).expect(sound()).expect([
            no_text("; 0 frames moved for them"),
            text("movable frames given back, each held what was written"),
        ]),
        case("/high-memory", &stressed(1)).append("directmap_limit=512M").expect(sound()),
        gibibyte("1g").expect([text("5x1G"), text("direct_map_level3_splits 0"), kib(&["DirectMap1G"], 6 * GIB_KIB..=6 * GIB_KIB)]),
        gibibyte("nogbpages").append("nogbpages").expect([text("direct_map_level2_splits 0"), none(&["DirectMap1G"])]),
        case(
            "/soak",
            "directmap pool grow 1G; stress pool 60; directmap pool shrink; directmap age random:2; stress directmap 120; \
             stress pool 180; sample 1-in-64; stress pool 30; sample; sample free; \
             stress movable 60; stress directmap 30; selftest flush; directmap heal; maps audit; stress frames 2",
        )
        .cpus(8)
        .memory(MemorySize::gib(8))
        .soak(20)
        .expect([lines(7, "8 CPUs"), text("sound"), text(HEALED)]),
    ]
}

/// The pool grows by 1 GiB: it goes by one flush, serves within, and comes back whole.
fn gibibyte(name: &str) -> Case {
    let commands = "directmap pool grow 1G; directmap; directmap pool take 1500; directmap owners; maps audit; \
                    vmstat; directmap pool give; stress pool 1; meminfo; directmap heal";
    Case::new(format!("direct-map/pool/grow-1g/{name}"), commands)
        .cpus(4)
        .memory(MemorySize::gib(8))
        .within(120)
        .expect([
            text("512 blocks (512 taken, 0 given back), 0 frames out, 1 flush"),
            text("512 blocks (512 taken, 0 given back), 1500 frames out, 1 flush"),
            text("unmapped pool         1       1 GiB         0"),
            text("0 blocks (512 taken, 512 given back), 0 frames out"),
            text("sound"),
            text(HEALED),
        ])
}

/// As boot makes it.
fn as_built() -> Vec<Case> {
    let case = |name: &str, commands: &str| Case::new(format!("direct-map/{name}"), commands).memory(MEMORY);
    let all = || kib(SIZES, nearly(MEMORY, 0, 4));
    vec![
        // 30 GiB above 4 GiB are whole; the 2 GiB below have the image and firmware in them.
        case("largest-pages", "meminfo; maps; maps audit").expect([
            all(),
            kib(&["DirectMap1G"], 30 * GIB_KIB..=33 * GIB_KIB),
            kib(&["DirectMap4k"], 0..=4096),
        ]),
        case("without-1g-pages", "meminfo; maps; maps audit").cpu("max,-pdpe1gb").expect([
            all(),
            none(&["DirectMap1G"]),
            kib(&["DirectMap4k"], 0..=4096),
        ]),
        case("nogbpages", "meminfo; maps audit").append("nogbpages").expect([all(), none(&["DirectMap1G"])]),
        case("2m", "meminfo; maps audit").append("directmap=2m").expect([all(), none(&["DirectMap1G"])]),
        case("4k", "meminfo; maps; maps audit")
            .append("directmap=4k")
            .expect([all(), none(&["DirectMap1G", "DirectMap2M"])]),
        case("1g", "meminfo; maps audit")
            .append("directmap=1g")
            .expect([all(), kib(&["DirectMap1G"], 30 * GIB_KIB..=33 * GIB_KIB)]),
        case("hole-is-absent", WALK_HOLE).expect([text("not present")]),
        case("walk/1g", WALK_RAM).expect([text("2 memory reads")]),
        case("walk/2m", WALK_RAM).append("nogbpages").expect([text("3 memory reads")]),
        case("walk/4k", WALK_RAM).append("directmap=4k").expect([text("4 memory reads")]),
        case("walk/text", WALK_TEXT).expect([text("3 memory reads")]),
        case("walk/text/4k", &format!("{WALK_TEXT}; maps audit; selftest protection"))
            .append("text=4k")
            .expect([text("4 memory reads"), text("sound")]),
        case("capped", "meminfo; maps audit")
            .append("mem=512M")
            .expect([kib(&["MemTotal"], nearly(MemorySize::mib(512), 2, 24))]),
    ]
}

/// No memory in these lines.
fn none(names: &'static [&'static str]) -> Expect {
    kib(names, 0..=0)
}
