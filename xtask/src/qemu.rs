//! QEMU's arguments for a [`Machine`].
//!
//! Pure: a machine goes in, words come out. They rest on this:
//! - Memory is a memfd without reservation: a guest of 1 TiB costs the host only the pages that it touches.
//! - The first serial port is QEMU's standard input and output. `-nographic` would do that, too, but makes the
//!   firmware write to it.
//! - Writing N to the exit port ends QEMU with status 2N+1, so that 0 never means success by accident; `-no-reboot`
//!   makes a triple fault end QEMU, too. On a terminal it is left out: there `reboot` starts the machine again.

use std::path::Path;

use crate::machine::{Accelerator, Board, Boot, MAX_XAPIC_CPUS, Machine, OnReset, Serial};
use crate::setup::Version;

/// The I/O port behind which QEMU's `isa-debug-exit` listens.
pub(crate) const EXIT_PORT: u16 = 0xf4;

/// Files that a machine boots from.
pub(crate) struct Files<'a> {
    /// The kernel's ELF file, for [`Boot::Direct`].
    pub(crate) kernel: &'a Path,
    /// The initial RAM disk, for [`Boot::Direct`]; an ISO carries its own.
    pub(crate) ram_disk: Option<&'a Path>,
    /// The ISO, for the other two.
    pub(crate) iso: &'a Path,
    /// OVMF's code and a private copy of its variables, for [`Boot::IsoUefi`].
    pub(crate) ovmf: Option<(&'a Path, &'a Path)>,
}

/// Returns the arguments that start `machine` with `command_line` for the kernel (an ISO carries its own).
pub(crate) fn arguments(machine: &Machine, files: &Files<'_>, command_line: &str) -> Vec<String> {
    arguments_with_monitor(machine, files, command_line, None)
}

/// Returns the same with QEMU's own monitor listening on `monitor`, where it is named.
pub(crate) fn arguments_with_monitor(
    machine: &Machine,
    files: &Files<'_>,
    command_line: &str,
    monitor: Option<&Path>,
) -> Vec<String> {
    let mut words = Words::default();
    words.add("-nodefaults -no-user-config -display none");
    match monitor {
        Some(socket) => words.pair("-monitor", format!("unix:{},server=on,wait=off", socket.display())),
        None => words.add("-monitor none"),
    }
    if machine.on_reset == OnReset::End {
        words.add("-no-reboot");
    }
    words.add("-chardev stdio,id=console,signal=off");
    words.add(match machine.serial {
        Serial::Com1 => "-serial chardev:console",
        Serial::Com1WrongInterrupt => "-device isa-serial,iobase=0x3f8,irq=5,chardev=console",
        Serial::Com2 => "-device isa-serial,iobase=0x2f8,irq=3,chardev=console",
        Serial::Pci => "-device pci-serial,chardev=console",
        Serial::None => "-serial none",
    });
    if !machine.devices.is_empty() {
        words.add(machine.devices);
    }
    words.pair("-device", format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04"));
    words.pair("-accel", if machine.accelerator == Accelerator::Kvm { "kvm" } else { "tcg" });
    words.pair("-cpu", cpu_model(machine));
    words.pair("-smp", machine.cpus.to_string());
    if machine.cpus > MAX_XAPIC_CPUS && machine.board == Board::Q35 {
        // Without it QEMU refuses so many: an I/O APIC could not name the last ones.
        words.pair("-device", "intel-iommu,intremap=on");
    }
    memory(machine, &mut words);
    match machine.boot {
        Boot::Direct => {
            words.pair("-kernel", files.kernel.display());
            words.pair("-append", command_line);
            if let Some(disk) = files.ram_disk {
                words.pair("-initrd", disk.display());
            }
        }
        Boot::IsoBios => words.pair("-cdrom", files.iso.display()),
        Boot::IsoUefi => {
            words.pair("-cdrom", files.iso.display());
            for (drive, read_only) in files.ovmf.iter().flat_map(|(code, vars)| [(code, "on"), (vars, "off")])
            {
                // A comma in a file's name would end the option's value.
                let drive = drive.display().to_string().replace(',', ",,");
                words.pair("-drive", format!("if=pflash,format=raw,readonly={read_only},file={drive}"));
            }
        }
    }
    words.0
}

/// Says why this version of QEMU cannot be such a machine, or one that does what the kernel's command line asks for,
/// where it cannot.
pub(crate) fn lack(machine: &Machine, command_line: &str, version: Option<Version>) -> Option<&'static str> {
    let is_complete = version.is_some_and(Version::is_complete);
    let asks_for_it = command_line.split_whitespace().any(|word| word == "x2apic");
    let wants_x2apic = machine.cpus > MAX_XAPIC_CPUS || asks_for_it;
    (wants_x2apic && machine.accelerator == Accelerator::Tcg && !is_complete).then_some("needs QEMU 9")
}

/// The room that QEMU takes for itself before a machine runs, where that is more than this host has: a message.
///
/// QEMU's translator gives each CPU an address space of its own. As it makes a CPU, it writes those of all CPUs anew, and
/// frees the old ones when the machine begins to run: measured with QEMU 10 at 256 to 1,024 CPUs. Where the host has less,
/// its kernel would end QEMU, or another process.
pub(crate) fn excess(machine: &Machine, available_bytes: u64) -> Option<String> {
    const PAIR_BYTES: u64 = 22 << 10;
    const NODE_BYTES: u64 = 160;
    let with_memory = machine.nodes.saturating_sub(machine.memoryless_nodes);
    let pairs = u64::from(machine.cpus) * u64::from(machine.cpus);
    let needed = pairs * (PAIR_BYTES + NODE_BYTES * u64::from(with_memory));
    let is_excess = machine.accelerator == Accelerator::Tcg && needed > available_bytes;
    is_excess.then(|| {
        format!(
            "QEMU takes about {} GiB for {} CPUs and {} nodes before the machine runs, and {} GiB are available here",
            needed.div_ceil(1 << 30),
            machine.cpus,
            machine.nodes,
            available_bytes >> 30
        )
    })
}

/// Returns a memory object for each node that has memory. Memory and CPUs are divided evenly, and the first nodes
/// take the remainder.
fn memory(machine: &Machine, words: &mut Words) {
    words.pair("-m", machine.memory);
    let backend = |id: u32, mib: u64| format!("memory-backend-memfd,id=ram{id},size={mib}M,reserve=off");
    let (mib, board) = (machine.memory.bytes() >> 20, machine.board.name());
    if machine.nodes <= 1 {
        words.pair("-machine", format!("{board},memory-backend=ram0"));
        words.pair("-object", backend(0, mib));
        return;
    }
    words.pair("-machine", board);
    let mut next_cpu = 0;
    let with_memory = machine.nodes.saturating_sub(machine.memoryless_nodes).max(1);
    for node in 0..machine.nodes {
        let cpus = share(u64::from(machine.cpus), machine.nodes, node);
        let mut numa = format!("node,nodeid={node}");
        if node < with_memory {
            words.pair("-object", backend(node, share(mib, with_memory, node)));
            numa += &format!(",memdev=ram{node}");
        }
        if cpus > 0 {
            numa += &format!(",cpus={next_cpu}-{}", next_cpu + cpus - 1);
        }
        next_cpu += cpus;
        words.pair("-numa", numa);
    }
    for (from, to) in (0..machine.nodes).flat_map(|from| (0..machine.nodes).map(move |to| (from, to))) {
        words.pair("-numa", format!("dist,src={from},dst={to},val={}", distance(from, to)));
    }
}

/// Returns the part of `total` that falls to `index` of `parts`.
fn share(total: u64, parts: u32, index: u32) -> u64 {
    let (parts, index) = (u64::from(parts), u64::from(index));
    total / parts + u64::from(index < total % parts)
}

/// Nodes in a row: ACPI's 10 for oneself, 10 more a step (255 would mean unreachable).
fn distance(from: u32, to: u32) -> u32 {
    (10 + 10 * from.abs_diff(to)).min(254)
}

/// Returns the CPU model in QEMU's words, with physical address bits for all of the memory.
fn cpu_model(machine: &Machine) -> String {
    let mut words = machine.cpu_model.split(',').map(str::trim);
    let mut model = words.next().filter(|name| !name.is_empty()).unwrap_or("max").to_string();
    for feature in words.filter(|word| !word.is_empty()) {
        // QEMU wants `+la57` or `la57=on`; a bare `la57` says the same to a person.
        let bare = !feature.starts_with(['+', '-']) && !feature.contains('=');
        model += &format!(",{}{feature}", if bare { "+" } else { "" });
    }
    if machine.accelerator == Accelerator::Tcg
        && !model.contains("phys-bits")
        && let Some(bits) = physical_bits(machine)
    {
        model += &format!(",phys-bits={bits}");
    }
    model
}

/// Bits for the memory, where the models' own 40 do not do. QEMU puts a PCI window above the memory, and for AMD's
/// CPUs it moves memory that would reach the hole below 1 TiB past it; four times the memory covers both.
fn physical_bits(machine: &Machine) -> Option<u32> {
    let needed = (machine.memory.bytes() * 4).next_power_of_two().trailing_zeros();
    (needed > 40).then_some(needed.min(52))
}

/// QEMU's command line while it grows.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn add(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(str::to_string));
    }

    fn pair(&mut self, option: &str, value: impl ToString) {
        self.0.extend([option.to_string(), value.to_string()]);
    }
}
