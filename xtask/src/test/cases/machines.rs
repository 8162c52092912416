//! Boards, consoles and CPUs that are not the usual ones, and what comes from outside: interrupts and errors that
//! nothing announced.

use crate::machine::{Board, MemorySize, Serial};
use crate::test::case::{Case, Ends};
use crate::test::expect::{lines, no_text, text};

/// Tests of calls, clocks and flushes, which depend on interrupt controllers and timers.
const INTERRUPTS: &str = "cpus; selftest calls; selftest flush; selftest nmi; selftest time; maps audit";

pub(crate) fn cases() -> Vec<Case> {
    consoles().into_iter().chain(boards()).chain(cpus()).chain(from_outside()).collect()
}

/// The prompt is found where it is, and answers without an interrupt, too.
fn consoles() -> Vec<Case> {
    let case = |name: &str, serial| {
        Case::new(format!("console/{name}"), "uptime; selftest time").serial(serial).expect([text("up 0:")])
    };
    vec![
        case("com2", Serial::Com2),
        case("com2/named", Serial::Com2).append("console=com2"),
        case("wrong-interrupt", Serial::Com1WrongInterrupt),
        case("pci", Serial::Pci),
        case("named-and-absent", Serial::Com1)
            .append("console=0x3e8")
            .expect([text("there is no serial port at")]),
    ]
}

/// Boards that lack parts of a PC.
fn boards() -> Vec<Case> {
    vec![
        Case::new("board/pc", INTERRUPTS).board(Board::Pc).expect([text("sound")]),
        // A table that describes the remapping of interrupts.
        Case::new("board/remapping", INTERRUPTS)
            .devices("-device intel-iommu,intremap=on")
            .append("x2apic")
            .expect([text("local APICs: x2APIC"), text("sound")]),
        // No ACPI timer, and the PIT without its port 0x61.
        Case::new("board/microvm", &format!("dmesg; {INTERRUPTS}"))
            .board(Board::Microvm)
            .append("loglevel=info")
            .expect([text("(by the PIT)"), no_text("taking it to run"), text("sound")]),
        // A counter that says its rate itself, and a machine that has none.
        Case::new("clock/hpet", "dmesg; selftest time")
            .append("clock=hpet loglevel=info")
            .expect([text("(by the HPET)"), text("3 passed, 0 failed")]),
        Case::new("clock/no-hpet", "dmesg; selftest time")
            .devices("-machine hpet=off")
            .append("clock=hpet loglevel=info")
            .expect([text("clock=hpet: there is no such counter"), text("(by the ACPI timer)")]),
        // The register that turns it off is in memory. The exit port is none.
        Case::new("board/microvm/turns-off", "uptime")
            .board(Board::Microvm)
            .append("exit_port=0xe0")
            .ends(Ends::TurnedOff)
            .expect([text("up 0:"), no_text("cannot turn itself off")]),
    ]
}

/// Interrupt controllers in either mode, and CPUs that do not take part.
fn cpus() -> Vec<Case> {
    vec![
        Case::new("cpus/x2apic", INTERRUPTS)
            .append("x2apic")
            .expect([text("local APICs: x2APIC"), text("sound")]),
        Case::new("cpus/xapic", INTERRUPTS).expect([text("local APICs: xAPIC"), text("sound")]),
        Case::new("cpus/65", "cpus; selftest calls::one; selftest calls::all; maps audit")
            .cpus(65)
            .memory(MemorySize::gib(1))
            .within(300)
            .expect([lines(65, "online"), text("sound")]),
        Case::new("cpus/protections", "cpus").expect([text("pge, on every CPU")]),
        Case::new("cpus/start-this-one", "cpus; selftest calls")
            .cpus(2)
            .append("startcpu=0")
            .expect([lines(2, "online"), text("startcpu=0 is ignored")]),
        Case::new("cpus/start-a-listed-one", "cpus; selftest calls")
            .cpus(2)
            .append("startcpu=1")
            .expect([lines(2, "online"), text("startcpu=1 is ignored")]),
        Case::new("cpus/parked", "cpus; selftest calls")
            .append("maxcpus=2")
            .expect([lines(2, "online"), text("2 more do not take part, and are parked")]),
        // Its place goes to the next one, once it has parked.
        Case::new("cpus/one-lacks-something", "cpus; selftest calls")
            .cpus(1)
            .devices(
                "-smp maxcpus=3,sockets=3,cores=1,threads=1 \
                 -device max-x86_64-cpu,socket-id=1,core-id=0,thread-id=0,smap=off \
                 -device max-x86_64-cpu,socket-id=2,core-id=0,thread-id=0",
            )
            .expect([
                text("CPU 1 does not take part: it lacks SMAP"),
                no_text("does not start"),
                lines(2, "online"),
                text("1 more does not take part, and is parked"),
            ]),
        Case::new("cpus/all-parked", "cpus").append("maxcpus=1").expect([text("3 more do not take part")]),
    ]
}

/// Status of an error that was not corrected, with address and more: as hardware records a broken cell.
const MACHINE_CHECK: &str = "mce 0 1 0xbd00000000000134 0x5 0x12345000 0x86";
const MACHINE_CHECK_FOR_ALL: &str = "mce -b 0 1 0xbd00000000000134 0x5 0x12345000 0x86";

fn from_outside() -> Vec<Case> {
    // Longer than any machine takes to be told.
    let waiting = "uptime; stress frames 20; unreached";
    let report = || {
        [
            text("#MC machine check"),
            text("CPU 0: bank 1, status 0xbd00000000000134, address 0x12345000, misc 0x86, not corrected"),
            no_text("#MC machine check, error code"),
            text("backtrace"),
            lines(0, "unreached"),
        ]
    };
    vec![
        Case::new("machine-check/one-cpu", waiting)
            .when("up 0:", MACHINE_CHECK)
            .ends(Ends::Panicking)
            .expect(report()),
        // QEMU tells errors to all CPUs of models that do.
        Case::new("machine-check/every-cpu", waiting)
            .cpu("Haswell")
            .when("up 0:", MACHINE_CHECK_FOR_ALL)
            .ends(Ends::Panicking)
            .expect(report()),
        // A CPU that waits for its start-up would reset the machine.
        Case::new("machine-check/some-cpus-are-parked", waiting)
            .cpu("Haswell")
            .append("maxcpus=2")
            .when("up 0:", MACHINE_CHECK_FOR_ALL)
            .ends(Ends::Panicking)
            .expect(report()),
        // The report goes on, whatever comes while it is written.
        Case::new("panic/interrupted", "panic boom")
            .when("kernel panic", "nmi")
            .ends(Ends::Panicking)
            .expect([text("kernel panic on CPU 0: boom"), text("backtrace"), text("the machine stops here")]),
        // The report has the log lines that were not shown, and the places of the other CPUs.
        Case::new("panic/complete", "panic boom").ends(Ends::Panicking).expect([
            text("CPU 3 was at"),
            text("that were not shown"),
            text("4 of 4 CPUs"),
            text("the machine stops here"),
        ]),
    ]
}
