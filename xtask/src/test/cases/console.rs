//! The monitor: its commands, wrong input, and what the outside learns of it.

use crate::test::case::{Case, Ends};
use crate::test::expect::{lines, no_text, text, width};

/// Commands that `help` must name.
const COMMANDS: [&str; 17] = [
    "help", "meminfo", "maps", "walk", "memmap", "cpus", "cpuid", "vmstat", "uptime", "dmesg", "selftest",
    "count", "fault", "ps", "panic", "poweroff", "reboot",
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console/help", "insmod memtest; help")
            .ram_disk()
            .expect(COMMANDS.map(text))
            .expect([text("  memtest ...  "), width(100)]),
        Case::new(
            "console/help-of-one",
            "help bpf; help directmap; help fault; help vmstat; help count; help stress; help kmap",
        )
        .expect([text("bpf load NAME [HEX]|attach NAME"), text("programs that count"), width(100)]),
        Case::new("console/every-view", "meminfo; maps; memmap; cpus; cpuid; vmstat; uptime; dmesg").expect(
            [
                text("MemTotal:"),
                text("MemFree:"),
                text("DirectMap4k:"),
                text("nr_page_table_writes"),
                text("nr_tlb_remote_flush_received"),
            ],
        ),
        Case::new("console/ps", "ps").cpus(2).expect([
            text("STATE"),
            text("idle/1"),
            text("worker/1"),
            lines(1, "prompt"),
        ]),
        Case::new("console/no-prompt-no-echo", "uptime").expect([no_text("uptime"), no_text("> ")]),
        Case::new("console/selftest", "selftest").expect([text("... ok"), text(" passed, 0 failed")]),
        Case::new("console/unknown-command", "frobnicate; uptime")
            .ends(Ends::Failing)
            .expect([text("frobnicate: unknown command")]),
        Case::new("console/failure-is-remembered", "frobnicate; meminfo")
            .ends(Ends::Failing)
            .expect([text("MemTotal:")]),
        Case::new("console/bad-argument", "walk nowhere").ends(Ends::Failing).expect([text("nowhere")]),
        Case::new("console/hexadecimal", "cpuid 80000000; cpuid 7fffffff; frames ffff800001600000")
            .ends(Ends::Failing)
            .expect([
                text("leaf 0x80000000, subleaf 0x0: eax 0x8000"),
                text("cpuid: leaf 0x7fffffff is past the last one"),
                text("frames: 0xffff800001600000 is past all numbers of frames"),
            ]),
        Case::new("console/poweroff", "poweroff; unreached").expect([no_text("unreached")]),
        Case::new("console/poweroff-tells-failures", "frobnicate; poweroff").ends(Ends::Failing),
        Case::new("console/reboot-ends-a-script", "reboot; unreached").expect([no_text("unreached")]),
        Case::new("console/nothing-to-do", ""),
        Case::new("command-line/unknown-word", "dmesg").append("frobnicate=1").expect([text("frobnicate")]),
        Case::new("command-line/bad-value", "dmesg; maps audit").append("directmap=8k").expect([text("8k")]),
    ]
}
