//! The shadow itself: telling it what memory is for, and asking it.
//!
//! Kept as atomic words of eight shadow bytes, so that a check is one load in most cases and marking a frame is 64
//! stores. All of it is relaxed: code that hands memory to another CPU orders the shadow's stores with its own
//! hand-over. Where a word also speaks for memory of others, only the bytes meant are exchanged.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{VirtAddr, VirtRange};

use crate::access::{Kind, Violation};
use crate::state::{GRANULE_BYTES, State, allowed_bytes};

/// Ranges that a shadow holds at most: RAM in up to a dozen large pieces, the kernel image, stacks, and some to spare.
pub const MAX_REGIONS: usize = 16;

/// Bytes of memory that a word of the shadow speaks for.
pub(crate) const WORD_COVERS_BYTES: u64 = 8 * GRANULE_BYTES;

/// Memory in a row, and its shadow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Region<'words> {
    /// Whole pages.
    pub(crate) range: VirtRange,
    /// One for each 64 bytes of `range`.
    pub(crate) words: &'words [AtomicU64],
}

/// The shadow of all that is watched. Memory that no region covers may be touched.
#[derive(Clone, Debug, Default)]
pub struct Shadow<'words> {
    pub(crate) regions: [Region<'words>; MAX_REGIONS],
    pub(crate) count: usize,
}

impl Shadow<'_> {
    /// Tells whether all of `bytes` bytes at `address` may be touched. Cost: a comparison a region, and a load for each
    /// 64 bytes.
    #[inline]
    pub fn is_allowed(&self, address: VirtAddr, bytes: u64) -> bool {
        match self.region_of(address) {
            Some(region) => region.first_bad(address.since(region.range.start()), bytes).is_none(),
            None => true,
        }
    }

    /// Returns the violation that an access is, or `None`.
    pub fn check(&self, address: VirtAddr, bytes: u64, kind: Kind) -> Option<Violation> {
        let region = self.region_of(address)?;
        let offset = region.first_bad(address.since(region.range.start()), bytes)?;
        let granule = offset / GRANULE_BYTES;
        // The next granule tells what follows a granule's last good byte.
        let state = match State::from_byte(region.byte(granule)) {
            State::Partly(_) => State::from_byte(region.byte(granule + 1)),
            state => state,
        };
        Some(Violation { address, bytes, kind, first_bad: region.range.start().plus(offset), state })
    }

    /// Says what `range` may be used for from now on.
    ///
    /// Allowing bytes in the middle of a granule allows those before them, and forbidding bytes before others of the
    /// same granule does nothing to that granule: one byte cannot say more, and an error must be on the safe side.
    /// Cost: a store for each 64 bytes.
    pub fn set(&self, range: VirtRange, state: State) {
        for region in self.regions() {
            let part = region.range.intersection(range);
            if !part.is_empty() {
                let start = region.range.start();
                let (from, to) = (part.start().since(start), part.end().since(start));
                match state {
                    State::Accessible => region.allow(from, to),
                    state => region.forbid(from, to, state.to_byte()),
                }
            }
        }
    }

    /// Writes `byte` for each of `granules` granules from the one at `address` on, as the compiler has it for variables
    /// on the stack. Granules without a shadow are left out.
    pub fn fill(&self, address: VirtAddr, granules: u64, byte: u8) {
        let Some(region) = self.region_of(address) else { return };
        let first = address.since(region.range.start()) / GRANULE_BYTES;
        let end = (first + granules).min(region.range.bytes() / GRANULE_BYTES);
        region.fill(first, end, byte);
    }

    /// Returns the state of the granule at `address`; `None` where it is not watched.
    pub fn state(&self, address: VirtAddr) -> Option<State> {
        self.byte(address).map(State::from_byte)
    }

    /// Returns the shadow byte of the granule at `address`; `None` where it is not watched.
    pub fn byte(&self, address: VirtAddr) -> Option<u8> {
        let region = self.region_of(address)?;
        Some(region.byte(address.since(region.range.start()) / GRANULE_BYTES))
    }

    /// Returns the ranges that are watched, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = VirtRange> + '_ {
        self.regions().iter().map(|region| region.range)
    }

    /// Tells whether each region has the words it needs and none overlaps the next.
    pub fn validate(&self) -> bool {
        let sized = |region: &Region<'_>| {
            region.range.bytes() == region.words.len() as u64 * WORD_COVERS_BYTES && !region.range.is_empty()
        };
        let apart = |pair: &[Region<'_>]| pair[0].range.end() <= pair[1].range.start();
        self.regions().iter().all(sized) && self.regions().windows(2).all(apart)
    }

    fn regions(&self) -> &[Region<'_>] {
        self.regions.get(..self.count).unwrap_or_default()
    }

    #[inline]
    fn region_of(&self, address: VirtAddr) -> Option<&Region<'_>> {
        self.regions().iter().find(|region| region.range.contains(address))
    }
}

/// Offsets are bytes, and granules are numbered, from the region's start.
impl Region<'_> {
    /// Returns the offset of the first byte of an access that may not be touched. Bytes past the region's end may be.
    #[inline]
    fn first_bad(&self, offset: u64, bytes: u64) -> Option<u64> {
        let end = offset.saturating_add(bytes).min(self.range.bytes());
        let mut at = offset;
        while at < end {
            let word = self.words.get((at / WORD_COVERS_BYTES) as usize)?.load(Relaxed);
            let word_end = (at / WORD_COVERS_BYTES + 1) * WORD_COVERS_BYTES;
            if word != 0 {
                let bad = first_bad_in(
                    word,
                    at % WORD_COVERS_BYTES,
                    end.min(word_end) - (at - at % WORD_COVERS_BYTES),
                );
                if let Some(bad) = bad {
                    return Some(at - at % WORD_COVERS_BYTES + bad);
                }
            }
            at = word_end;
        }
        None
    }

    fn byte(&self, granule: u64) -> u8 {
        match self.words.get((granule / 8) as usize) {
            Some(word) => word.load(Relaxed).to_le_bytes()[(granule % 8) as usize],
            None => 0,
        }
    }

    fn allow(&self, from: u64, to: u64) {
        let last = to / GRANULE_BYTES;
        self.fill(from / GRANULE_BYTES, last, 0);
        let tail = to % GRANULE_BYTES;
        if tail != 0 {
            self.update(last, |byte| if allowed_bytes(byte) < tail { tail as u8 } else { byte });
        }
    }

    fn forbid(&self, from: u64, to: u64, byte: u8) {
        let (first, last) = (from.div_ceil(GRANULE_BYTES), to / GRANULE_BYTES);
        let head = from % GRANULE_BYTES;
        if head != 0 {
            let granule = first - 1;
            let reach = to.min(first * GRANULE_BYTES) - granule * GRANULE_BYTES;
            self.update(granule, |old| match allowed_bytes(old) {
                0 => old,
                allowed if allowed <= reach => allowed.min(head) as u8,
                _ => old,
            });
        }
        self.fill(first, last, byte);
        let tail = to % GRANULE_BYTES;
        if tail != 0 && last >= first {
            self.update(last, |old| if allowed_bytes(old) <= tail { byte } else { old });
        }
    }

    /// Writes `byte` for the granules `first..end`.
    fn fill(&self, first: u64, end: u64, byte: u8) {
        let all = u64::from_le_bytes([byte; 8]);
        // The words that are meant whole, and up to 7 granules of the words before and behind them.
        let (whole, stop) = (first.div_ceil(8), end / 8);
        if whole > stop {
            return self.fill_within(first, end, all);
        }
        self.fill_within(first, whole * 8, all);
        for word in self.words.get(whole as usize..stop as usize).unwrap_or_default() {
            word.store(all, Relaxed);
        }
        self.fill_within(stop * 8, end, all);
    }

    /// Takes the bytes `first..end` of one word from `all`.
    fn fill_within(&self, first: u64, end: u64, all: u64) {
        if let Some(word) = self.words.get((first / 8) as usize).filter(|_| first < end) {
            let mask = (u64::MAX >> (64 - 8 * (end - first))) << (8 * (first % 8));
            exchange(word, |old| old & !mask | all & mask);
        }
    }

    fn update(&self, granule: u64, new: impl Fn(u8) -> u8) {
        let Some(word) = self.words.get((granule / 8) as usize) else { return };
        exchange(word, |old| {
            let mut bytes = old.to_le_bytes();
            bytes[(granule % 8) as usize] = new(bytes[(granule % 8) as usize]);
            u64::from_le_bytes(bytes)
        });
    }
}

/// Returns the first byte of `from..to` that `word` forbids, offsets being within the 64 bytes that it speaks for.
#[inline]
fn first_bad_in(word: u64, from: u64, to: u64) -> Option<u64> {
    let mut granule = from / GRANULE_BYTES;
    while granule * GRANULE_BYTES < to {
        let start = granule * GRANULE_BYTES;
        let allowed_to = start + allowed_bytes((word >> (8 * granule)) as u8);
        if allowed_to < to.min(start + GRANULE_BYTES) {
            return Some(allowed_to.max(from));
        }
        granule += 1;
    }
    None
}

/// Replaces a word that others may be changing elsewhere.
fn exchange(word: &AtomicU64, new: impl Fn(u64) -> u64) {
    let mut old = word.load(Relaxed);
    while let Err(now) = word.compare_exchange_weak(old, new(old), Relaxed, Relaxed) {
        old = now;
    }
}
