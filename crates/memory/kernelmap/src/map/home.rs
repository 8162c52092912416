//! [`Home`]: the frames, the tables and the flushes below a kernel map.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use rhumb_frames::{AllocError, Anywhere, Frame, FrameFault, Frames, Request};
use rhumb_machine::{Machine, Order, PageSize, Pfn, PhysRange, Pinned, Tlb};
use rhumb_pagetable::flush::{Flushed, Unflushed, Waiting};
use rhumb_pagetable::{OutOfTables, Root, TableMemory};

/// The number of a flush of a kernel map: the value that comes out by the flush. Pages and tables wait in the map's own
/// tables.
#[derive(Debug, Default)]
pub struct FlushNumber(pub(super) u64);

/// The right to add to a flush. Only this crate has it.
#[derive(Clone, Copy, Debug)]
pub struct FlushKey(pub(super) ());

impl Waiting for FlushNumber {
    type Key = FlushKey;
}

/// The surroundings of a kernel map. In a kernel: a unit struct before statics.
///
/// # Safety
/// The map says where memory is mapped, and gives frames back by what its home says, so an implementation promises:
/// - All methods lead to the same things for as long as the value lives: one allocator, and the one tree of tables that
///   the CPUs of its machine walk.
/// - [`Home::tables`] reads and writes entries as [`rhumb_pagetable::TableEntry`]s, of the tables of that tree. Several
///   CPUs have such a value at the same time: each writes entries that are its own then.
/// - Nothing else writes an entry for the addresses that the map was given, nor one above them.
/// - A frame that [`Home::take_table`] returns is as [`rhumb_pagetable::TableSource`] promises.
/// - [`Home::is_ram`] is true of each range with a page of RAM that the allocator has, will have, or lent to any other
///   code.
/// - [`Home::flush`] returns what [`Unflushed::flush`] or [`Unflushed::flush_in`] did, on the CPUs that walk the tree.
///
/// ```compile_fail,E0200
/// struct Lies;
/// impl rhumb_kernelmap::Home for Lies {}
/// ```
pub unsafe trait Home: Sync {
    /// The machine of the allocator.
    type Machine: Tlb + 'static;
    /// This CPU's way to the tables.
    type Tables: TableMemory;

    /// Returns the allocator of the frames that the map maps.
    fn frames(&self) -> &'static Frames<Self::Machine>;

    /// Returns the tree.
    fn root(&self) -> Root;

    /// Returns the largest page that the CPUs have.
    fn largest(&self) -> PageSize;

    /// Returns this CPU's way to the tables.
    fn tables(&self) -> Self::Tables;

    /// Runs `act` with the lock held that all tables share which lie above the entries of areas. It allocates nothing.
    fn with_upper_tables<A>(&self, act: impl FnOnce(&mut Self::Tables) -> A) -> A;

    /// Takes a frame for a table, all of it zero.
    ///
    /// # Errors
    /// There is none.
    fn take_table(&self, pinned: Pinned<'_>) -> Result<Pfn, OutOfTables>;

    /// Takes the frame of a table back.
    ///
    /// # Safety
    /// As for [`rhumb_pagetable::TableSource::give_back`].
    unsafe fn give_back_table(&self, pinned: Pinned<'_>, table: Pfn);

    /// Tells whether a page of `range` is RAM, so that no device may be mapped there.
    fn is_ram(&self, range: PhysRange) -> bool;

    /// Takes frames for an area. They may lie past the direct map's limit if the home can clear them there.
    ///
    /// # Errors
    /// Those of [`Frames::alloc`].
    fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame<Anywhere>, AllocError> {
        self.frames().alloc(pinned, request).map(Frame::into_anywhere)
    }

    /// Returns the handle of frames of [`Home::alloc`] whose handle was given up.
    ///
    /// # Safety
    /// As for [`Frames::from_pfn`].
    ///
    /// # Errors
    /// Those of [`Frames::from_pfn`].
    unsafe fn frame_of(&self, pfn: Pfn, order: Order) -> Result<Frame<Anywhere>, FrameFault> {
        // SAFETY: passed on.
        unsafe { self.frames().from_pfn(pfn, order) }.map(Frame::into_anywhere)
    }

    /// Drops the translations of `unflushed` on every CPU that may have them cached. In a kernel in which CPUs flush at
    /// the same time: [`Unflushed::flush_in`]. Called with no lock of the map held. The map's callers hold none for which
    /// an interrupt handler waits, because the handler may have interrupted the CPU whose round this one waits for.
    fn flush(&self, pinned: Pinned<'_>, unflushed: &mut Unflushed<FlushNumber>) -> Flushed<FlushNumber> {
        unflushed.flush(self.machine(), pinned)
    }

    /// Copies page `page` of a block into the same page of another one. Called with interrupts off.
    ///
    /// # Errors
    /// [`NotCopied`]: a block lies past the direct map's limit, and the CPU has no way to see it now. A CPU without an
    /// open window has one.
    fn copy_page(
        &self,
        from: &Frame<Anywhere>,
        to: &mut Frame<Anywhere>,
        page: u64,
    ) -> Result<(), NotCopied> {
        copy_direct(self.frames(), from, to, page)
    }

    /// Waits for another CPU, for one turn of a loop. In a kernel it answers calls.
    fn relax(&self) {
        rhumb_sync::atomic::relax();
    }

    /// Returns the machine.
    fn machine(&self) -> &'static Self::Machine {
        self.frames().machine()
    }
}

/// A page that could not be copied, because a block lies past the direct map's limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotCopied;

/// Copies page `page` of a block through the direct map.
///
/// # Errors
/// [`NotCopied`]: the direct map does not show both blocks, one of them has no such page, or is another allocator's.
pub fn copy_direct<M: Machine>(
    frames: &Frames<M>,
    from: &Frame<Anywhere>,
    to: &mut Frame<Anywhere>,
    page: u64,
) -> Result<(), NotCopied> {
    let is_shown = |block: &Frame<Anywhere>| {
        !block.is_high() && block.brand() == frames.brand() && page < block.order().frames()
    };
    if !is_shown(from) || !is_shown(to) {
        return Err(NotCopied);
    }
    let bytes = PageSize::Size4K.bytes();
    let place = |block: &Frame<Anywhere>| frames.machine().direct(block.addr().plus(page * bytes));
    let (from, to) = (place(from).as_ptr::<u8>(), place(to).as_mut_ptr::<u8>());
    // SAFETY: the page is within both blocks, whose handles the caller has, the second one exclusively; they are two
    // blocks of this allocator, and its machine's direct map shows them (I1, I5).
    unsafe { core::ptr::copy_nonoverlapping(from, to, bytes as usize) };
    Ok(())
}

/// The identity of the home's machine.
pub(super) fn identity<H: Home>(home: &H) -> u32 {
    home.machine().identity()
}
