//! Threads of the kernel: their own tests and stress on one to eight CPUs, on several nodes, with their records in the
//! kernel map, with little memory.

use crate::machine::MemorySize;
use crate::test::case::Case;
use crate::test::expect::{lines, no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, cpus: u32| {
        Case::new(
            format!("threads/{name}"),
            "selftest threads; selftest preempt; stress threads 3; ps; kmap check; maps audit; vmstat",
        )
        .cpus(cpus)
        .expect([
            text("10 passed, 0 failed"),
            text("stress threads: "),
            text("every structure is sound"),
            text("sound"),
            text("nr_impossible 0"),
            lines(1, "prompt"),
            no_text("... skipped"),
        ])
    };
    vec![
        case("1-cpu", 1),
        case("2-cpus", 2),
        case("4-cpus", 4),
        case("8-cpus", 8),
        case("2-nodes", 4).nodes(2).memory(MemorySize::gib(2)),
        case("in-the-kernel-map", 4).append("kmem=virtual"),
        case("checked-objects", 2).append("slab_debug=FZPU,thread"),
        case("small", 2).memory(MemorySize::mib(64)),
        case("x2apic", 2).append("x2apic"),
    ]
}
