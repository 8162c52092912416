//! The floor: as little as an allocator of single frames can do. A per-CPU array, filled from and emptied into words of
//! 64 frames. No orders, no merging, no zones, no care for fragmentation: it shows what the harness and the caches
//! cost.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};

use rhumb_machine::{Order, Pfn, Pinned};

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region, Zeroed};

/// Frames that a CPU keeps.
const SLOTS: usize = 1024;
/// Frames that go back at once.
const DRAIN: usize = 512;

/// A CPU's stack of frames.
#[repr(align(128))]
struct Magazine {
    top: usize,
    /// The word where the last refill ended.
    cursor: usize,
    frames: [u32; SLOTS],
}

/// One bit a free frame, and a magazine a CPU.
pub(super) struct Floor {
    words: Box<[AtomicU64]>,
    magazines: Box<[UnsafeCell<Magazine>]>,
    first: Pfn,
}

// SAFETY: a magazine is reached with its CPU's token alone, by one thread at a time; the words are atomics.
unsafe impl Sync for Floor {}

impl Floor {
    fn refill(&self, magazine: &mut Magazine) {
        for _ in 0..self.words.len() {
            let mut bits = self.words[magazine.cursor].swap(0, Ordering::Acquire);
            while bits != 0 {
                magazine.frames[magazine.top] = magazine.cursor as u32 * 64 + bits.trailing_zeros();
                magazine.top += 1;
                bits &= bits - 1;
            }
            magazine.cursor = (magazine.cursor + 1) % self.words.len();
            if magazine.top >= SLOTS / 4 {
                break;
            }
        }
    }

    fn empty(&self, magazine: &mut Magazine, count: usize) {
        for slot in 0..count {
            let frame = magazine.frames[slot];
            self.words[frame as usize / 64].fetch_or(1 << (frame % 64), Ordering::Release);
        }
        magazine.frames.copy_within(count..magazine.top, 0);
        magazine.top -= count;
    }
}

impl FrameSubject for Floor {
    const NAME: &'static str = crate::report::FLOOR;
    type Held = u32;
    type Storage = Zeroed;

    fn storage(region: &Region) -> Result<Zeroed, Unfit> {
        Ok(Zeroed::touched((region.frames().frames() / 8) as usize))
    }

    fn new(region: &Region, storage: Zeroed) -> Result<Self, Unfit> {
        let words = storage.into_words().into_iter().map(|_| AtomicU64::new(u64::MAX)).collect::<Box<[_]>>();
        let magazine = |cpu| {
            let cursor = words.len() / region.cpus * cpu;
            UnsafeCell::new(Magazine { top: 0, cursor, frames: [0; SLOTS] })
        };
        let magazines = (0..region.cpus).map(magazine).collect();
        Ok(Self { magazines, words, first: region.frames().start() })
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some((size_of_val(&*self.words) + size_of_val(&*self.magazines)) as u64)
    }

    fn serves(order: Order) -> bool {
        order == Order::BASE
    }

    #[inline]
    fn get(&self, pinned: Pinned<'_>, _order: Order) -> Option<u32> {
        // SAFETY: the token is this CPU's, and no reference to its magazine outlives a call.
        let magazine = unsafe { &mut *self.magazines[pinned.cpu().index()].get() };
        if magazine.top == 0 {
            self.refill(magazine);
        }
        magazine.top = magazine.top.checked_sub(1)?;
        Some(magazine.frames[magazine.top % SLOTS])
    }

    #[inline]
    fn put(&self, pinned: Pinned<'_>, frame: u32, _order: Order) {
        // SAFETY: the token is this CPU's, and no reference to its magazine outlives a call.
        let magazine = unsafe { &mut *self.magazines[pinned.cpu().index()].get() };
        if magazine.top == SLOTS {
            self.empty(magazine, DRAIN);
        }
        magazine.frames[magazine.top % SLOTS] = frame;
        magazine.top += 1;
    }

    #[inline]
    fn first(&self, frame: &u32) -> Pfn {
        self.first.plus(u64::from(*frame))
    }
}
