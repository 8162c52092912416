//! Finding the tables and making sure of them: root pointer, root table, lengths, checksums, entries.
//!
//! ```text
//!  RSDP (from the loader, or in the EBDA's first KiB, or in 0xe0000..0x100000)
//!    └── XSDT (64-bit pointers) or RSDT (32-bit)
//!          ├── MADT, SRAT, SLIT, SSDT ...
//!          └── FADT ── DSDT
//! ```
//!
//! A [`Table`] is proof that all of the table's bytes are there. Their meaning is still open: a table whose bytes do
//! not sum up to 0 is used, with a finding, because each of its fields is checked anyway and real firmware has such
//! tables.
//!
//! Source: ACPI specification 6.5, sections 5.2.5 to 5.2.8.

use rhumb_machine::PhysAddr;

use super::finding::{FirmwareFinding, Signature, TableFault};
use crate::Findings;
use crate::loader::RsdpSource;
use crate::phys::{Fields, PhysMemory};

/// Bytes of the header that all tables share.
pub(super) const HEADER_BYTES: usize = 36;

/// The longest table that is believed. The DSDT is the longest one; a few hundred KiB on large servers.
const MAX_TABLE_BYTES: u32 = 4 << 20;

const RSDP_SIGNATURE: &[u8] = b"RSD PTR ";
const RSDP_FIRST_BYTES: usize = 20;
const RSDP_BYTES: u32 = 36;
/// Longest root pointer that is believed; all versions so far have 36 bytes.
const RSDP_MAX_BYTES: u32 = 4096;

const EBDA_SEGMENT: PhysAddr = PhysAddr::new(0x40e);
const EBDA_SEARCHED_BYTES: u64 = 1024;
const BIOS_START: u64 = 0xe_0000;
const BIOS_END: u64 = 0x10_0000;

/// A table whose bytes are all there.
#[derive(Clone, Copy)]
pub(super) struct Table<'m> {
    pub(super) signature: Signature,
    pub(super) at: PhysAddr,
    /// Header included; at least [`HEADER_BYTES`].
    pub(super) bytes: &'m [u8],
}

impl<'m> Table<'m> {
    /// Returns the table at `at`, if it is one and is called `expected`; if not, the reason is among `findings`.
    pub(super) fn load(
        memory: &'m impl PhysMemory,
        at: PhysAddr,
        expected: Signature,
        findings: &mut Findings<FirmwareFinding>,
    ) -> Option<Self> {
        Self::best_of(memory, core::iter::once((at, expected)), findings)
    }

    /// Returns the first of `candidates` whose checksum is right, else the first one that is a table at all.
    fn best_of(
        memory: &'m impl PhysMemory,
        candidates: impl Iterator<Item = (PhysAddr, Signature)>,
        findings: &mut Findings<FirmwareFinding>,
    ) -> Option<Self> {
        let mut doubtful = None;
        for (at, expected) in candidates {
            match Self::measure(memory, at, expected) {
                Ok(table) if sum(table.bytes) == 0 => return Some(table),
                Ok(table) => doubtful = doubtful.or(Some(table)),
                Err(finding) => findings.push(finding),
            }
        }
        doubtful.inspect(|table| findings.push(table.finding(TableFault::Checksum(sum(table.bytes)))))
    }

    /// Returns the table at `at`, whatever its bytes sum up to.
    fn measure(
        memory: &'m impl PhysMemory,
        at: PhysAddr,
        expected: Signature,
    ) -> Result<Self, FirmwareFinding> {
        let wrong = |fault| FirmwareFinding::Table { table: expected, at, fault };
        let header =
            memory.read(at, HEADER_BYTES as u64).map_err(|cause| wrong(TableFault::Unreadable(cause)))?;
        let signature = signature(header);
        if signature != expected {
            return Err(wrong(TableFault::Signature(signature.0)));
        }
        let length = Fields(header).u32(4).unwrap_or(0);
        if !(HEADER_BYTES as u32..=MAX_TABLE_BYTES).contains(&length) {
            return Err(wrong(TableFault::Length(length)));
        }
        let bytes = memory.read(at, length.into()).map_err(|cause| wrong(TableFault::Unreadable(cause)))?;
        Ok(Self { signature, at, bytes })
    }

    /// `fault`, with the name of this table.
    pub(super) fn finding(&self, fault: TableFault) -> FirmwareFinding {
        FirmwareFinding::Table { table: self.signature, at: self.at, fault }
    }

    /// Makes the finding that the table is too short for its kind.
    pub(super) fn too_short(&self) -> FirmwareFinding {
        self.finding(TableFault::Length(self.bytes.len() as u32))
    }

    /// Returns the entries (type u8, length u8, content) from offset `from` on, as MADT and SRAT have them. Each has at
    /// least the two bytes of its head. Ends with the table, or with the first entry whose length is impossible.
    pub(super) fn entries(&self, from: usize) -> Entries<'_, 'm> {
        Entries { table: self, offset: from }
    }
}

/// See [`Table::entries`].
pub(super) struct Entries<'t, 'm> {
    table: &'t Table<'m>,
    offset: usize,
}

/// One entry, head included.
pub(super) struct Entry<'m> {
    pub(super) kind: u8,
    pub(super) bytes: &'m [u8],
    offset: usize,
}

impl Entry<'_> {
    /// Makes the fault that this entry is too short for its type.
    pub(super) fn too_short(&self) -> TableFault {
        TableFault::ShortEntry { offset: self.offset, kind: self.kind, length: self.bytes.len() as u8 }
    }
}

impl<'m> Iterator for Entries<'_, 'm> {
    type Item = Result<Entry<'m>, FirmwareFinding>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.table.bytes.get(self.offset..).filter(|rest| !rest.is_empty())?;
        let length = rest.get(1).copied().unwrap_or(0);
        match rest.get(..usize::from(length)) {
            Some(bytes @ [kind, _, ..]) => {
                let entry = Entry { kind: *kind, bytes, offset: self.offset };
                self.offset += bytes.len();
                Some(Ok(entry))
            }
            _ => {
                let fault = TableFault::EntryLength { offset: self.offset, length: length.into() };
                // There is no way to know where the next entry begins.
                self.offset = self.table.bytes.len();
                Some(Err(self.table.finding(fault)))
            }
        }
    }
}

/// The list of all tables.
pub(super) struct Root<'m> {
    table: Table<'m>,
    pointer_bytes: usize,
}

impl<'m> Root<'m> {
    /// Finds the list: through `source`, else through the BIOS area, else through `source` with a wrong checksum.
    pub(super) fn find(
        memory: &'m impl PhysMemory,
        source: Option<RsdpSource>,
        findings: &mut Findings<FirmwareFinding>,
    ) -> Option<Self> {
        let Some(pointer) = find_pointer(memory, source, findings) else {
            findings.push(FirmwareFinding::NoRoot);
            return None;
        };
        let lists = [(pointer.xsdt, Signature::XSDT), (pointer.rsdt, Signature::RSDT)];
        let lists = lists.into_iter().filter_map(|(at, signature)| Some((at?, signature)));
        let Some(table) = Table::best_of(memory, lists, findings) else {
            findings.push(FirmwareFinding::NoRoot);
            return None;
        };
        let root = Self { pointer_bytes: if table.signature == Signature::XSDT { 8 } else { 4 }, table };
        let remainder = (table.bytes.len() - HEADER_BYTES) % root.pointer_bytes;
        if remainder != 0 {
            findings.push(table.finding(TableFault::Remainder(remainder)));
        }
        // Null pointers are common and mean nothing.
        let lost = root.addresses().filter(|&at| at != PhysAddr::ZERO);
        for cause in lost.filter_map(|at| memory.read(at, HEADER_BYTES as u64).err()) {
            findings.push(FirmwareFinding::UnreadableTable(cause));
        }
        Some(root)
    }

    /// Returns where the tables are, as listed.
    fn addresses(&self) -> impl Iterator<Item = PhysAddr> + use<'m> {
        let pointers = self.table.bytes[HEADER_BYTES..].chunks_exact(self.pointer_bytes);
        pointers.map(|bytes| {
            let mut wide = [0; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            PhysAddr::new(u64::from_le_bytes(wide))
        })
    }

    /// Finds the tables called `wanted`. A table that cannot be read has no name and is passed over.
    pub(super) fn named(
        &self,
        memory: &'m impl PhysMemory,
        wanted: Signature,
    ) -> impl Iterator<Item = PhysAddr> {
        self.addresses().filter(move |&at| memory.read(at, 4).is_ok_and(|bytes| signature(bytes) == wanted))
    }

    /// Returns the first table called `wanted` whose checksum is right, else the first one; each one that is none is a
    /// finding.
    pub(super) fn load(
        &self,
        memory: &'m impl PhysMemory,
        wanted: Signature,
        findings: &mut Findings<FirmwareFinding>,
    ) -> Option<Table<'m>> {
        Table::best_of(memory, self.named(memory, wanted).map(|at| (at, wanted)), findings)
    }
}

/// Returns the root pointer that `source` names or that the BIOS area has.
fn find_pointer(
    memory: &impl PhysMemory,
    source: Option<RsdpSource>,
    findings: &mut Findings<FirmwareFinding>,
) -> Option<Pointer> {
    let given = match source {
        Some(RsdpSource::At(at)) => Pointer::read(memory, at, findings),
        Some(RsdpSource::Copy(bytes)) => Pointer::parse(&bytes, findings),
        None => None,
    };
    if let Some(pointer) = given.filter(|pointer| pointer.sum == 0) {
        return Some(pointer);
    }
    if source.is_some() {
        findings.push(FirmwareFinding::BadRoot);
    }
    search(memory, findings).or_else(|| given.inspect(|_| findings.push(FirmwareFinding::DoubtfulRoot)))
}

/// The content of the root pointer.
#[derive(Clone, Copy)]
struct Pointer {
    rsdt: Option<PhysAddr>,
    xsdt: Option<PhysAddr>,
    /// The sum of its first 20 bytes: 0 for what is valid.
    sum: u8,
}

impl Pointer {
    fn read(
        memory: &impl PhysMemory,
        at: PhysAddr,
        findings: &mut Findings<FirmwareFinding>,
    ) -> Option<Self> {
        let first = memory.read(at, RSDP_FIRST_BYTES as u64).ok()?;
        if !first.starts_with(RSDP_SIGNATURE) {
            return None;
        }
        let length = memory.read(at, RSDP_BYTES.into()).ok().and_then(|bytes| Fields(bytes).u32(20));
        let length = length.filter(|length| (RSDP_BYTES..=RSDP_MAX_BYTES).contains(length));
        let whole = length.and_then(|length| memory.read(at, length.into()).ok());
        Self::parse(whole.unwrap_or(first), findings)
    }

    /// Returns the pointer whose structure is `bytes`, if it begins as one. Its second half is used if its own sum is
    /// right, or if the first half names no list.
    fn parse(bytes: &[u8], findings: &mut Findings<FirmwareFinding>) -> Option<Self> {
        let first = bytes.get(..RSDP_FIRST_BYTES).filter(|first| first.starts_with(RSDP_SIGNATURE))?;
        let address = |value: u64| Some(PhysAddr::new(value)).filter(|&at| at != PhysAddr::ZERO);
        let rsdt = Fields(first).u32(16).and_then(|value| address(value.into()));
        let revision = first[15];
        if revision < 2 {
            return Some(Self { rsdt, xsdt: None, sum: sum(first) });
        }
        let length = Fields(bytes).u32(20).map_or(0, |length| length as usize);
        let whole = bytes.get(..length).filter(|whole| length >= RSDP_BYTES as usize && sum(whole) == 0);
        if whole.is_none() {
            findings.push(FirmwareFinding::BadExtendedRoot);
        }
        let second = whole.or(Some(bytes).filter(|_| rsdt.is_none()));
        let xsdt = second.and_then(|bytes| Fields(bytes).u64(24)).and_then(address);
        Some(Self { rsdt, xsdt, sum: sum(first) })
    }
}

/// Looks for the root pointer where a BIOS puts it: on a 16-byte boundary, in two places.
fn search(memory: &impl PhysMemory, findings: &mut Findings<FirmwareFinding>) -> Option<Pointer> {
    let segment = memory.read(EBDA_SEGMENT, 2).ok().and_then(|bytes| bytes.first_chunk().copied());
    let ebda = segment.map_or(0, |segment| u64::from(u16::from_le_bytes(segment)) << 4);
    // Below 1 KiB there are only interrupt vectors: the segment is not filled in.
    let ebda = if ebda < 0x400 { 0..0 } else { ebda..ebda + EBDA_SEARCHED_BYTES };
    [ebda, BIOS_START..BIOS_END].into_iter().flat_map(|area| area.step_by(16)).map(PhysAddr::new).find_map(
        |at| {
            memory.read(at, 8).ok().filter(|&bytes| bytes == RSDP_SIGNATURE)?;
            Pointer::read(memory, at, findings).filter(|pointer| pointer.sum == 0)
        },
    )
}

/// Returns the first four bytes, or zeroes where there are fewer.
fn signature(bytes: &[u8]) -> Signature {
    Signature(bytes.first_chunk().copied().unwrap_or_default())
}

/// Returns the sum of all bytes, modulo 256: 0 for what is valid.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}
