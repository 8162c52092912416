//! The direct map: the largest pages that CPU, command line and memory allow, and nothing but RAM.
//!
//! Expected sizes are those of `meminfo`'s `DirectMap` lines; the machines are QEMU's q35, which puts 2 GiB of a large
//! memory below its PCI hole and the rest from 4 GiB on.

use crate::machine::MemorySize;
use crate::test::case::Case;
use crate::test::expect::{Expect, kib, nearly, text};

const MEMORY: MemorySize = MemorySize::gib(32);
const SIZES: &[&str] = &["DirectMap4k", "DirectMap2M", "DirectMap1G"];
const GIB_KIB: u64 = 1 << 20;

/// Direct-mapped addresses: in the second GiB from 4 GiB on, and in the PCI hole.
const WALK_RAM: &str = "walk 0xffff800140000000";
const WALK_HOLE: &str = "walk 0xffff8000e0000000";
/// In the kernel image, which large pages map.
const WALK_TEXT: &str = "walk 0xffffffff81000000";

pub(crate) fn cases() -> Vec<Case> {
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
        case("capped", "meminfo; maps audit")
            .append("mem=512M")
            .expect([kib(&["MemTotal"], nearly(MemorySize::mib(512), 2, 24))]),
    ]
}

/// No memory in these lines.
fn none(names: &'static [&'static str]) -> Expect {
    kib(names, 0..=0)
}
