//! Objects that a workload holds: their tags, their sizes.
//!
//! The tag of an object is its first word. It is unique among the objects that are live, so an object with two owners
//! has the wrong tag for one of them, as has one that the allocator writes into while it is held.

use std::alloc::Layout;
use std::ptr::NonNull;

use rhumb_machine::Pinned;

use super::subject::ObjectSubject;
use crate::driver::{Better, Sample};
use crate::stats::Random;

/// The smallest object with mixed sizes.
const SMALLEST_BYTES: usize = 16;
/// Mixed sizes: 16 B to 2 KiB, uniform in their logarithm, in steps of 8 B: small objects are many, large ones most of
/// the memory. The mean is 423 B.
const LARGEST_BYTES: usize = 2048;

/// The live objects of a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) object: NonNull<u8>,
    pub(super) bytes: u32,
    tag: u32,
}

// SAFETY: its holder owns the object.
unsafe impl Send for Held {}

/// Writes an object's first word.
///
/// # Safety
/// The object is the caller's, 8 bytes or more.
#[inline(always)]
pub(super) unsafe fn tag(object: NonNull<u8>, tag: u32) {
    // SAFETY: the caller promises that the object is its own and has 8 bytes. Volatile, so that the write is made.
    unsafe { object.cast::<u64>().write_volatile(u64::from(tag)) };
}

/// Tells whether the object has the tag still.
///
/// # Safety
/// As with [`tag`].
#[inline(always)]
pub(super) unsafe fn has_tag(object: NonNull<u8>, tag: u32) -> bool {
    // SAFETY: the caller promises that the object is its own and has 8 bytes.
    unsafe { object.cast::<u64>().read_volatile() == u64::from(tag) }
}

/// Returns the layout of `bytes`.
#[inline(always)]
pub(super) fn layout(bytes: u32) -> Layout {
    // SAFETY: the alignment is a power of two, and no `u32` overflows.
    unsafe { Layout::from_size_align_unchecked(bytes as usize, 8) }
}

/// The faults that were seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Faults {
    /// Requests without an object.
    pub(super) failed: u64,
    /// Objects with two owners, or written into by others.
    pub(super) wrong: u64,
}

impl Faults {
    /// Returns the faults as samples, which are rows of the table where they are not zero.
    pub(super) fn samples(self) -> [Sample; 2] {
        [
            Sample::count("failed", "objects", Better::Lower, self.failed),
            Sample::count("wrong", "objects", Better::Lower, self.wrong),
        ]
    }
}

impl std::iter::Sum for Faults {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, faults| Self {
            failed: sum.failed + faults.failed,
            wrong: sum.wrong + faults.wrong,
        })
    }
}

/// Tags of one CPU: no other has them.
#[derive(Debug)]
pub(super) struct Tags(u32);

impl Tags {
    /// Tags for CPU `index`: 2^27 of them, more than a workload needs.
    pub(super) fn of(index: usize) -> Self {
        Self((index as u32) << 27)
    }

    /// Returns the next one.
    #[inline(always)]
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

impl Held {
    /// Returns an object of `bytes`, tagged.
    #[inline(always)]
    pub(super) fn take<S: ObjectSubject>(
        subject: &S,
        pinned: Pinned<'_>,
        bytes: u32,
        tag: u32,
    ) -> Option<Self> {
        let object = subject.get(pinned, layout(bytes))?;
        // SAFETY: a fresh object of 16 bytes or more.
        unsafe { self::tag(object, tag) };
        Some(Self { object, bytes, tag })
    }

    /// Gives it back.
    #[inline(always)]
    pub(super) fn give<S: ObjectSubject>(self, subject: &S, pinned: Pinned<'_>) {
        // SAFETY: it was taken from the subject, and this is its owner.
        unsafe { subject.put(pinned, self.object, layout(self.bytes)) };
    }

    /// Tells whether it is this owner's alone.
    pub(super) fn is_whole(&self) -> bool {
        // SAFETY: it is held.
        unsafe { has_tag(self.object, self.tag) }
    }
}

/// Returns how many of `held` are not their owner's alone.
pub(super) fn broken(held: &[Held]) -> u64 {
    held.iter().filter(|held| !held.is_whole()).count() as u64
}

/// Returns the size of the next object, in bytes.
pub(super) fn mixed_size(random: &mut Random) -> u32 {
    let fraction = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    let ratio = LARGEST_BYTES as f64 / SMALLEST_BYTES as f64;
    let bytes = SMALLEST_BYTES as f64 * ratio.powf(fraction);
    (bytes as u32).next_multiple_of(8).min(LARGEST_BYTES as u32)
}

#[cfg(test)]
mod tests;
