//! Object caches in the kernel: all CPUs at once, checks that notice injected faults, memory that returns.

use crate::machine::MemorySize;
use crate::test::case::{Case, Ends};
use crate::test::expect::{Expect, no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("objects/views", "slabinfo; slabs; meminfo; slabs reclaim").expect([
            text("slabinfo - version: 2.1"),
            text("kmalloc-64"),
            text("Slab:"),
            text("held before"),
        ]),
        Case::new("objects/stress", "stress slabs 2; selftest objects")
            .cpus(4)
            .expect([text("4 CPUs"), all_back()]),
        Case::new("objects/stress/64M", "stress slabs 1; selftest objects")
            .memory(MemorySize::mib(64))
            .expect([all_back()]),
        Case::new("objects/stress/8-cpus-4-nodes", "stress slabs 4; selftest objects")
            .cpus(8)
            .nodes(4)
            .memory(MemorySize::gib(8))
            .expect([all_back(), text("8 CPUs")]),
        Case::new("objects/stress/checked", "stress slabs 1; selftest collections; slabs leaks")
            .cpus(2)
            .append("slab_debug=FZPU")
            // A range for each size of unit, for each of the CPUs' ten stacks and of three threads', and for each of three
            // devices. The stress has every CPU give back the records that it keeps for later.
            .expect([all_back(), text("kmap_range: 19 objects in use"), no_text("kmalloc-")]),
        // Checked objects come back otherwise than others: later, or by no magazine. That is no failure.
        Case::new("objects/all-checked", "selftest objects; selftest compaction; stress slabs 1")
            .cpus(2)
            .memory(MemorySize::mib(256))
            .append("slab_debug=FZPUQ")
            .expect([no_text("... FAILED"), text("skipped: slab_debug=Q keeps"), all_back()]),
        injected("overrun", "was overrun: byte 64"),
        injected("underrun", "was overrun: byte -1"),
        injected("write-after-free", "was written after its free: byte 0"),
        injected("double-free", "is free already"),
        injected("foreign-free", "is in no slab"),
        Case::new("objects/injected/leak", "inject leak; slabs leaks")
            .append("slab_debug=FZPU")
            .expect([text("kmalloc-64: 1 object in use"), text("inject::objects::inject")]),
        Case::new("objects/checked-and-absent", "uptime")
            .append("slab_debug=FZ,kmalloc-64,nosuch,no*")
            .expect([
                text("slab_debug: no cache is called nosuch so far"),
                text("slab_debug: no cache is called no* so far"),
                no_text("called kmalloc-64"),
            ]),
        Case::new("objects/unchecked", "inject overrun")
            .ends(Ends::Failing)
            .expect([text("boot with slab_debug")]),
    ]
}

fn all_back() -> Expect {
    text(", 0 bytes in use")
}

/// The fault is noticed, and its report names the cache and the function that did it.
fn injected(fault: &str, report: &'static str) -> Case {
    Case::new(format!("objects/injected/{fault}"), &format!("inject {fault}"))
        .append("slab_debug=FZPU loglevel=error")
        .expect([text("slab: kmalloc-64: object at"), text(report), text("1 reported")])
}

/// Tells whether the fault that a case injects is a forbidden access, and not only a wrong free.
pub(crate) fn accesses_what_is_forbidden(case: &Case) -> bool {
    ["overrun", "underrun", "write-after-free"]
        .iter()
        .any(|fault| case.name.ends_with(&format!("injected/{fault}")))
}
