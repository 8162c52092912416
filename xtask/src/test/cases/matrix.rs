//! Each kind of machine: it boots, finds everything, and passes its own tests and audit there.

use crate::machine::MemorySize;
use crate::test::case::Case;
use crate::test::expect::{kib, lines, nearly, text};

/// What every machine must pass.
const WHOLE: &str = "cpus; memmap; meminfo; selftest; maps audit";

/// Firmware, the kernel image and the boot CPU's needs; below 1 GiB they weigh more than a per cent.
const FIXED_MIB: u64 = 24;
/// Frame descriptors take 64 bytes of 4096.
const DESCRIPTORS_PERCENT: u64 = 2;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cpus in [1, 2, 4, 8] {
        cases.push(Case::new(format!("cpus/{cpus}"), WHOLE).cpus(cpus).expect([lines(cpus, "online")]));
    }
    let sizes = [64, 1 << 10, 32 << 10, 180 << 10, 256 << 10, 1 << 20].map(MemorySize::mib);
    for memory in sizes {
        let total = kib(&["MemTotal"], nearly(memory, DESCRIPTORS_PERCENT, FIXED_MIB));
        cases.push(Case::new(format!("memory/{memory}"), WHOLE).memory(memory).expect([total]));
    }
    for nodes in [1, 2, 4] {
        cases.push(Case::new(format!("nodes/{nodes}"), WHOLE).nodes(nodes).memory(MemorySize::gib(8)));
    }
    // More nodes than CPUs: some have memory only.
    cases.push(Case::new("nodes/4-of-2-cpus", WHOLE).nodes(4).cpus(2).memory(MemorySize::gib(4)));
    for model in ["max", "qemu64", "Haswell", "max,-pdpe1gb"] {
        cases.push(Case::new(format!("cpu/{model}"), WHOLE).cpu(model).memory(MemorySize::gib(6)));
    }
    cases.push(Case::new("cpu/5-level", WHOLE).append("la57").memory(MemorySize::gib(6)));
    cases.push(
        Case::new("cpu/5-level/1T", WHOLE).append("la57").memory(MemorySize::gib(1024)).cpus(8).nodes(4),
    );
    cases.push(Case::new("cpu/qemu64/1T", WHOLE).cpu("qemu64").memory(MemorySize::gib(1024)).cpus(2));
    cases.push(Case::new("cpus/maxcpus", WHOLE).cpus(4).append("maxcpus=2").expect([lines(2, "online")]));
    cases.push(
        Case::new("cpus/one-does-not-start", WHOLE)
            .cpus(2)
            .append("startcpu=7")
            .expect([text("the CPU with APIC id 7 does not start: left out"), lines(2, "online")]),
    );
    cases
}
