//! The firmware's ACPI tables, read: CPUs, nodes, interrupts, the timer, power-off.
//!
//! | module | owns |
//! |---|---|
//! | `tables` | finding the tables; lengths and checksums |
//! | `interrupts` | MADT: CPUs, I/O APICs, routes, NMIs |
//! | `nodes` | SRAT and SLIT: memory and CPUs to nodes, distances |
//! | `console` | SPCR and DBG2: the firmware's serial port |
//! | `hpet` | HPET: where the event timer's registers are |
//! | `remapping` | DMAR: whether x2APICs are welcome |
//! | `power` | FADT and `\_S5`: timer, reset, power-off |
//! | `layout` | bytes as the structures of the crate `acpi` |
//! | `finding` | what can be wrong |
//!
//! A table that is missing, cut or garbled costs its own information, and no more: without a MADT there is the boot
//! CPU alone, without an SRAT there is one node, without a FADT no power-off. There is no error here, only findings.
//!
//! The crate `acpi` gives the layouts of the MADT's entries and the FADT, and the meaning of the FADT's fields over its
//! revisions. Its own walk over the tables is not used; `layout` says why.

use arrayvec::ArrayVec;
use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, PhysAddr, PhysRange};

mod console;
mod finding;
mod hpet;
mod interrupts;
mod layout;
mod nodes;
mod power;
mod remapping;
mod tables;

pub use finding::{FirmwareFinding, Signature, TableFault};
pub use interrupts::{IoApic, IsaRoute, NmiLine, NmiSource, Polarity, Trigger};
pub use nodes::{Distances, LOCAL_DISTANCE, MemoryAffinity, REMOTE_DISTANCE};
pub use power::{PmTimer, Power, PowerOff, Register};
pub use remapping::Remapping;

use crate::Findings;
use crate::loader::RsdpSource;
use crate::memory_map::MAX_REGIONS;
use crate::phys::PhysMemory;
use crate::serial::SerialPort;
use tables::Root;

/// Room for I/O APICs: one, and one more for each further socket or PCIe root complex; 8 sockets with up to 16 each.
pub const MAX_IO_APICS: usize = 128;
/// Room for interrupt source overrides: there are 16 ISA interrupts.
pub const MAX_ISA_OVERRIDES: usize = 16;
/// Room for NMI lines: one for all CPUs, or one for each.
pub const MAX_NMI_LINES: usize = MAX_CPUS;
/// Room for NMI sources: hardly any machine has one.
pub const MAX_NMI_SOURCES: usize = 8;
/// Room for memory ranges: two for each node, as the hole below 4 GiB splits the first one's, and hot-plug areas are
/// apart.
pub const MAX_MEMORY_RANGES: usize = 2 * MAX_NODES;

/// Room for the pieces of RAM of which each is of one node: a region is cut only at a border of a memory range, and a
/// memory range has two of them.
pub const MAX_PIECES: usize = MAX_REGIONS + 2 * MAX_MEMORY_RANGES;

/// Whether a CPU can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuState {
    /// Yes.
    Enabled,
    /// Not yet: it may be plugged in later.
    OnlineCapable,
}

/// A CPU, as the firmware lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The id of its local APIC, to which start-up interrupts are sent.
    pub apic_id: u32,
    /// By which number the ACPI namespace knows it.
    pub acpi_uid: u32,
    /// Whether it can be started.
    pub state: CpuState,
    /// The node to which it belongs.
    pub node: NodeId,
}

/// The machine, as far as the firmware tells. About 34 KiB: keep it in a static or at the bottom of a large stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The boot CPU first, then the others as the firmware lists them. Never empty.
    pub cpus: ArrayVec<Cpu, MAX_CPUS>,
    /// The local APICs' registers.
    pub local_apic: PhysAddr,
    /// Whether there are 8259s, which must be masked.
    pub has_8259: bool,
    /// The I/O APICs.
    pub io_apics: ArrayVec<IoApic, MAX_IO_APICS>,
    /// ISA interrupts that do not arrive where their number says; ask [`Topology::isa_route`].
    pub isa_overrides: ArrayVec<IsaRoute, MAX_ISA_OVERRIDES>,
    /// Local APIC inputs that are NMIs; ask [`Topology::nmi_lines_of`].
    pub nmi_lines: ArrayVec<NmiLine, MAX_NMI_LINES>,
    /// I/O APIC inputs that are NMIs.
    pub nmi_sources: ArrayVec<NmiSource, MAX_NMI_SOURCES>,
    /// Memory of the nodes, ascending and disjoint; empty where there is one node. Ask [`Topology::node_of`].
    pub memory: ArrayVec<MemoryAffinity, MAX_MEMORY_RANGES>,
    /// The firmware's number of each node, by the node's index, ascending. Never empty: its length is the number of
    /// nodes.
    pub domains: ArrayVec<u32, MAX_NODES>,
    /// How far the nodes are from each other.
    pub distances: Distances,
    /// Interrupt remapping; `None` where the platform has none.
    pub remapping: Option<Remapping>,
    /// The serial port that the firmware talks on; `None` where it does not say.
    pub console: Option<SerialPort>,
    /// The registers of the high-precision event timer; `None` where there is none.
    pub hpet: Option<PhysAddr>,
    /// Timer, reset and power-off.
    pub power: Power,
}

impl Topology {
    /// Returns a machine of one CPU and one node, of which nothing else is known.
    pub fn single(boot_apic_id: u32) -> Self {
        let boot = Cpu { apic_id: boot_apic_id, acpi_uid: 0, state: CpuState::Enabled, node: NodeId::FIRST };
        Self {
            cpus: ArrayVec::from_iter([boot]),
            local_apic: PhysAddr::new(0xfee0_0000),
            has_8259: true,
            io_apics: ArrayVec::new_const(),
            isa_overrides: ArrayVec::new_const(),
            nmi_lines: ArrayVec::new_const(),
            nmi_sources: ArrayVec::new_const(),
            memory: ArrayVec::new_const(),
            domains: ArrayVec::from_iter([0]),
            distances: Distances::default(),
            remapping: None,
            console: None,
            hpet: None,
            power: Power::default(),
        }
    }

    /// Reads the tables under `rsdp`; where that is `None` or wrong, those that a search of the BIOS area finds.
    ///
    /// `boot_apic_id` is the local APIC id of the CPU that runs this: it is listed first, and is there in any case.
    pub fn discover(
        memory: &impl PhysMemory,
        rsdp: Option<RsdpSource>,
        boot_apic_id: u32,
    ) -> (Self, Findings<FirmwareFinding>) {
        let mut findings = Findings::default();
        let mut topology = Self::single(boot_apic_id);
        let Some(root) = Root::find(memory, rsdp, &mut findings) else { return (topology, findings) };
        match root.load(memory, Signature::MADT, &mut findings) {
            Some(madt) => {
                topology.cpus.clear();
                interrupts::take_madt(&madt, &mut topology, &mut findings);
                topology.put_boot_cpu_first(boot_apic_id, &mut findings);
            }
            None => findings.push(FirmwareFinding::Missing(Signature::MADT)),
        }
        if let Some(srat) = root.load(memory, Signature::SRAT, &mut findings) {
            nodes::take_srat(&srat, &mut topology, &mut findings);
            if let Some(slit) = root.load(memory, Signature::SLIT, &mut findings)
                && let Err(finding) = nodes::take_slit(&slit, &mut topology)
            {
                findings.push(finding);
            }
        }
        topology.remapping = root
            .load(memory, Signature::DMAR, &mut findings)
            .and_then(|dmar| remapping::from_dmar(&dmar).map_err(|finding| findings.push(finding)).ok());
        topology.hpet = root.load(memory, Signature::HPET, &mut findings).and_then(|table| {
            hpet::from_table(&table).map_err(|finding| findings.push(finding)).ok().flatten()
        });
        topology.console = console(memory, &root, &mut findings);
        topology.power = power::power(memory, &root, &mut findings);
        (topology, findings)
    }

    /// Returns the CPUs that can be started, the boot CPU first: it runs, whatever the firmware says of it.
    pub fn startable(&self) -> impl Iterator<Item = &Cpu> + Clone {
        let (boot, others) = self.cpus.split_at(1.min(self.cpus.len()));
        boot.iter().chain(others.iter().filter(|cpu| cpu.state == CpuState::Enabled))
    }

    /// Returns the inputs of the local APIC of `cpu` that are NMIs: those for this CPU and those for all.
    pub fn nmi_lines_of(&self, cpu: &Cpu) -> impl Iterator<Item = NmiLine> {
        let lines = self.nmi_lines.iter().copied();
        lines.filter(move |line| line.acpi_uid.is_none_or(|acpi_uid| acpi_uid == cpu.acpi_uid))
    }

    /// Returns how many nodes there are: at least one.
    pub fn node_count(&self) -> usize {
        self.domains.len()
    }

    /// Returns the node of the memory at `at`; the first one where the firmware names none.
    pub fn node_of(&self, at: PhysAddr) -> NodeId {
        let first = self.memory.partition_point(|memory| memory.range.end() <= at);
        self.memory
            .get(first)
            .filter(|memory| memory.range.contains(at))
            .map_or(NodeId::FIRST, |memory| memory.node)
    }

    /// `range`, cut where the node changes: ascending pieces that cover it, each with its node. Neighbours differ in
    /// their nodes, and each border lies on a whole frame or is one of `range`'s own.
    ///
    /// Of all RAM together these are at most [`MAX_PIECES`].
    pub fn pieces(&self, range: PhysRange) -> impl Iterator<Item = (PhysRange, NodeId)> {
        let mut from = range.start();
        core::iter::from_fn(move || {
            if from >= range.end() {
                return None;
            }
            let (start, node) = (from, self.node_of(from));
            while from < range.end() && self.node_of(from) == node {
                from = self.edge_after(from).min(range.end());
            }
            Some((PhysRange::new(start, from)?, node))
        })
    }

    /// Returns all addresses that no range of pluggable memory has, descending.
    pub(crate) fn fixed_memory_down(&self) -> impl Iterator<Item = PhysRange> {
        let pluggable = self.memory.iter().filter(|memory| memory.hot_pluggable).map(|memory| memory.range);
        let bottom = core::iter::once(PhysRange::default());
        let mut end = PhysAddr::new(u64::MAX);
        bottom.chain(pluggable).rev().filter_map(move |range| {
            let gap = PhysRange::new(range.end(), end)?;
            end = range.start();
            Some(gap)
        })
    }

    /// Returns the nearest border of a memory range past `at`.
    fn edge_after(&self, at: PhysAddr) -> PhysAddr {
        let next = self.memory.partition_point(|memory| memory.range.end() <= at);
        self.memory.get(next).map_or(PhysAddr::new(u64::MAX), |memory| {
            if memory.range.start() > at { memory.range.start() } else { memory.range.end() }
        })
    }

    /// Returns where the ISA interrupt `irq` arrives: as overridden, else at the input of the same number, active high,
    /// by edge.
    pub fn isa_route(&self, irq: u8) -> IsaRoute {
        let default =
            IsaRoute { irq, gsi: irq.into(), polarity: Polarity::ActiveHigh, trigger: Trigger::Edge };
        self.isa_overrides.iter().copied().find(|route| route.irq == irq).unwrap_or(default)
    }

    /// Moves the boot CPU to the front, or adds it there.
    fn put_boot_cpu_first(&mut self, apic_id: u32, findings: &mut Findings<FirmwareFinding>) {
        match self.cpus.iter().position(|cpu| cpu.apic_id == apic_id) {
            Some(at) => self.cpus[..=at].rotate_right(1),
            None => {
                findings.push(FirmwareFinding::BootCpuUnlisted(apic_id));
                // The one that runs is worth more than the last one of a full list.
                if self.cpus.is_full() && !interrupts::remove_last_slot(self) {
                    self.cpus.pop();
                }
                let boot = Cpu { apic_id, acpi_uid: 0, state: CpuState::Enabled, node: NodeId::FIRST };
                self.cpus.insert(0, boot);
            }
        }
    }
}

/// Returns the serial port of the SPCR, else of the DBG2.
fn console<'m>(
    memory: &'m impl PhysMemory,
    root: &Root<'m>,
    findings: &mut Findings<FirmwareFinding>,
) -> Option<SerialPort> {
    type Read = fn(&tables::Table<'_>) -> Result<Option<SerialPort>, FirmwareFinding>;
    let sources: [(Signature, Read); 2] =
        [(Signature::SPCR, console::from_spcr), (Signature::DBG2, console::from_dbg2)];
    sources.into_iter().find_map(|(signature, read)| {
        let table = root.load(memory, signature, findings)?;
        read(&table).unwrap_or_else(|finding| {
            findings.push(finding);
            None
        })
    })
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
