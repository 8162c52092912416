//! The ground of the kernel map: its frames, its tables, and how CPUs flush what leaves it.

use rhumb_frames::{AllocClass, AllocError, Anywhere, Contents, Frame, FrameFault, Frames, Request};
use rhumb_kernelmap::Home;
use rhumb_kernelmap::map::{FlushNumber, NotCopied, copy_direct};
use rhumb_machine::{Machine, Order, PageSize, Pfn, PhysRange, Pinned, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::flush::{Flushed, Unflushed};
use rhumb_pagetable::{Entry, FlushCause, OutOfTables, Privilege, Root, TableMemory, descend};
use x86_64::instructions::interrupts;

use crate::arch::features::features;
use crate::cpu::lock::IrqMutex;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{call, tlb};
use crate::facts::Boot;
use crate::mm::direct_map::table_supply::store;
use crate::mm::tables::{self, DirectTables};
use crate::mm::windows::windows;
use crate::mm::{owners, protection};

/// The level of the tables that boot makes for all addresses of the map.
const FROZEN_LEVEL: u8 = 3;

/// The lock of the tables above areas.
static UPPER_TABLES: IrqMutex<()> = IrqMutex::new(());

/// The allocator, the tree and the flushes of this kernel.
pub struct KernelHome {
    boot: &'static Boot,
    frames: &'static Frames<KernelMachine>,
}

impl KernelHome {
    pub(in crate::mm) const fn new(boot: &'static Boot, frames: &'static Frames<KernelMachine>) -> Self {
        Self { boot, frames }
    }
}

/// Returns this CPU's way to entries that are the caller's alone.
fn own_entries() -> DirectTables {
    // SAFETY: the kernel map writes entries of its own addresses, which no other part of the kernel maps, each from the
    // holder of its area; it maps frames that it has allocated, or devices, none of them executable, and flushes before
    // it uses them again. The way of writing is settled before the map is made.
    unsafe { tables::unlocked(windows()) }
}

// SAFETY: there is one allocator and one tree; the addresses are the map's alone by the plan of the address space;
// tables are zeroed frames of the allocator or of the store; RAM is what boot found, and none is added later; the
// flush is that of all CPUs that run, and waits for a CPU that starts.
unsafe impl Home for KernelHome {
    type Machine = KernelMachine;
    type Tables = DirectTables;

    fn frames(&self) -> &'static Frames<KernelMachine> {
        self.frames
    }

    fn root(&self) -> Root {
        tables::root()
    }

    fn largest(&self) -> PageSize {
        let is_huge = features().huge_pages && self.boot.options.gigabyte_pages;
        if is_huge { PageSize::Size1G } else { PageSize::Size2M }
    }

    fn tables(&self) -> DirectTables {
        own_entries()
    }

    fn with_upper_tables<A>(&self, act: impl FnOnce(&mut DirectTables) -> A) -> A {
        let _held = UPPER_TABLES.lock();
        act(&mut own_entries())
    }

    fn take_table(&self, pinned: Pinned<'_>) -> Result<Pfn, OutOfTables> {
        if store::is_source() {
            let mut taken = None;
            store::take(1, |table| taken = Some(table));
            return taken.ok_or(OutOfTables);
        }
        let request =
            Request::FRAME.zeroed().class(AllocClass::PageTables).owner(owners::PAGE_TABLES.in_frames());
        self.frames.alloc(pinned, request).map(|frame| frame.into_pfn()).map_err(|_| OutOfTables)
    }

    unsafe fn give_back_table(&self, pinned: Pinned<'_>, table: Pfn) {
        if store::is_source() {
            // SAFETY: the table is zero, and no CPU can reach it, by the caller's promise.
            return unsafe { store::give(table) };
        }
        // SAFETY: the frame came from `take_table`, and no other code uses it.
        match unsafe { self.frames.from_pfn(table, Order::BASE) } {
            Ok(frame) => self.frames.free(pinned, frame),
            Err(fault) => impossible!("table {table} was allocated as a frame: {fault}"),
        }
    }

    fn is_ram(&self, range: PhysRange) -> bool {
        self.boot.memory.lock().ram().any(|ram| ram.overlaps(range))
    }

    /// Takes frames past the direct map's end first, where there are any, and clears them through windows.
    fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame<Anywhere>, AllocError> {
        if request.wanted_contents() == Contents::Stale || self.boot.direct_map.high_bytes == 0 {
            return self.frames.alloc_anywhere(pinned, request);
        }
        match self.frames.alloc_anywhere(pinned, request.stale())?.try_mapped() {
            Ok(mut frame) => {
                self.frames.zero(&mut frame);
                Ok(frame.into_anywhere())
            }
            Err(mut frame) => {
                if windows().is_some_and(|windows| windows.zero(&mut frame).is_ok()) {
                    return Ok(frame);
                }
                self.frames.free(pinned, frame);
                self.frames.alloc(pinned, request).map(Frame::into_anywhere)
            }
        }
    }

    unsafe fn frame_of(&self, pfn: Pfn, order: Order) -> Result<Frame<Anywhere>, FrameFault> {
        // SAFETY: passed on.
        unsafe { self.frames.from_pfn_anywhere(pfn, order) }
    }

    fn flush(&self, pinned: Pinned<'_>, unflushed: &mut Unflushed<FlushNumber>) -> Flushed<FlushNumber> {
        // With interrupts off, the caller may hold a lock for which a handler waits on the CPU that leads a round; that
        // round would not end. So such a caller makes a round of its own, whose calls are served by all that wait.
        let flushed = if interrupts::are_enabled() {
            unflushed.flush_in(&tlb::ROUNDS, &MACHINE, pinned, tlb::waiting_for_round())
        } else {
            unflushed.flush(&MACHINE, pinned)
        };
        tlb::COUNTERS.count(FlushCause::KernelMap, flushed.stats());
        flushed
    }

    /// Copies through windows where the direct map does not show both pages.
    fn copy_page(
        &self,
        from: &Frame<Anywhere>,
        to: &mut Frame<Anywhere>,
        page: u64,
    ) -> Result<(), NotCopied> {
        if !from.is_high() && !to.is_high() {
            return copy_direct(self.frames, from, to, page);
        }
        let copied = windows().map(|windows| windows.copy_page(from, to, page));
        if matches!(copied, Some(Ok(()))) { Ok(()) } else { Err(NotCopied) }
    }

    fn relax(&self) {
        call::serve_if_here();
        core::hint::spin_loop();
    }
}

/// Makes the tables above `range` down to level 3, where they are missing: entries of the root, with four levels.
///
/// # Errors
/// The first address without a table.
pub(super) fn make_root_tables(range: VirtRange) -> Result<(), VirtAddr> {
    /// The bytes below one entry of a level-4 table.
    const PIECE_BYTES: u64 = 512 << 30;
    for number in 0..range.bytes() / PIECE_BYTES {
        let at = range.start().plus(number * PIECE_BYTES);
        loop {
            // SAFETY: an entry of a table above addresses that no other part of the kernel maps gets a table that maps
            // nothing.
            let mut writer = unsafe { tables::writer() };
            match descend(&*writer, tables::root(), at, FROZEN_LEVEL) {
                Some(step) if step.level > FROZEN_LEVEL => {
                    drop(writer);
                    let table = take_boot_table().ok_or(at)?;
                    // SAFETY: as above. One CPU runs, so the entry is absent still.
                    writer = unsafe { tables::writer() };
                    writer.write(step.table, step.index, Entry::table(table, Privilege::Supervisor));
                }
                Some(_) => break,
                None => return Err(at),
            }
        }
    }
    Ok(())
}

fn take_boot_table() -> Option<Pfn> {
    let frames = crate::mm::frames::frames()?;
    let mut taken = None;
    if protection::wanted() == rhumb_tableguard::Protection::Off {
        let request =
            Request::FRAME.zeroed().class(AllocClass::PageTables).owner(owners::PAGE_TABLES.in_frames());
        let guard = MACHINE.pin();
        taken = frames.alloc(guard.pinned(), request).ok().map(|frame| frame.into_pfn());
    } else {
        store::take(1, |table| taken = Some(table));
    }
    taken
}
