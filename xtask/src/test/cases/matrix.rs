//! Each kind of machine: it boots, finds everything, and passes its own tests and audit there.

use crate::machine::{Board, MemorySize};
use crate::test::case::Case;
use crate::test::expect::{kib, lines, nearly, no_text, text};

/// The commands that every machine must pass.
const WHOLE: &str = "cpus; memmap; meminfo; selftest; maps audit";
/// The commands that a machine of hundreds of CPUs must pass: the others would take minutes there.
const BRIEF: &str = "uptime; meminfo; selftest calls::all; maps audit";

/// Firmware, the kernel image and the boot CPU's needs; below 1 GiB they weigh more than a per cent.
const FIXED_MIB: u64 = 24;
/// An upper bound, in per cent: frame descriptors take 12 bytes of 4096, and the allocator's bits take less.
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
    for board in [Board::Pc, Board::Microvm] {
        cases.push(Case::new(format!("machine/{}", board.name()), WHOLE).board(board));
    }
    cases.push(Case::new("cpu/x2apic", WHOLE).append("x2apic").expect([text("local APICs: x2APIC")]));
    // Past what one byte numbers: x2APIC ids, and sets of CPUs of several words.
    cases.push(Case::new("cpus/260", BRIEF).cpus(260).within(300).expect([text("260 CPUs")]));
    // As many as there can be.
    cases.push(
        Case::new("cpus/1024", BRIEF)
            .cpus(1024)
            .memory(MemorySize::gib(4))
            .soak(30)
            .expect([text("1024 CPUs")]),
    );
    cases
        .push(Case::new("nodes/4/1-without-memory", WHOLE).nodes(4).memoryless(1).memory(MemorySize::gib(3)));
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
    // A test that is skipped where the whole machine is free has found memory missing. QEMU's firmware makes all RAM
    // write-back, on every CPU.
    cases
        .into_iter()
        .map(|case| case.expect([no_text("... skipped"), no_text("MTRR")]))
        .chain(leaking())
        .collect()
}

/// A CPU that hides that it is emulated, of a maker whose CPUs leak most: all that is taken against that runs. (QEMU's
/// firmware does not set the MTRRs of such a machine's other CPUs.)
fn leaking() -> [Case; 2] {
    let model = "max,-hypervisor,vendor=GenuineIntel";
    [
        Case::new("cpu/leaks", "cpus; selftest entry; selftest user; selftest cpus::; cpus speculation")
            .cpu(model)
            .expect([
                text("programs are refused"),
                text("meltdown                open"),
                text("spectre_v1              handled"),
                no_text("... skipped"),
            ]),
        Case::new("cpu/leaks/off", "cpus; selftest entry; selftest cpus::")
            .cpu(model)
            .append("mitigations=off")
            .expect([text("programs run unprotected"), no_text("... skipped")]),
    ]
}
