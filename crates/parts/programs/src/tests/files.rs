//! [`File`]: an executable, written field by field.

pub(crate) const READ: u32 = 4;
pub(crate) const WRITE: u32 = 2;
pub(crate) const EXECUTE: u32 = 1;

pub(crate) const LOAD: u32 = 1;
pub(crate) const DYNAMIC: u32 = 2;
pub(crate) const INTERPRETER: u32 = 3;
pub(crate) const GNU_STACK: u32 = 0x6474_e551;

/// The type of a program with addresses of its own, and of one without.
pub(crate) const FIXED: u16 = 2;
pub(crate) const ANYWHERE: u16 = 3;

/// A program header, and the bytes that the file has at its offset.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) align: u64,
    pub(crate) content: Vec<u8>,
}

impl Segment {
    pub(crate) const EMPTY: Self = Self {
        kind: 0,
        flags: 0,
        offset: 0,
        address: 0,
        file_bytes: 0,
        memory_bytes: 0,
        align: 0,
        content: Vec::new(),
    };
}

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
}

impl File {
    /// Returns a program as linkers write it: headers, code, data with zeros behind them.
    pub(crate) fn usual() -> Self {
        let segment = |flags, offset, address, content: Vec<u8>, memory_bytes| Segment {
            kind: LOAD,
            flags,
            offset,
            address,
            file_bytes: content.len() as u64,
            memory_bytes,
            align: 0x1000,
            content,
        };
        let headers = Segment { file_bytes: 0x200, ..segment(READ, 0, 0x40_0000, Vec::new(), 0x200) };
        let code = segment(READ | EXECUTE, 0x1000, 0x40_1000, vec![1; 0x100], 0x100);
        let data = segment(READ | WRITE, 0x1100, 0x40_2100, vec![2; 0x80], 0x2000);
        Self { kind: FIXED, machine: 62, entry: 0x40_1010, segments: vec![headers, code, data] }
    }

    /// Returns the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend([self.kind, self.machine].map(u16::to_le_bytes).concat());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend([self.entry, 64, 0].map(u64::to_le_bytes).concat());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend([64, 56, self.segments.len() as u16, 0, 0, 0].map(u16::to_le_bytes).concat());
        for one in &self.segments {
            bytes.extend([one.kind, one.flags].map(u32::to_le_bytes).concat());
            let words = [one.offset, one.address, one.address, one.file_bytes, one.memory_bytes, one.align];
            bytes.extend(words.map(u64::to_le_bytes).concat());
        }
        for one in self.segments.iter().filter(|one| !one.content.is_empty()) {
            let (start, end) = (one.offset as usize, one.offset as usize + one.content.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(&one.content);
        }
        bytes.resize(bytes.len().max(0x200), 0);
        bytes
    }
}
