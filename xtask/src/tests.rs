//! Machines: from what a person types to what QEMU gets.

use std::path::Path;

use crate::machine::{Accelerator, Board, Boot, Machine, MemorySize};
use crate::qemu::{Files, arguments, excess, lack};
use crate::setup::Version;

fn words(machine: &Machine) -> String {
    let ovmf = Some((Path::new("code,1.fd"), Path::new("vars.fd")));
    let files = Files { kernel: Path::new("rhumb.elf"), ram_disk: None, iso: Path::new("rhumb.iso"), ovmf };
    arguments(machine, &files, "quiet").join(" ")
}

#[test]
fn sizes_are_read_and_shown() {
    let shown = |text: &str| text.parse::<MemorySize>().map(|size| size.to_string());
    assert_eq!(shown("64M"), Ok("64M".into()));
    assert_eq!(shown("1g"), Ok("1G".into()));
    assert_eq!(shown("1024GiB"), Ok("1T".into()));
    assert_eq!(shown("1536M"), Ok("1536M".into()));
}

#[test]
fn wrong_sizes_say_what_is_wrong() {
    let error = |text: &str| text.parse::<MemorySize>().expect_err(text);
    assert!(error("12").contains("unit"));
    assert!(error("1K").contains("unknown unit `K`"));
    assert!(error("G").contains("whole number"));
    assert!(error("-1G").contains("whole number"));
    assert!(error("1.5G").contains("whole number"));
    assert!(error("").contains("unit"));
    assert!(error("16M").contains("at least"));
    assert!(error("33M").contains("firmware"));
    assert!(error("64T").contains("at most 32T"));
    assert!(error("99999999T").contains("at most"));
    assert!(error("99999999999999999999T").contains("whole number"));
}

#[test]
fn memory_is_sparse_and_unreserved() {
    let words = words(&Machine { memory: MemorySize::gib(1024), ..Machine::default() });
    assert!(words.contains("-object memory-backend-memfd,id=ram0,size=1048576M,reserve=off"), "{words}");
    assert!(words.contains("-machine q35,memory-backend=ram0 "), "{words}");
    assert!(words.contains("-cpu max,phys-bits=42 "), "{words}");
}

#[test]
fn physical_bits_only_where_needed() {
    let cpu = |gib, model: &str| {
        let machine = Machine { memory: MemorySize::gib(gib), cpu_model: model.into(), ..Machine::default() };
        let words = words(&machine);
        words.split("-cpu ").nth(1).and_then(|rest| rest.split(' ').next()).map(String::from)
    };
    assert_eq!(cpu(256, "max").as_deref(), Some("max"));
    assert_eq!(cpu(512, "qemu64").as_deref(), Some("qemu64,phys-bits=41"));
    assert_eq!(cpu(1024, "max,phys-bits=46").as_deref(), Some("max,phys-bits=46"));
    assert_eq!(cpu(1, "max, la57,-pdpe1gb,pku=off").as_deref(), Some("max,+la57,-pdpe1gb,pku=off"));
    assert_eq!(cpu(1, "").as_deref(), Some("max"));
}

#[test]
fn nodes_share_everything() {
    let words = words(&Machine { cpus: 3, nodes: 4, memory: MemorySize::mib(1022), ..Machine::default() });
    for part in ["id=ram0,size=256M", "id=ram1,size=256M", "id=ram2,size=255M", "id=ram3,size=255M"] {
        assert!(words.contains(part), "{part} in {words}");
    }
    assert!(words.contains("node,nodeid=2,memdev=ram2,cpus=2-2"), "{words}");
    assert!(words.contains("node,nodeid=3,memdev=ram3 "), "a node without CPUs: {words}");
    assert!(
        words.contains("dist,src=0,dst=3,val=40") && words.contains("dist,src=2,dst=2,val=10"),
        "{words}"
    );
}

#[test]
fn nodes_without_memory_keep_their_cpus() {
    let machine =
        Machine { nodes: 4, memoryless_nodes: 1, memory: MemorySize::mib(768), ..Machine::default() };
    let words = words(&machine);
    assert!(words.contains("node,nodeid=2,memdev=ram2,cpus=2-2"), "{words}");
    assert!(words.contains("node,nodeid=3,cpus=3-3") && !words.contains("id=ram3"), "{words}");
    assert!(words.contains("id=ram2,size=256M"), "{words}");
}

#[test]
fn other_machines_and_many_cpus() {
    let pc = words(&Machine { board: Board::Pc, ..Machine::default() });
    assert!(pc.contains("-machine pc,memory-backend=ram0 ") && !pc.contains("iommu"), "{pc}");
    let machine = Machine { cpus: 260, ..Machine::default() };
    let many = words(&machine);
    assert!(many.contains("-smp 260") && many.contains("-device intel-iommu,intremap=on"), "{many}");
    let version = |major| Some(Version { major, minor: 0 });
    assert_eq!(lack(&machine, "", version(9)), None);
    assert_eq!(lack(&machine, "", version(8)), Some("needs QEMU 9"));
    assert_eq!(lack(&Machine::default(), "quiet", version(7)), None);
    assert_eq!(lack(&Machine::default(), "quiet x2apic", version(7)), Some("needs QEMU 9"));
}

/// Measured with QEMU 10: 1.5 GiB for 256 CPUs, 5.4 for 512, 7.9 for those with 64 nodes; 24 were too few for 1,024.
#[test]
fn a_machine_for_which_the_host_is_too_small() {
    let machine = |cpus, nodes| Machine { cpus, nodes, ..Machine::default() };
    let needs = |cpus, nodes, tenths: u64| {
        excess(&machine(cpus, nodes), (tenths << 30) / 10 - 1).is_some()
            && excess(&machine(cpus, nodes), (tenths << 30) / 8).is_none()
    };
    assert!(needs(256, 1, 13) && needs(512, 1, 53) && needs(512, 64, 77));
    let message = excess(&machine(1024, 64), 22 << 30).unwrap();
    assert!(message.contains("about 32 GiB for 1024 CPUs and 64 nodes"), "{message}");
    assert_eq!(excess(&Machine { accelerator: Accelerator::Kvm, ..machine(1024, 64) }, 22 << 30), None);
    assert_eq!(excess(&Machine::default(), 1 << 30), None);
}

#[test]
fn kvm_only_where_asked_for() {
    assert!(words(&Machine::default()).contains("-accel tcg"));
    let kvm = Machine { accelerator: Accelerator::Kvm, memory: MemorySize::gib(1024), ..Machine::default() };
    assert!(words(&kvm).contains("-accel kvm -cpu max -smp"), "the host decides on physical bits");
}

#[test]
fn firmware_writes_nothing_to_the_console() {
    let words = words(&Machine::default());
    assert!(!words.contains("-nographic") && words.contains("-display none"), "{words}");
    assert!(words.contains("-serial chardev:console"), "{words}");
}

#[test]
fn an_iso_needs_no_kernel() {
    let bios = words(&Machine { boot: Boot::IsoBios, ..Machine::default() });
    assert!(
        bios.contains("-cdrom rhumb.iso") && !bios.contains("-kernel") && !bios.contains("pflash"),
        "{bios}"
    );
    let uefi = words(&Machine { boot: Boot::IsoUefi, ..Machine::default() });
    assert!(uefi.contains("if=pflash,format=raw,readonly=on,file=code,,1.fd"), "{uefi}");
    assert!(uefi.contains("if=pflash,format=raw,readonly=off,file=vars.fd"), "{uefi}");
}
