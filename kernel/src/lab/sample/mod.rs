//! Movable frames whose contents are known: the kernel's first owner of such frames, and what compaction is tested
//! with.
//!
//! Each block holds, in every word, a number of its own mixed with the word's place. So a block that was moved wrongly,
//! or that other code has written to, is found by reading it.
//!
//! ```text
//!   frame ──descriptor: owner, private word──> list, place in it ──> Block { frame, mark }
//! ```
//!
//! Movable memory need not be in the direct map: the blocks lie past its end where there is such memory, and are filled,
//! read and moved through windows then.
//!
//! Locking: one lock for each list, held while a block of the list is copied or read. Compaction only tries the lock
//! ([`crate::mm::movable`]), so frames may be allocated with it held.

pub mod command;

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{AllocClass, AllocError, Anywhere, Extent, Frame, Frames, Relocate, Request, Zone};
use rhumb_machine::{Order, PageSize, Pfn, PhysAddr, Pinned};
use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::chain::Chain;
use crate::cpu::machine::KernelMachine;
use crate::lab::{contents, owners, sizes};
use crate::mm::windows::windows;

/// How many lists there are: so many CPUs work without waiting for each other.
pub const LISTS: usize = 8;

/// The largest block.
const LARGEST: u8 = 8;

/// A block that is ours.
#[derive(Debug)]
struct Block {
    frame: Frame<Anywhere>,
    mark: u64,
}

static BLOCKS: [SpinMutex<Vec<Block>>; LISTS] = [const { SpinMutex::new(Vec::new()) }; LISTS];
/// No two blocks have the same mark.
static MARKS: AtomicU64 = AtomicU64::new(1);

/// The owner that is registered at boot.
pub static SAMPLE: Sample = Sample(());

/// All blocks of the sample.
pub struct Sample(());

/// Why there is no other block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SampleError {
    /// No frames.
    Frames(AllocError),
    /// No memory for the list.
    List,
    /// A block does not hold what was written into it.
    Damaged { at: PhysAddr },
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(error) => error.fmt(f),
            Self::List => f.write_str("no memory for a list of the blocks"),
            Self::Damaged { at } => write!(f, "the movable block at {at} does not hold what was written"),
        }
    }
}

impl From<AllocError> for SampleError {
    fn from(error: AllocError) -> Self {
        Self::Frames(error)
    }
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    pub blocks: u64,
    pub frames: u64,
}

impl Tally {
    const fn add(&mut self, order: Order) {
        self.blocks += 1;
        self.frames += order.frames();
    }
}

/// Adds a block to a list.
///
/// # Errors
/// There is no memory for it.
pub fn add(
    frames: &Frames<KernelMachine>,
    pinned: Pinned<'_>,
    list: usize,
    order: Order,
) -> Result<(), SampleError> {
    let request = Request::new(order.min(sizes::order(LARGEST)));
    let frame = frames.alloc_anywhere(pinned, request.movable().owner(owners::SAMPLE.in_frames()))?;
    let mut blocks = BLOCKS[list % LISTS].lock();
    if blocks.try_reserve(1).is_err() {
        drop(blocks);
        frames.free(pinned, frame);
        return Err(SampleError::List);
    }
    insert(frames, list % LISTS, &mut blocks, frame);
    Ok(())
}

/// Takes the block at `place`, modulo their number, out of a list, and frees it. `None` where the list is empty.
///
/// # Errors
/// It was damaged. It is freed all the same.
pub fn remove(
    frames: &Frames<KernelMachine>,
    pinned: Pinned<'_>,
    list: usize,
    place: usize,
) -> Result<Option<Order>, SampleError> {
    let block = {
        let mut blocks = BLOCKS[list % LISTS].lock();
        if blocks.is_empty() {
            return Ok(None);
        }
        let place = place % blocks.len();
        let block = blocks.swap_remove(place);
        if let Some(last) = blocks.get(place) {
            point(frames, last.start(), list % LISTS, place);
        }
        // Not in the list any more: it is not moved.
        block
    };
    let (verdict, order) = (block.check(), block.frame.order());
    frames.free(pinned, block.frame);
    verdict.map(|()| Some(order))
}

/// Reads the block at `place`, modulo their number.
///
/// # Errors
/// It is damaged.
pub fn check(list: usize, place: usize) -> Result<(), SampleError> {
    let blocks = BLOCKS[list % LISTS].lock();
    if blocks.is_empty() { Ok(()) } else { blocks[place % blocks.len()].check() }
}

/// Reads all blocks, and says how many there are.
///
/// # Errors
/// One is damaged.
pub fn check_all() -> Result<Tally, SampleError> {
    let mut tally = Tally::default();
    for list in &BLOCKS {
        for block in list.lock().iter() {
            block.check()?;
            tally.add(block.frame.order());
        }
    }
    Ok(tally)
}

/// Frees all blocks, and says how many there were.
///
/// # Errors
/// One was damaged; all are freed.
pub fn free_all(frames: &Frames<KernelMachine>, pinned: Pinned<'_>) -> Result<Tally, SampleError> {
    let (mut tally, mut verdict) = (Tally::default(), Ok(()));
    for list in 0..LISTS {
        loop {
            match remove(frames, pinned, list, usize::MAX) {
                Ok(Some(order)) => tally.add(order),
                Ok(None) => break,
                Err(error) => verdict = Err(error),
            }
        }
    }
    // The lists' memory goes, too.
    BLOCKS.iter().for_each(|list| *list.lock() = Vec::new());
    verdict.map(|()| tally)
}

/// Runs `act` while no block can be moved.
pub fn held_still<A>(act: impl FnOnce() -> A) -> A {
    let _lists: [SpinMutexGuard<'_, Vec<Block>>; LISTS] = core::array::from_fn(|list| BLOCKS[list].lock());
    act()
}

/// Takes every free frame, in the direct map and past it, reserves included, keeps one in `one_in`, and frees the others: no block
/// is whole any more where `one_in` is 256 or less. Other CPUs keep the frames in their caches.
///
/// # Errors
/// There is no memory for the list. Nothing is taken then.
///
/// Cost: two operations for each free frame, one of 4 KiB written for each that is kept. Others get no frame meanwhile.
pub fn scatter(
    frames: &Frames<KernelMachine>,
    pinned: Pinned<'_>,
    one_in: u64,
) -> Result<Tally, SampleError> {
    let one_in = one_in.max(1);
    let mut blocks = BLOCKS[0].lock();
    // At the ends of the pieces of RAM there may be one more each.
    let most = frames.free_frames() / one_in + 512;
    blocks.try_reserve(most as usize).map_err(|_| SampleError::List)?;
    let mut chain = Chain::default();
    for zone in [Zone::High, Zone::Normal, Zone::Dma32, Zone::Dma] {
        let request = Request::FRAME.movable().class(AllocClass::Emergency).ceiling(zone);
        while let Ok(frame) = frames.alloc_anywhere(pinned, request) {
            chain.push(frame);
        }
    }
    let mut tally = Tally::default();
    while let Some(popped) = chain.pop(frames) {
        let Ok(frame) = popped else { continue };
        if frame.pfn().get().is_multiple_of(one_in) && blocks.len() < blocks.capacity() {
            tally.add(frame.order());
            insert(frames, 0, &mut blocks, frame);
        } else {
            frames.free(pinned, frame);
        }
    }
    frames.drain(pinned);
    Ok(tally)
}

/// Writes a block, and lists it. There is room.
fn insert(frames: &Frames<KernelMachine>, list: usize, blocks: &mut Vec<Block>, frame: Frame<Anywhere>) {
    if let Some(descriptor) = frames.descriptor_of(&frame) {
        descriptor.set_owner(owners::SAMPLE.in_frames());
    }
    let mut block = Block { frame, mark: MARKS.fetch_add(1, Relaxed) };
    block.fill();
    point(frames, block.start(), list, blocks.len());
    blocks.push(block);
}

/// Lets the descriptor of a block's first frame say where the block is listed.
fn point(frames: &Frames<KernelMachine>, start: Pfn, list: usize, place: usize) {
    // SAFETY: the block is the sample's: it is listed, or about to be.
    if let Some(descriptor) = unsafe { frames.descriptor_to_write(start) } {
        descriptor.set_private((list as u64) << 32 | place as u64);
    }
}

/// Bytes that are written and read at once: they lie on the stack.
const CHUNK_BYTES: u64 = 1024;

impl Block {
    const fn start(&self) -> Pfn {
        self.frame.pfn()
    }

    /// Returns the contents of a chunk: words that no other block has.
    fn chunk(&self, offset: u64) -> [u8; CHUNK_BYTES as usize] {
        let mark = self.mark.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(offset / 8);
        let mut bytes = [0; CHUNK_BYTES as usize];
        for (word, place) in (0..).zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&mark.wrapping_add(word).to_le_bytes());
        }
        bytes
    }

    fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.frame.order().bytes()).step_by(CHUNK_BYTES as usize)
    }

    fn fill(&mut self) {
        for offset in self.offsets() {
            let bytes = self.chunk(offset);
            contents::write(&mut self.frame, offset, &bytes);
        }
    }

    fn check(&self) -> Result<(), SampleError> {
        let is_intact = self.offsets().all(|offset| {
            let mut found = [0; CHUNK_BYTES as usize];
            contents::read(&self.frame, offset, &mut found);
            found == self.chunk(offset)
        });
        if is_intact { Ok(()) } else { Err(SampleError::Damaged { at: self.start().addr() }) }
    }

    fn holds(&self, pfn: Pfn) -> bool {
        self.frame.frames().contains(pfn)
    }
}

const _: () = assert!(PageSize::Size4K.bytes().is_multiple_of(CHUNK_BYTES));

impl Sample {
    /// Returns where the block that holds `pfn` is listed, if its descriptor says so. Only its list can confirm it.
    fn listed_at(pfn: Pfn) -> Option<(usize, usize, Pfn)> {
        let frames = crate::mm::frames::frames()?;
        (0..=LARGEST).find_map(|log2| {
            let start = Pfn::new(pfn.get() >> log2 << log2);
            let descriptor = frames.descriptor(start)?;
            let word = descriptor.private();
            let is_ours = descriptor.owner() == owners::SAMPLE.in_frames();
            let listed = ((word >> 32) as usize, word as u32 as usize, start);
            (is_ours && listed.0 < LISTS && Self::confirmed(listed, pfn)).then_some(listed)
        })
    }

    /// Tells whether the list has it there now. `false` where another CPU works on the list.
    fn confirmed((list, place, start): (usize, usize, Pfn), pfn: Pfn) -> bool {
        let Some(blocks) = BLOCKS[list].try_lock() else { return false };
        blocks.get(place).is_some_and(|block| block.start() == start && block.holds(pfn))
    }
}

// SAFETY: it names blocks that are listed, which the sample allocated and holds; the list knows the new place before
// `relocate` returns, and every reader of a block, and the code that frees it, takes the
// list's lock.
unsafe impl Relocate for Sample {
    fn extent(&self, pfn: Pfn) -> Option<Extent> {
        let (list, place, start) = Self::listed_at(pfn)?;
        let blocks = BLOCKS[list].try_lock()?;
        let block = blocks.get(place).filter(|block| block.start() == start)?;
        Some(Extent { start, order: block.frame.order() })
    }

    fn relocate(&self, _: Pinned<'_>, from: Extent, mut to: Frame<Anywhere>) -> Result<(), Frame<Anywhere>> {
        let Some((list, place, _)) = Self::listed_at(from.start) else { return Err(to) };
        let Some(mut blocks) = BLOCKS[list].try_lock() else { return Err(to) };
        let found = blocks.get_mut(place);
        let Some(block) =
            found.filter(|block| (block.start(), block.frame.order()) == (from.start, from.order))
        else {
            return Err(to);
        };
        if windows().is_none_or(|windows| windows.copy(&block.frame, &mut to).is_err()) {
            return Err(to);
        }
        // Every reader of the block, and the code that frees it, takes the list's lock.
        let old = core::mem::replace(&mut block.frame, to);
        let _ = old.into_pfn();
        let start = block.start();
        if let Some(frames) = crate::mm::frames::frames() {
            point(frames, start, list, place);
        }
        Ok(())
    }
}
