//! The store of protected tables: blocks of 2 MiB from the allocator, protected as a whole, and ordinary again before
//! they go back (I5).
//!
//! The frames of a block belong to the store ([`rhumb_tableguard::TableStore`]) and, in the map's journal, to
//! `page tables`; the handle of the block's change is left there. The store itself lies behind the lock of the tables
//! ([`tables::with_store`]), because its tables are written as all tables are.
//!
//! One block more than is in use stays until the map is healed, because otherwise a reserve that goes up and down would
//! take a block and give it back each time.

use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

use rhumb_directmap::{Change, ChangeError};
use rhumb_frames::{AllocClass, FrameRange, Request};
use rhumb_machine::{Block, Machine, Order, PageSize, Pfn, impossible};
use rhumb_pagetable::{OutOfTables, TableSource};
use rhumb_tableguard::{Protection, TABLES_PER_BLOCK, Tenure};

use super::reserve;
use crate::cpu::machine::MACHINE;
use crate::mm::direct_map::{self, Refused, adopt, leave};
use crate::mm::frames::frames;
use crate::mm::{owners, protection, tables};

/// Tables that only growing takes: one for its change, and one for another try. See [`super`].
const KEPT_FOR_GROWING: u64 = 2;

static RESIZING: AtomicBool = AtomicBool::new(false);

/// The right to grow or shrink the store, which one CPU has at a time.
struct Resizing;

impl Resizing {
    fn begin() -> Option<Self> {
        (!RESIZING.swap(true, Acquire)).then_some(Self)
    }
}

impl Drop for Resizing {
    fn drop(&mut self) {
        RESIZING.store(false, Release);
    }
}

/// Tells whether tables come from the store.
pub fn is_source() -> bool {
    protection::wanted() != Protection::Off
}

/// Takes up to `count` zeroed tables, at most those of a stock, and hands each to `put`. Call it with no lock held.
pub fn take(count: u64, mut put: impl FnMut(Pfn)) {
    let mut missing = count - take_some(count, &mut put);
    if missing > 0 {
        grow();
        missing -= take_some(missing, &mut put);
    }
    if missing > 0 {
        reserve::want(reserve::now());
    }
}

/// Takes up to `count` zeroed tables that the store has, by one hold of the lock, and returns how many.
fn take_some(count: u64, put: &mut impl FnMut(Pfn)) -> u64 {
    // SAFETY: tables are taken.
    unsafe {
        tables::with_store(|store, memory| {
            let next = || if store.free() > KEPT_FOR_GROWING { store.take(memory) } else { None };
            core::iter::from_fn(next).take(count as usize).map(&mut *put).count() as u64
        })
    }
}

/// Takes back a table. Call it without the tables' lock.
///
/// # Safety
/// The table is zero, and no CPU can reach it.
pub unsafe fn give(table: Pfn) {
    // SAFETY: the table is zero and no CPU can reach it, by the caller's promise; the store refuses one that is not
    // out.
    if let Err(refused) = unsafe { tables::with_store(|store, memory| store.give(memory, table)) } {
        log::error!("frame {} came back as a page table, and was not given out as one", refused.frame);
    }
}

/// Gives wholly free blocks back to the allocator, as long as `keep` tables are left. Returns how many.
pub fn shrink(keep: u64) -> u64 {
    let mut blocks = 0;
    let Some(_resizing) = Resizing::begin() else { return blocks };
    // Boot's blocks stay, because no other code may change them.
    // SAFETY: a block is taken.
    while let Some(block) = unsafe { tables::with_store(|store, memory| store.take_spare(memory, keep)) } {
        release(block);
        blocks += 1;
    }
    blocks
}

/// Gives back all wholly free blocks, as long as one block's number of tables is left. Returns how many blocks.
pub fn shrink_if_large() -> u64 {
    shrink(TABLES_PER_BLOCK)
}

/// Makes a block that came out of the store ordinary, then frees it.
fn release(block: Block) {
    // SAFETY: `grow` left the block, and it has just come out of the store.
    let changed = unsafe { adopt(owners::PAGE_TABLES, block.frames()) };
    let Some(changed) = changed else {
        return impossible!("`grow` left the block at {} with the journal", block.start().addr());
    };
    let _ = direct_map::restore(changed).into_frames();
    // SAFETY: the block was allocated as one frame by `grow`, is ordinary again, and is in neither store nor tables.
    unsafe { free(block) };
}

/// Frees a block.
///
/// # Safety
/// `grow` allocated it as one frame, it is ordinary, and no other code uses it.
unsafe fn free(block: Block) {
    let Some(frames) = frames() else {
        return impossible!("the block came from the allocator: it is there");
    };
    let guard = MACHINE.pin();
    // SAFETY: the block is one frame of the allocator's and the caller's own, by the caller's promise.
    match unsafe { frames.from_pfn(block.start(), Order::LARGE) } {
        Ok(frame) => frames.free(guard.pinned(), frame),
        Err(fault) => impossible!("the block at {} was allocated: {}", block.start().addr(), fault),
    }
}

/// Adds one block to the store. If the allocator has no whole block, nothing is added, and changes must make do with
/// the tables that are left.
fn grow() {
    // Before boot's blocks are protected, no block needs to be added, and none could be.
    // Growing is a change, which ends by filling the reserve: that filling comes here, too, and is turned away.
    let Some(_resizing) = Resizing::begin().filter(|_| protection::in_force() != Protection::Off) else {
        return;
    };
    let (Some(frames), Some(change)) = (frames(), protection::change()) else {
        return impossible!("a protection is in force: it is a change of allocated frames");
    };
    let request = Request::LARGE.zeroed().class(AllocClass::PageTables).owner(owners::DIRECT_MAP.in_frames());
    let frame = {
        let guard = MACHINE.pin();
        frames.alloc(guard.pinned(), request)
    };
    let Ok(frame) = frame else { return };
    if reserve::now().tables == 0 {
        lend_to_reserve();
    }
    let block = Block::around(frame.pfn(), PageSize::Size2M);
    let _ = frame.into_pfn();
    // SAFETY: the frame's handle has just been given up for that of its frames.
    match unsafe { protect_block(block, change, "tables for changes of the map") } {
        Ok(()) => {
            // SAFETY: the block was allocated just now, zeroed, and is left to the store.
            unsafe { tables::with_store(|store, memory| store.add(memory, block, Tenure::Leaves)) };
        }
        Err(error) => {
            log::warn!("no more tables: the block at {} cannot be protected: {error}", block.start().addr());
            // SAFETY: the block was allocated just now as one frame, and is ordinary: its change was refused.
            unsafe { free(block) };
        }
    }
}

/// Gives the reserve one of the tables that are kept for growing.
fn lend_to_reserve() {
    // SAFETY: a table is taken.
    let table = unsafe { tables::with_store(|store, memory| store.take(memory)) };
    let mut one = One(table);
    // SAFETY: the store's tables are frames of this machine, as the map's are.
    let _ = direct_map::with(|map| unsafe { map.refill(1, &mut one) });
    // Another CPU may have filled up the reserve meanwhile.
    if let Some(table) = one.0 {
        // SAFETY: the table came out of the store, zero, and the reserve did not take it.
        unsafe { give(table) };
    }
}

/// A table on its way from the store to the reserve.
struct One(Option<Pfn>);

// SAFETY: the table is zero and the store's; it is handed out once.
unsafe impl TableSource for One {
    fn take_zeroed_table(&mut self) -> Result<Pfn, OutOfTables> {
        self.0.take().ok_or(OutOfTables)
    }

    unsafe fn give_back(&mut self, table: Pfn) {
        self.0 = Some(table);
    }
}

/// Walks the blocks, with a short hold of the lock for each, while no other CPU grows or shrinks the store. Call it
/// with no lock held, and not from an interrupt handler.
pub fn for_each(act: impl FnMut(Block)) {
    let _resizing = loop {
        match Resizing::begin() {
            Some(resizing) => break resizing,
            None => core::hint::spin_loop(),
        }
    };
    each().for_each(act);
}

/// Returns each block. The store must not shrink meanwhile.
fn each() -> impl Iterator<Item = Block> {
    let next = |after| tables::look_at_store(|store, memory| store.next(memory, after));
    core::iter::successors(next(None), move |&block| next(Some(block)))
}

/// Protects the blocks that boot took. No other CPU may change the store meanwhile.
pub fn protect_all() -> Result<(), ChangeError> {
    let Some(change) = protection::change() else {
        return impossible!("only a protection that changes frames is started" => Ok(()));
    };
    // Without a map, protecting them is refused.
    let is_held =
        |block: &Block| direct_map::with(|map| map.why(block.start()).held.is_some()).unwrap_or(false);
    // SAFETY: boot took the blocks for tables, and the store has them permanently.
    each()
        .filter(|block| !is_held(block))
        .try_for_each(|block| unsafe { protect_block(block, change, "boot's tables") })
}

/// Changes how a block is mapped, and leaves its handle with the journal.
///
/// # Errors
/// The change was refused: the block is as it was.
///
/// # Safety
/// The block is the store's, or the caller has given up its handle.
unsafe fn protect_block(block: Block, change: Change, reason: &'static str) -> Result<(), ChangeError> {
    // SAFETY: the block is the store's, or the caller has given up its handle: no other handle of these frames is in
    // use.
    let range = unsafe { FrameRange::assume(block.frames()) };
    match direct_map::change(range, change, owners::PAGE_TABLES, reason) {
        Ok(changed) => {
            leave(changed);
            Ok(())
        }
        Err(Refused { frames, error }) => {
            let _ = frames.into_frames();
            Err(error)
        }
    }
}
