//! SRAT and SLIT: which memory and which CPU are near each other, and how far the rest is.
//!
//! ```text
//! SRAT, from offset 48:
//!   type 0, 16 bytes:   2 domain 7..0   3 APIC id   4 flags u32   9 domain 31..8          a CPU
//!   type 1, 40 bytes:   2 domain u32    8 base u64  16 length u64  28 flags u32           memory
//!   type 2, 24 bytes:   4 domain u32    8 x2APIC id u32   12 flags u32                    a CPU
//! SLIT, from offset 36:  n u64, then n * n bytes: the distance from domain i to domain j at i * n + j
//! ```
//!
//! The crate `acpi` has neither of them. Source: ACPI specification 6.5, sections 5.2.16 and 5.2.17.
//!
//! Firmware lists ranges of one domain twice, lets them overlap, and ends them within a frame. Nothing of that costs
//! memory, because the ranges say only which node is near: borders are rounded down to whole frames, ranges of one
//! domain are joined, and memory that two domains claim belongs to the domain that was named first.
//!
//! The firmware's domains are numbers of 32 bits with gaps; nodes are dense. Domains become nodes in ascending order,
//! so that domain 0 is node 0 wherever there is one.

use core::fmt;

use arrayvec::ArrayVec;
use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, PageSize, PhysAddr, PhysRange, impossible};

use super::finding::{FirmwareFinding, TableFault};
use super::interrupts::Tally;
use super::tables::{Entry, HEADER_BYTES, Table};
use super::{MAX_MEMORY_RANGES, Topology};
use crate::Findings;
use crate::phys::Fields;

const SRAT_FIRST_ENTRY: usize = 48;
const SLIT_FIRST_DISTANCE: usize = HEADER_BYTES + 8;

const ENABLED: u32 = 1;
const HOT_PLUGGABLE: u32 = 2;

/// The distance of a node to itself (ACPI 5.2.17), to which all others are relative.
pub const LOCAL_DISTANCE: u8 = 10;
/// The distance to another node where the firmware says nothing: twice as far, as Linux has it.
pub const REMOTE_DISTANCE: u8 = 20;

/// Memory of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAffinity {
    /// Where it is; not all of it needs to be RAM.
    pub range: PhysRange,
    /// The firmware's number of the node.
    pub domain: u32,
    /// Our number of the node.
    pub node: NodeId,
    /// Whether it may be plugged in later.
    pub hot_pluggable: bool,
}

/// How far each node is from each other one: 10 for itself, 255 for unreachable.
#[derive(Clone, PartialEq, Eq)]
pub struct Distances([[u8; MAX_NODES]; MAX_NODES]);

impl Default for Distances {
    fn default() -> Self {
        let mut rows = [[REMOTE_DISTANCE; MAX_NODES]; MAX_NODES];
        rows.iter_mut().enumerate().for_each(|(index, row)| row[index] = LOCAL_DISTANCE);
        Self(rows)
    }
}

/// Only what is not the default: the whole would be 4,096 numbers.
impl fmt::Debug for Distances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let pairs = (0..MAX_NODES).flat_map(|from| (0..MAX_NODES).map(move |to| (from, to)));
        let own = pairs.filter(|&(from, to)| self.0[from][to] != default.0[from][to]);
        f.debug_map().entries(own.map(|(from, to)| ((from, to), self.0[from][to]))).finish()
    }
}

impl Distances {
    /// Returns the distance from `from` to `to`.
    pub fn between(&self, from: NodeId, to: NodeId) -> u8 {
        self.0[from.index()][to.index()]
    }
}

/// Takes all that the SRAT says over into `topology`, whose CPUs are known by now.
pub(super) fn take_srat(srat: &Table<'_>, topology: &mut Topology, findings: &mut Findings<FirmwareFinding>) {
    if srat.bytes.len() < SRAT_FIRST_ENTRY {
        findings.push(srat.too_short());
        return;
    }
    // By index of the CPU; the firmware may name a domain for a CPU that does not exist.
    let mut domains_of_cpus = [None; MAX_CPUS];
    let wide_domains = srat.bytes[8] >= 2;
    let mut tally = Tally::default();
    for entry in srat.entries(SRAT_FIRST_ENTRY) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        let taken = match entry.kind {
            1 => take_memory(&entry, topology),
            0 | 2 => take_cpu(&entry, wide_domains).map(|affinity| {
                if let Some((apic_id, domain)) = affinity
                    && let Some(index) = topology.cpus.iter().position(|cpu| cpu.apic_id == apic_id)
                {
                    domains_of_cpus[index] = Some(domain);
                }
            }),
            _ => Ok(()),
        };
        tally.note(taken, srat, findings);
    }
    tally.tell(srat, findings);
    let domains =
        topology.memory.iter().map(|memory| memory.domain).chain(domains_of_cpus.into_iter().flatten());
    let mut sorted = ArrayVec::<u32, MAX_NODES>::new();
    for domain in domains {
        if let Err(at) = sorted.binary_search(&domain)
            && sorted.try_insert(at, domain).is_err()
        {
            findings.push(FirmwareFinding::TooManyNodes(domain));
        }
    }
    if !sorted.is_empty() {
        topology.domains = sorted;
    }
    number(topology, &domains_of_cpus);
}

/// Gives memory and CPUs the number of their domain's node.
fn number(topology: &mut Topology, domains_of_cpus: &[Option<u32>; MAX_CPUS]) {
    let domains = &topology.domains;
    let node =
        |domain: u32| domains.binary_search(&domain).ok().and_then(NodeId::new).unwrap_or(NodeId::FIRST);
    for memory in &mut topology.memory {
        memory.node = node(memory.domain);
    }
    for (cpu, domain) in topology.cpus.iter_mut().zip(domains_of_cpus) {
        cpu.node = domain.map_or(NodeId::FIRST, node);
    }
}

/// Adds a memory range, if it is enabled and not empty.
fn take_memory(entry: &Entry<'_>, topology: &mut Topology) -> Result<(), TableFault> {
    let fields = Fields(entry.bytes);
    let (Some(domain), Some(base), Some(length), Some(flags)) =
        (fields.u32(2), fields.u64(8), fields.u64(16), fields.u32(28))
    else {
        return Err(entry.too_short());
    };
    if flags & ENABLED == 0 || length == 0 {
        return Ok(());
    }
    let base = PhysAddr::new(base);
    let range = PhysRange::of_length(base, length).ok_or(TableFault::MemoryRange { base, length })?;
    let [start, end] = [range.start(), range.end()].map(|border| border.align_down(PageSize::Size4K));
    let range = PhysRange::new(start, end)
        .unwrap_or_else(|| impossible!("rounded down alike, {start} is above {end}" => PhysRange::default()));
    let hot_pluggable = flags & HOT_PLUGGABLE != 0;
    add_memory(&mut topology.memory, MemoryAffinity { range, domain, node: NodeId::FIRST, hot_pluggable })
}

type MemoryList = ArrayVec<MemoryAffinity, MAX_MEMORY_RANGES>;

/// Adds the parts of `new` that no earlier range has. The list stays ascending and disjoint.
fn add_memory(list: &mut MemoryList, new: MemoryAffinity) -> Result<(), TableFault> {
    let rival = list.iter().find(|old| old.domain != new.domain && old.range.overlaps(new.range));
    let conflict = rival.map(|old| TableFault::SharedMemory {
        range: old.range.intersection(new.range),
        kept: old.domain,
        lost: new.domain,
    });
    let mut from = new.range.start();
    while from < new.range.end() {
        // The first range that ends past `from`: it bounds the part before it, and the next part begins behind it.
        let at = list.partition_point(|old| old.range.end() <= from);
        let next = list.get(at).map(|old| old.range).filter(|old| old.start() < new.range.end());
        let to = next.map_or(new.range.end(), PhysRange::start);
        if let Some(range) = PhysRange::new(from, to).filter(|range| !range.is_empty()) {
            insert_part(list, at, MemoryAffinity { range, ..new })?;
        }
        from = next.map_or(new.range.end(), PhysRange::end);
    }
    conflict.map_or(Ok(()), Err)
}

/// Puts `part` at index `at`, joined with what adjoins it and says the same.
fn insert_part(list: &mut MemoryList, at: usize, part: MemoryAffinity) -> Result<(), TableFault> {
    let same = |old: &MemoryAffinity| (old.domain, old.hot_pluggable) == (part.domain, part.hot_pluggable);
    let before = at
        .checked_sub(1)
        .filter(|&index| same(&list[index]) && list[index].range.end() == part.range.start());
    let after = list
        .get(at)
        .filter(|old| same(old) && old.range.start() == part.range.end())
        .map(|old| old.range.end());
    let start = before.map_or(part.range.start(), |index| list[index].range.start());
    let joined = PhysRange::new(start, after.unwrap_or(part.range.end())).unwrap_or(part.range);
    match (before, after) {
        (Some(index), Some(_)) => {
            list[index].range = joined;
            list.remove(at);
        }
        (Some(index), None) => list[index].range = joined,
        (None, Some(_)) => list[at].range = joined,
        (None, None) => {
            list.try_insert(at, part).map_err(|_| TableFault::Full { what: "memory ranges", omitted: 1 })?;
        }
    }
    Ok(())
}

/// Reads APIC id and domain of a CPU, if it is enabled.
fn take_cpu(entry: &Entry<'_>, wide_domains: bool) -> Result<Option<(u32, u32)>, TableFault> {
    let bytes = entry.bytes;
    let fields = Fields(bytes);
    let (apic_id, domain, flags) = match (entry.kind, bytes.len()) {
        (0, 16..) => {
            let upper = if wide_domains { [bytes[9], bytes[10], bytes[11]] } else { [0; 3] };
            let domain = u32::from_le_bytes([bytes[2], upper[0], upper[1], upper[2]]);
            (Some(bytes[3].into()), Some(domain), fields.u32(4))
        }
        (2, 24..) => (fields.u32(8), fields.u32(4), fields.u32(12)),
        _ => (None, None, None),
    };
    match (apic_id, domain, flags) {
        (Some(apic_id), Some(domain), Some(flags)) => Ok((flags & ENABLED != 0).then_some((apic_id, domain))),
        _ => Err(entry.too_short()),
    }
}

/// Takes the distances between the nodes that are known by now over into `topology`, all or none.
pub(super) fn take_slit(slit: &Table<'_>, topology: &mut Topology) -> Result<(), FirmwareFinding> {
    let count = Fields(slit.bytes).u64(HEADER_BYTES).and_then(|count| usize::try_from(count).ok());
    let distances = count
        .and_then(|count| count.checked_mul(count)?.checked_add(SLIT_FIRST_DISTANCE))
        .and_then(|end| slit.bytes.get(SLIT_FIRST_DISTANCE..end));
    let Some((count, distances)) = count.zip(distances) else { return Err(slit.too_short()) };
    let mut taken = Distances::default();
    let domains = topology.domains.iter().enumerate().map(|(node, &domain)| (node, domain as usize));
    let known = domains.filter(|&(_, domain)| domain < count);
    for (from_node, from) in known.clone() {
        for (to_node, to) in known.clone() {
            let distance = distances[from * count + to];
            // Exactly 10 to itself, more to others; less has no meaning.
            if distance < LOCAL_DISTANCE || (distance == LOCAL_DISTANCE) != (from == to) {
                return Err(slit.finding(TableFault::Distance { from, to, distance }));
            }
            taken.0[from_node][to_node] = distance;
        }
    }
    topology.distances = taken;
    Ok(())
}
