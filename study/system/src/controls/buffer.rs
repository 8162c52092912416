//! Memory in pages of a size that the kernel confirms.
//!
//! Buffers that are to be compared must be made alike in all but their pages. The first memory that a process touches may
//! come from the scattered rests of others, and later memory from whole blocks, which made equal buffers differ by a
//! factor of 2. So buffers are touched in turn, block by block. And all of them are touched as large pages where there
//! are any: those that are to have small pages are broken afterwards, as a direct map is, and their memory stays
//! contiguous by 2 MiB.

use std::ops::{Deref, DerefMut, Range};

use memmap2::{Advice, MmapMut};
use procfs::process::{MMapExtension, Process};
use rhumb_method::{Failed, Watch};
use zerocopy::FromBytes;

#[cfg(test)]
mod tests;

/// The size of a large page.
const LARGE_BYTES: usize = 2 << 20;

/// The size of the smallest page there is.
const SMALL_BYTES: usize = 4 << 10;

/// The share of a buffer that must lie in large pages for the buffer to count as one of them.
const MOST_OF_IT: f64 = 0.95;

/// Why there is no such buffer.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The system refused.
    #[error("{0}")]
    System(String),
    /// There were large pages for a part of the buffer only.
    #[error("the kernel gave them to {share:.0} % of {megabytes} MiB")]
    Small {
        /// That part, in percent.
        share: f64,
        /// The buffer's size.
        megabytes: usize,
    },
    /// The kernel used large pages where small ones were asked for.
    #[error("the kernel uses pages of 2 MiB where pages of 4 KiB were asked for")]
    Large,
    /// A sample was no time.
    #[error(transparent)]
    Trial(#[from] Failed),
    /// The user ended the study.
    #[error("the study was ended")]
    Cancelled,
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::System(error.to_string())
    }
}

/// Memory, all of it touched, in pages of one size.
#[derive(Debug)]
pub(super) struct Buffer {
    map: MmapMut,
    inside: Range<usize>,
}

impl Buffer {
    /// Maps a buffer of `bytes`, a multiple of 2 MiB, of which nothing is touched yet.
    fn map(bytes: usize, advice: Advice) -> Result<Self, Fault> {
        let map = MmapMut::map_anon(bytes + LARGE_BYTES)?;
        let start = map.as_ptr().align_offset(LARGE_BYTES);
        let buffer = Self { map, inside: start..start + bytes };
        match buffer.map.advise_range(advice, start, bytes) {
            // A kernel without transparent huge pages refuses both advices, and has only small pages.
            Err(error) if advice == Advice::HugePage => Err(error.into()),
            _ => Ok(buffer),
        }
    }

    /// Makes buffers in large pages.
    ///
    /// # Errors
    /// The system has no memory, or no large pages for nearly all of it.
    pub(super) fn large<const N: usize>(bytes: usize, watch: &dyn Watch) -> Result<[Self; N], Fault> {
        let buffers = Self::touched(bytes, Advice::HugePage, watch)?;
        for buffer in &buffers {
            let large = buffer.large_bytes()?;
            if (large as f64) < MOST_OF_IT * bytes as f64 {
                return Err(Fault::Small {
                    share: 100.0 * large as f64 / bytes as f64,
                    megabytes: bytes >> 20,
                });
            }
        }
        Ok(buffers)
    }

    /// Makes buffers in small pages.
    ///
    /// # Errors
    /// The system has no memory, or the kernel used large pages all the same.
    pub(super) fn small<const N: usize>(bytes: usize, watch: &dyn Watch) -> Result<[Self; N], Fault> {
        let buffers = Self::touched(bytes, Advice::NoHugePage, watch)?;
        for buffer in &buffers {
            buffer.must_be_small()?;
        }
        Ok(buffers)
    }

    /// Breaks all large pages of the buffer into small ones. Its memory stays where it is.
    ///
    /// # Errors
    /// The system refused, or large pages are left.
    pub(super) fn break_pages(&mut self) -> Result<(), Fault> {
        for block in self.inside.clone().step_by(LARGE_BYTES) {
            // An advice for a part of a large page makes the kernel break it, because the advice is kept by mapping.
            self.map.advise_range(Advice::NoHugePage, block + SMALL_BYTES, SMALL_BYTES)?;
        }
        self.map.advise_range(Advice::NoHugePage, self.inside.start, self.inside.len())?;
        self.must_be_small()
    }

    /// Maps buffers and touches them in turn.
    fn touched<const N: usize>(bytes: usize, advice: Advice, watch: &dyn Watch) -> Result<[Self; N], Fault> {
        let mut buffers = Vec::with_capacity(N);
        for _ in 0..N {
            buffers.push(Self::map(bytes, advice)?);
        }
        for block in (0..bytes).step_by(LARGE_BYTES) {
            if watch.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            for buffer in &mut buffers {
                let start = buffer.inside.start + block;
                let pages = buffer.map[start..start + LARGE_BYTES].iter_mut().step_by(SMALL_BYTES);
                pages.for_each(|byte| *byte = 1);
            }
        }
        buffers.try_into().map_err(|_| Fault::Cancelled)
    }

    /// Verifies that the kernel maps nearly all of the buffer by large pages.
    ///
    /// # Errors
    /// It does not, or does not say.
    pub(super) fn must_be_large(&self) -> Result<(), Fault> {
        let (large, bytes) = (self.large_bytes()?, self.inside.len());
        if (large as f64) < MOST_OF_IT * bytes as f64 {
            return Err(Fault::Small { share: 100.0 * large as f64 / bytes as f64, megabytes: bytes >> 20 });
        }
        Ok(())
    }

    /// Verifies that the kernel maps nothing of the buffer by large pages.
    ///
    /// # Errors
    /// It does, or does not say.
    pub(super) fn must_be_small(&self) -> Result<(), Fault> {
        if self.large_bytes()? > 0 { Err(Fault::Large) } else { Ok(()) }
    }

    /// Returns how many of the buffer's bytes the kernel maps by large pages.
    fn large_bytes(&self) -> Result<u64, Fault> {
        let maps = Process::myself().and_then(|process| process.smaps());
        let maps =
            maps.map_err(|error| Fault::System(format!("/proc/self/smaps cannot be read: {error}")))?;
        let base = self.map.as_ptr().addr();
        let ours = (base + self.inside.start) as u64..(base + self.inside.end) as u64;
        let inside = maps.iter().filter(|map| map.address.0 < ours.end && ours.start < map.address.1);
        Ok(inside.map(|map| anonymous_large_bytes(&map.extension)).sum())
    }
}

/// Returns the bytes of a mapping that lie in large pages.
fn anonymous_large_bytes(extension: &MMapExtension) -> u64 {
    extension.map.get("AnonHugePages").copied().unwrap_or(0)
}

impl Deref for Buffer {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // The buffer is aligned to a large page and a multiple of one, so that the view is never refused.
        FromBytes::ref_from_bytes(&self.map[self.inside.clone()]).unwrap_or(&[])
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u64] {
        FromBytes::mut_from_bytes(&mut self.map[self.inside.clone()]).unwrap_or(&mut [])
    }
}
