//! BPF programs from the RAM disk: loaded, run, read, unloaded; and those that are refused.

use crate::test::case::{Case, Ends};
use crate::test::expect::{at_least, no_text, text};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "bpf/splits",
            "bpf load splits.bpf; bpf attach splits; directmap set 4000000+4K ro; directmap set 4400000+4K ro; \
             bpf maps splits; directmap restore all; bpf list; bpf detach splits; bpf unload splits; bpf list; maps audit",
        )
        .ram_disk()
        .expect([
            text("splits: 1 program verified"),
            text("@splits[monitor, set by hand]: 2"),
            text("0 events missed, 0 faults at run time"),
            text("sound"),
        ]),
        Case::new(
            "bpf/every-event",
            "bpf load allocs; bpf attach allocs; bpf load flushes; bpf attach flushes; frames stress 1; slabs stress 1; \
             directmap set 4000000+4K ro; directmap restore all; bpf maps; bpf list; bpf detach allocs; \
             bpf detach flushes; bpf unload flushes; bpf unload allocs; maps audit",
        )
        .ram_disk()
        .cpus(4)
        .expect([
            text("@frames[no owner]:"),
            text("@bytes[slab-alloc]:"),
            text("@caches[kmalloc-64]:"),
            text("@pages[split]:"),
            at_least(1, "@sites["),
            text("allocs: 2 programs detached"),
            text("sound"),
        ]),
        refused("loop", "instruction 2: it jumps back, and programs may not loop"),
        refused("wild", "r2 is not a pointer"),
        refused("leak", "r0 is a pointer, and a number is wanted"),
        refused("opcode", "opcode 0xff is unknown"),
        Case::new(
            "bpf/typed-at-the-prompt",
            "bpf load one b7000000010000009500000000000000; bpf attach one flush; bpf list; bpf unload one",
        )
        .ends(Ends::Failing)
        .expect([text("one: 1 program verified"), text("one: it is attached to flush: detach it first")]),
        Case::new("bpf/long-name", "bpf load a-name-that-is-longer-than-31-chars b7000000000000009500000000000000; bpf list")
            .ends(Ends::Failing)
            .expect([text("a name has at most 31 characters"), no_text("  -")]),
        Case::new("bpf/no-such-program", "bpf load moon")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([text("bpf: the RAM disk has no file 'moon.bpf'")]),
        Case::new("bpf/empty", "bpf load empty; bpf list")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([text("bpf: program empty is empty: it has no instructions"), no_text("  -")]),
        Case::new("bpf/for-another-event", "bpf load splits; bpf attach splits flush; bpf list; bpf unload splits")
            .ram_disk()
            .ends(Ends::Failing)
            .expect([
                text("bpf: splits: its program is for split, whose words mean other things than flush's"),
                text("splits  on_split            12           0  -"),
            ]),
        Case::new("bpf/not-loaded", "bpf attach moon split")
            .ends(Ends::Failing)
            .expect([text("moon: no such object is loaded")]),
    ]
}

/// A program of the RAM disk that is not let pass, and leaves nothing.
fn refused(name: &str, why: &str) -> Case {
    Case::new(format!("bpf/refused-{name}"), &format!("bpf load {name}; bpf list; meminfo"))
        .ram_disk()
        .ends(Ends::Failing)
        .expect([text(why), no_text("verified"), text("MemFree")])
}
