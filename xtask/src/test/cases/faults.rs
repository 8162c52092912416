//! Faults on purpose: each fault ends in a full report, and each injected fault of the tables is found.

use crate::machine::Serial;
use crate::test::case::{Case, Ends};
use crate::test::expect::{lines, no_text, text};

/// A kind of fault that the monitor provokes, and the text that its report must have.
const FAULTS: [(&str, &str); 9] = [
    ("read", "page fault"),
    ("write", "page fault"),
    ("exec", "page fault"),
    ("stack", "double fault"),
    ("df", "double fault"),
    ("ud", "invalid opcode"),
    ("gp", "general protection fault"),
    ("de", "division error"),
    ("nmi", "non-maskable interrupt"),
];

/// A fault in the tables that the monitor injects, and its name in the audit's report.
const INJECTIONS: [(&str, &str); 5] = [
    ("wx", "are writable at"),
    ("overlap", "are mapped twice"),
    ("device", "is not RAM, but cached"),
    ("root", "of the root is not what boot left there"),
    ("wp", "CPU 0 has other control registers than boot decided on"),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, name) in FAULTS {
        let said = [text(name), text("rip"), text("cr2"), text("backtrace")];
        // Nor does the report take more of an exception's stack than there is for it.
        let report = said.into_iter().chain([lines(0, "unreached"), no_text("bytes of stack")]);
        let commands = format!("fault {kind}; unreached");
        cases.push(Case::new(format!("fault/{kind}"), &commands).ends(Ends::Panicking).expect(report));
    }
    // An overflow is told as such, with the thread's name.
    let overflow =
        Case::new("fault/threadstack", "fault threadstack; unreached").cpus(2).ends(Ends::Panicking);
    cases.push(overflow.expect([
        text("double fault"),
        text("in the guard page below the thread stack of CPU"),
        text("(overflow)"),
        lines(0, "unreached"),
    ]));
    // Names in a backtrace show that the symbol table is in place.
    cases.push(Case::new("panic", "panic").ends(Ends::Panicking).expect([
        text("panic"),
        text("backtrace"),
        text("rhumb::debug::run+0x"),
    ]));
    for (kind, name) in INJECTIONS {
        let commands = format!("maps audit; inject {kind}; maps audit");
        let found = [text("sound"), text(name), text("the audit found")];
        cases.push(Case::new(format!("inject/{kind}"), &commands).ends(Ends::Failing).expect(found));
        // A fault that is taken out again is not found any more, because the audit reads the tables, not a record of
        // injected faults.
        let commands = format!("inject {kind}; inject none; maps audit");
        cases
            .push(Case::new(format!("inject/{kind}/none"), &commands).expect([text("sound"), no_text(name)]));
    }
    // The kernel logs the place, counts it, and goes on.
    let impossible = "inject impossible; maps audit; vmstat";
    let said = ["this cannot be: 'inject' asked for it (kernel/src/", "1 impossible step", "nr_impossible 1"]
        .map(text);
    cases.push(
        Case::new("inject/impossible", impossible).ends(Ends::Failing).takes_impossible_step().expect(said),
    );
    cases.push(Case::new("fault/in-a-report", "fault report").ends(Ends::Panicking).expect([
        text("a message that"),
        text("a fault inside the report: #UD invalid opcode, at "),
        text("FaultsWhenShown"),
    ]));
    cases.push(Case::new("fault/silent-cpu", "fault silent; unreached").ends(Ends::Panicking).expect([
        text("CPU 3 has not answered for 20 s"),
        text("CPU 3 was at rhumb::"),
        lines(2, "backtrace:"),
        lines(0, "unreached"),
    ]));
    // Of more CPUs than a report has lines for, it shows the silent one, and those that idle in a line.
    cases.push(Case::new("fault/silent-cpu/of-20", "fault silent").cpus(20).ends(Ends::Panicking).expect([
        text("CPU 19 has not answered for 20 s"),
        text("CPU 19 was at rhumb::"),
        text(" more CPUs) was at "),
        lines(2, "backtrace:"),
        no_text("elsewhere"),
    ]));
    // The CPU pushes no error code for these.
    for kind in ["ud", "de", "nmi"] {
        let case = Case::new(format!("fault/{kind}/no-error-code"), &format!("fault {kind}"));
        cases.push(case.ends(Ends::Panicking).expect([no_text("error code")]));
    }
    // Machines on which the kernel cannot run: it says so in one sentence.
    for (model, sentence) in
        [("qemu64,-lm", "this CPU has no long mode"), ("max,-nx", "has no no-execute pages")]
    {
        let case = Case::new(format!("refused/{model}"), "unreached").cpu(model).ends(Ends::Refusing);
        cases.push(case.expect([text(sentence), lines(0, "unreached")]));
    }
    // An IDE controller where COM1 should be: its registers never say that a byte can be sent. The machine ends all the
    // same, in silence.
    let mute =
        Case::new("refused/nothing-takes-the-sentence", "unreached").cpu("max,-nx").ends(Ends::Refusing);
    let mute = mute.serial(Serial::Com2).devices("-device isa-ide,iobase=0x3f8,iobase2=0x3e0,irq=14");
    cases.push(mute.expect([no_text("no-execute"), lines(0, "unreached")]));
    cases.push(
        Case::new("inject/nothing", "maps audit; maps audit").expect([text("sound"), no_text("broken")]),
    );
    cases
}
