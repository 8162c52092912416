//! The ground under the pool of executable memory.
//!
//! Boot has made one table of large pages for the pool's addresses, so that no change needs a table. Frames are out of
//! the direct map for as long as the pool has them, so that nothing but the pool's own page and, while they are spare, a
//! window of one CPU leads to them (I4).
//!
//! Locking: [`KernelHome::changes`] is the turn to change, held with interrupts on. The index's lock is a leaf.

use rhumb_code::{BlockPlace, Changes, DataPlace, Home, Index, NoFrames, PAGE_BYTES, PageBytes};
use rhumb_frames::{Frames, Request};
use rhumb_machine::{FlushScope, Machine, PageSize, Pfn, Tlb, impossible};
use rhumb_pagetable::{Access, Attributes, Entry, FlushBatch, FlushCause, TableMemory};
use spin::mutex::SpinMutex;

use super::StartError;
use crate::cpu::lock::IrqMutex;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{call, serialise, tlb};
use crate::layout;
use crate::mm::direct_map::absent::{self, Absent};
use crate::mm::window_tables::KernelWindows;
use crate::mm::{owners, tables, windows};

/// Frames, windows, the table, and the locks.
pub struct KernelHome {
    frames: &'static Frames<KernelMachine>,
    windows: &'static KernelWindows,
    /// The table of large pages for the pool's addresses.
    table: Pfn,
    changes: SpinMutex<Changes<Absent>>,
    index: IrqMutex<Index>,
}

impl KernelHome {
    /// Finds windows and table. Once, because there is one table.
    pub(super) fn new(frames: &'static Frames<KernelMachine>) -> Result<Self, StartError> {
        let walk = tables::walk(layout::CODE);
        let last = walk.steps().last().filter(|step| step.level == PageSize::Size2M.level());
        Ok(Self {
            frames,
            windows: windows::windows().ok_or(StartError::NoWindows)?,
            table: last.ok_or(StartError::NoTable)?.table,
            changes: SpinMutex::new(Changes::new()),
            index: IrqMutex::new(Index::new()),
        })
    }

    fn write_entry(&self, block: BlockPlace, entry: Entry) {
        // The pool's range lies within what one such table maps.
        let index = (block.start().since(layout::CODE) / PageSize::Size2M.bytes()) as usize;
        // SAFETY: the table is the pool's alone, which makes `BlockPlace`s of its own range. The frames are the pool's,
        // out of the direct map, and no window shows them any more, so that code cannot be written (I4). The pool
        // flushes what was mapped before (I6).
        unsafe { tables::writer() }.write(self.table, index, entry);
    }
}

const _: () =
    assert!(layout::CODE.is_aligned(PageSize::Size1G) && layout::CODE_BYTES <= PageSize::Size1G.bytes());

// SAFETY: boot maps nothing at the pool's addresses, and no other code has their table. Frames come from the allocator,
// which gives each out once, and are out of the direct map between `take_frames` and `give_frames`; windows are one
// CPU's, and this CPU's translations of closed ones are dropped in `end_writing`, which the same CPU calls, since
// `with_changes` keeps the code on it. An entry is one 64-bit store. `flush` has every CPU that runs flush, and then
// serialise in an interrupt, before which a lazy one has flushed. The locks are in the only value.
unsafe impl Home for KernelHome {
    type Frames = Absent;

    fn with_changes<A>(&self, act: impl FnOnce(&mut Changes<Absent>) -> A) -> A {
        let _pin = MACHINE.pin();
        loop {
            if let Some(mut changes) = self.changes.try_lock() {
                return act(&mut changes);
            }
            // The CPU whose turn it is waits for answers of this one.
            call::serve_if_here();
            core::hint::spin_loop();
        }
    }

    fn with_index<A>(&self, act: impl FnOnce(&mut Index) -> A) -> A {
        act(&mut self.index.lock())
    }

    fn try_with_index<A>(&self, act: impl FnOnce(&mut Index) -> A) -> Option<A> {
        self.index.try_lock().map(|mut index| act(&mut index))
    }

    fn take_frames(&self, fill: u8) -> Result<Absent, NoFrames> {
        let guard = MACHINE.pin();
        let request = Request::LARGE.owner(owners::CODE.in_frames());
        let frame = self.frames.alloc(guard.pinned(), request).map_err(|_| NoFrames::NoBlock)?;
        let bytes = MACHINE.direct(frame.pfn().addr()).as_mut_ptr::<u8>();
        // SAFETY: the frames are in the direct map, this function's, and no other code uses them.
        unsafe { bytes.write_bytes(fill, PageSize::Size2M.bytes() as usize) };
        absent::remove(frame, owners::CODE, "executable memory and its data").map_err(|refused| {
            self.frames.free(guard.pinned(), refused.frames);
            NoFrames::DirectMap
        })
    }

    fn give_frames(&self, frames: Absent) {
        let guard = MACHINE.pin();
        self.frames.free(guard.pinned(), absent::put_back(frames));
    }

    fn write_page(&self, frames: &mut Absent, page: usize, bytes: &PageBytes) {
        if let Err(error) = self.windows.copy_to(frames.frame_mut(), (page * PAGE_BYTES) as u64, bytes) {
            impossible!("each CPU has windows, and a block has 512 pages: {error}");
        }
    }

    fn end_writing(&self) {
        let guard = MACHINE.pin();
        // Closed windows may be in this CPU's TLB. Their translations are not global.
        MACHINE.flush_local(guard.pinned(), FlushScope::NonGlobal);
    }

    fn map(&self, block: BlockPlace, frames: &Absent, access: Access) {
        let phys = frames.frame().pfn().addr();
        self.write_entry(block, Entry::leaf(phys, PageSize::Size2M, Attributes::kernel(access)));
    }

    fn unmap(&self, block: BlockPlace) {
        self.write_entry(block, Entry::EMPTY);
    }

    fn flush(&self, block: BlockPlace) {
        let mut batch = FlushBatch::new();
        batch.add_leaf(block.range(), PageSize::Size2M);
        let _counted = tlb::flush_everywhere(&mut batch, FlushCause::KernelMap);
        serialise::everywhere();
    }

    fn read_page(&self, block: BlockPlace, page: usize, into: &mut PageBytes) {
        let from = block.start().plus((page * PAGE_BYTES) as u64).as_ptr::<u8>();
        // SAFETY: the pool reads blocks that it has mapped, all of which can be read, and whose pages nothing writes:
        // blocks of code and of read-only data.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), PAGE_BYTES) };
    }

    fn clear(&self, place: &DataPlace) {
        let (to, bytes) = (place.range().start(), place.range().bytes() as usize);
        // SAFETY: the pool names data in a block that is mapped read-write, which no holder has now.
        unsafe { to.as_mut_ptr::<u8>().write_bytes(0, bytes) };
    }

    fn write_data(&self, place: &DataPlace, bytes: &[u8]) {
        let to = place.range().start();
        let length = bytes.len().min(place.range().bytes() as usize);
        // SAFETY: the pool names data of a part whose holder lends the pool its handle for this, in a block that is
        // mapped read-write; it is no longer than the part, and a part's data are reached by no reference.
        unsafe { to.as_mut_ptr::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), length) };
    }

    fn access_of(&self, block: BlockPlace) -> Option<Access> {
        let leaf = tables::walk(block.start()).leaf().filter(|leaf| leaf.size == PageSize::Size2M)?;
        Some(match (leaf.permissions.writable, leaf.permissions.executable) {
            (true, _) => Access::ReadWrite,
            (false, true) => Access::ReadExecute,
            (false, false) => Access::ReadOnly,
        })
    }
}
