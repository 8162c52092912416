//! The MADT: CPUs, I/O APICs, and how interrupts are wired.
//!
//! Source: ACPI specification 6.5, section 5.2.12; the layouts are the crate `acpi`'s.

use acpi::madt::{
    InterruptSourceOverrideEntry, IoApicEntry, LocalApicAddressOverrideEntry, LocalApicEntry,
    LocalApicNmiEntry, LocalX2ApicEntry, NmiSourceEntry, X2ApicNmiEntry,
};
use arrayvec::ArrayVec;
use rhumb_machine::{NodeId, PhysAddr};

use super::finding::{FirmwareFinding, TableFault};
use super::layout::read;
use super::tables::{Entry, Table};
use super::{Cpu, CpuState, Topology};
use crate::Findings;
use crate::phys::Fields;

/// Offset of the first entry.
const FIRST_ENTRY: usize = 44;

/// MADT flag: there is a pair of 8259s, which must be masked.
const PC_AT_COMPATIBLE: u32 = 1;

/// The xAPIC id that addresses every CPU (ACPI 5.2.12.2 has 8 bits of it).
const XAPIC_BROADCAST: u32 = 0xff;
/// The x2APIC id that addresses every CPU.
const X2APIC_BROADCAST: u32 = u32::MAX;

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Its registers.
    pub address: PhysAddr,
    /// The global system interrupt of its first input.
    pub gsi_base: u32,
}

/// Which level of a line means "interrupt".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// High.
    ActiveHigh,
    /// Low.
    ActiveLow,
}

/// The change of a line that means "interrupt".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Becoming active.
    Edge,
    /// Being active.
    Level,
}

/// Where an ISA interrupt arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaRoute {
    /// The ISA interrupt, 0..=15.
    pub irq: u8,
    /// The global system interrupt.
    pub gsi: u32,
    /// Its polarity.
    pub polarity: Polarity,
    /// Its trigger.
    pub trigger: Trigger,
}

/// A local APIC input that is an NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmiLine {
    /// The CPU's ACPI uid, or `None` for all CPUs.
    pub acpi_uid: Option<u32>,
    /// Which input: 0 for LINT0, 1 for LINT1.
    pub lint: u8,
    /// Its polarity.
    pub polarity: Polarity,
    /// Its trigger.
    pub trigger: Trigger,
}

/// An I/O APIC input that is an NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmiSource {
    /// The global system interrupt.
    pub gsi: u32,
    /// Its polarity.
    pub polarity: Polarity,
    /// Its trigger.
    pub trigger: Trigger,
}

/// Takes all that the MADT says over into `topology`.
pub(super) fn take_madt(madt: &Table<'_>, topology: &mut Topology, findings: &mut Findings<FirmwareFinding>) {
    let fields = Fields(madt.bytes);
    let Some((local_apic, flags)) = fields.u32(36).zip(fields.u32(40)) else {
        findings.push(madt.too_short());
        return;
    };
    topology.local_apic = PhysAddr::new(local_apic.into());
    topology.has_8259 = flags & PC_AT_COMPATIBLE != 0;
    let mut tally = Tally::default();
    for entry in madt.entries(FIRST_ENTRY) {
        match entry {
            Ok(entry) => tally.note(take_entry(&entry, topology), madt, findings),
            Err(finding) => findings.push(finding),
        }
    }
    tally.tell(madt, findings);
}

fn take_entry(entry: &Entry<'_>, topology: &mut Topology) -> Result<(), TableFault> {
    let short = || entry.too_short();
    match entry.kind {
        0 => {
            let cpu: LocalApicEntry = read(entry.bytes).ok_or_else(short)?;
            add_cpu(topology, XAPIC_BROADCAST, cpu.apic_id.into(), cpu.processor_id.into(), cpu.flags)
        }
        9 => {
            let cpu: LocalX2ApicEntry = read(entry.bytes).ok_or_else(short)?;
            add_cpu(topology, X2APIC_BROADCAST, cpu.x2apic_id, cpu.processor_uid, cpu.flags)
        }
        1 => {
            let io_apic: IoApicEntry = read(entry.bytes).ok_or_else(short)?;
            let address = PhysAddr::new(io_apic.io_apic_address.into());
            let gsi_base = io_apic.global_system_interrupt_base;
            add_io_apic(topology, IoApic { id: io_apic.io_apic_id, address, gsi_base })
        }
        2 => {
            let route: InterruptSourceOverrideEntry = read(entry.bytes).ok_or_else(short)?;
            let (polarity, trigger, known) = wiring(route.flags);
            let route = IsaRoute { irq: route.irq, gsi: route.global_system_interrupt, polarity, trigger };
            push(&mut topology.isa_overrides, route, "interrupt source overrides")?;
            known
        }
        3 => {
            let source: NmiSourceEntry = read(entry.bytes).ok_or_else(short)?;
            let (polarity, trigger, known) = wiring(source.flags);
            let source = NmiSource { gsi: source.global_system_interrupt, polarity, trigger };
            push(&mut topology.nmi_sources, source, "NMI sources")?;
            known
        }
        4 => {
            let line: LocalApicNmiEntry = read(entry.bytes).ok_or_else(short)?;
            let acpi_uid = (line.processor_id != 0xff).then_some(line.processor_id.into());
            add_nmi_line(topology, acpi_uid, line.nmi_line, line.flags)
        }
        10 => {
            let line: X2ApicNmiEntry = read(entry.bytes).ok_or_else(short)?;
            let acpi_uid = Some(line.processor_uid).filter(|&uid| uid != u32::MAX);
            add_nmi_line(topology, acpi_uid, line.nmi_line, line.flags)
        }
        5 => {
            let local_apic: LocalApicAddressOverrideEntry = read(entry.bytes).ok_or_else(short)?;
            topology.local_apic = PhysAddr::new(local_apic.local_apic_address);
            Ok(())
        }
        // Other interrupt controllers, and what later versions of ACPI add.
        _ => Ok(()),
    }
}

/// Adds a CPU that can be used, now or later. Slots that cannot are left out without a word: firmware lists many.
///
/// Firmware may list a CPU in both forms of entries. That is no finding where both say the same.
fn add_cpu(
    topology: &mut Topology,
    broadcast: u32,
    apic_id: u32,
    acpi_uid: u32,
    flags: u32,
) -> Result<(), TableFault> {
    let state = match flags & 0b11 {
        0b00 => return Ok(()),
        0b10 => CpuState::OnlineCapable,
        _ => CpuState::Enabled,
    };
    if apic_id == broadcast {
        return Err(TableFault::BroadcastApic(apic_id));
    }
    let cpu = Cpu { apic_id, acpi_uid, state, node: NodeId::FIRST };
    match topology.cpus.iter().find(|known| known.apic_id == apic_id) {
        Some(&known) if known == cpu => Ok(()),
        Some(_) => Err(TableFault::DuplicateApic(apic_id)),
        None => {
            // One that can be started is worth more than a slot for one that may be plugged in: firmware lists many.
            let is_displaced =
                topology.cpus.is_full() && state == CpuState::Enabled && remove_last_slot(topology);
            push(&mut topology.cpus, cpu, "CPUs")?;
            if is_displaced { Err(TableFault::Full { what: "CPUs", omitted: 1 }) } else { Ok(()) }
        }
    }
}

/// Removes the last CPU that cannot be started yet; `false` where there is none.
pub(super) fn remove_last_slot(topology: &mut Topology) -> bool {
    let last = topology.cpus.iter().rposition(|cpu| cpu.state == CpuState::OnlineCapable);
    last.map(|at| topology.cpus.remove(at)).is_some()
}

/// Adds an I/O APIC. Two of them at one address would be one chip under two numbers: the one would clear
/// entries that were set through the other.
fn add_io_apic(topology: &mut Topology, io_apic: IoApic) -> Result<(), TableFault> {
    match topology.io_apics.iter().find(|known| known.address == io_apic.address) {
        Some(&known) if known == io_apic => Ok(()),
        Some(_) => Err(TableFault::DuplicateIoApic(io_apic.address)),
        None => push(&mut topology.io_apics, io_apic, "I/O APICs"),
    }
}

fn add_nmi_line(
    topology: &mut Topology,
    acpi_uid: Option<u32>,
    lint: u8,
    flags: u16,
) -> Result<(), TableFault> {
    let (polarity, trigger, known) = wiring(flags);
    push(&mut topology.nmi_lines, NmiLine { acpi_uid, lint, polarity, trigger }, "NMI lines")?;
    known
}

/// Reads polarity (bits 1..0) and trigger (bits 3..2). Where the bus decides, it is ISA: active high, by edge.
fn wiring(flags: u16) -> (Polarity, Trigger, Result<(), TableFault>) {
    let known = if flags & 0b11 == 0b10 || flags >> 2 & 0b11 == 0b10 {
        Err(TableFault::InterruptFlags(flags))
    } else {
        Ok(())
    };
    let polarity = if flags & 0b11 == 0b11 { Polarity::ActiveLow } else { Polarity::ActiveHigh };
    let trigger = if flags >> 2 & 0b11 == 0b11 { Trigger::Level } else { Trigger::Edge };
    (polarity, trigger, known)
}

/// Entries that had no room, by what they are: one finding for each kind tells how many.
#[derive(Default)]
pub(super) struct Tally(ArrayVec<(&'static str, usize), 8>);

impl Tally {
    /// Counts an entry that had no room; any other fault is a finding at once.
    pub(super) fn note(
        &mut self,
        taken: Result<(), TableFault>,
        table: &Table<'_>,
        findings: &mut Findings<FirmwareFinding>,
    ) {
        match taken {
            Ok(()) => {}
            Err(TableFault::Full { what, omitted }) => {
                match self.0.iter_mut().find(|(known, _)| *known == what) {
                    Some((_, sum)) => *sum += omitted,
                    // There are fewer kinds than there is room for.
                    None => drop(self.0.try_push((what, omitted))),
                }
            }
            Err(fault) => findings.push(table.finding(fault)),
        }
    }

    /// Tells what was counted.
    pub(super) fn tell(self, table: &Table<'_>, findings: &mut Findings<FirmwareFinding>) {
        for (what, omitted) in self.0 {
            findings.push(table.finding(TableFault::Full { what, omitted }));
        }
    }
}

/// Appends `item`, of which the firmware has more than there is room for if that fails.
pub(super) fn push<T, const N: usize>(
    list: &mut ArrayVec<T, N>,
    item: T,
    what: &'static str,
) -> Result<(), TableFault> {
    list.try_push(item).map_err(|_| TableFault::Full { what, omitted: 1 })
}
