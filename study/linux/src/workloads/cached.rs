//! Reads of random pages of the page cache, whose bytes the kernel copies through its direct map.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Workload;
use crate::proc::counters::KIB_4;
use crate::ramfs::{Kind, any_file};
use crate::who::show::size;

/// How much is read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// A cache line: 64 bytes.
    Line,
    /// A page: 4 KiB.
    Page,
}

impl Length {
    /// Returns the bytes.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Line => 64,
            Self::Page => KIB_4 as usize,
        }
    }
}

/// Makes a file in memory, all of whose pages are there, and says where they lie.
///
/// # Errors
/// The system's.
pub(crate) fn cached_file(bytes: u64) -> io::Result<(File, Kind)> {
    let (file, kind) = any_file()?;
    // Each page has its own contents, so that no page is shared with another.
    let mut block = vec![1u8; 1 << 20];
    let mut offset = 0;
    while offset < bytes {
        block.iter_mut().step_by(KIB_4 as usize).for_each(|byte| *byte = byte.wrapping_add(1));
        let length = block.len().min((bytes - offset) as usize);
        file.write_all_at(&block[..length], offset)?;
        offset += length as u64;
    }
    Ok((file, kind))
}

/// Returns places to read at: each of `pages` once, in random order, at a random line of it for short reads.
pub(crate) fn places(pages: impl Iterator<Item = u64>, length: Length, seed: u64) -> Vec<u64> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let lines = KIB_4 / length.bytes() as u64;
    let mut places: Vec<u64> =
        pages.map(|page| page * KIB_4 + random.random_range(0..lines) * length.bytes() as u64).collect();
    places.shuffle(&mut random);
    places
}

/// `pread` of random places of a cached file.
#[derive(Debug)]
pub(crate) struct Pread {
    file: File,
    places: Vec<u64>,
    next: usize,
    length: Length,
    kind: Kind,
    buffer: Box<[u8]>,
}

impl Pread {
    /// Makes a file of `bytes` in memory.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(bytes: u64, length: Length, seed: u64) -> io::Result<Self> {
        let (file, kind) = cached_file(bytes)?;
        Ok(Self::of(file, kind, places(0..bytes / KIB_4, length, seed), length))
    }

    /// Reads a file at given places.
    pub(crate) fn of(file: File, kind: Kind, places: Vec<u64>, length: Length) -> Self {
        Self { file, places, next: 0, length, kind, buffer: vec![0; length.bytes()].into() }
    }
}

impl Workload for Pread {
    fn id(&self) -> &'static str {
        match self.length {
            Length::Line => "pread-64b",
            Length::Page => "pread-4k",
        }
    }

    fn words(&self) -> String {
        let file = size(self.places.len() as u64 * KIB_4);
        let system = match self.kind {
            Kind::Unmovable => "ramfs",
            Kind::Movable => "tmpfs",
        };
        format!("pread of {} from random pages of {file} in {system}", size(self.length.bytes() as u64))
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn run(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            let place = self.places.get(self.next).copied().unwrap_or(0);
            self.next = if self.next + 1 < self.places.len() { self.next + 1 } else { 0 };
            self.file.read_exact_at(&mut self.buffer, place)?;
        }
        Ok(())
    }
}
