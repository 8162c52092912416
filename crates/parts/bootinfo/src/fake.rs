//! A physical memory for tests: a few byte arrays at chosen addresses, nothing in between.

extern crate std;

use std::vec::Vec;

use rhumb_machine::{PhysAddr, PhysRange};

use crate::PhysMemory;

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeMemory(Vec<(u64, Vec<u8>)>);

impl FakeMemory {
    /// Puts `bytes` at `at`.
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        self.0.push((at, bytes.to_vec()));
        self
    }

    /// Returns the bytes of the piece that begins at `at`.
    pub(crate) fn piece(&mut self, at: u64) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|(start, _)| *start == at).unwrap().1
    }
}

impl PhysMemory for FakeMemory {
    fn bytes(&self, range: PhysRange) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let whole = PhysRange::of_length(PhysAddr::new(*start), bytes.len() as u64)?;
            let offset = whole.covers(range).then(|| range.start().get() - start)? as usize;
            bytes.get(offset..offset + range.bytes() as usize)
        })
    }
}

/// Builds little-endian structures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}
