//! The allocator itself, as its callers see it: allocate, free, and the way back from a frame number to a handle.
//!
//! The functions here are the common path: a pop from, or a push to, the CPU's magazine. Everything else is one call
//! away in `slow.rs`.

mod access;
mod checked;
mod describe;
mod faults;
mod isolation;
mod reclaim;
mod slow;
mod traced;
mod zero;

use rhumb_machine::{Machine, MemoryEvent, NodeId, Order, Pfn, PfnRange, Pinned, VirtAddr};

use crate::descriptor::Descriptors;
use crate::error::{AllocError, FrameFault, LayoutError};
use crate::frames::faults::Faults;
use crate::frames::isolation::Isolation;
use crate::handle::frame::{Anywhere, Frame, FrameRange, Freeable, Mapped};
use crate::handle::raw::Raw;
use crate::pool::Pool;
use crate::pool::block::State;
use crate::pool::words::{self, FRAMES};
use crate::pressure::Reclaimers;
use crate::request::{Contents, Mobility, Owner, Preference, Request, Zone};
use crate::zones::Zones;
use crate::zones::layout::{Layout, MemoryRange};
use rhumb_sync::atomic::IS_MODELLED;

/// The page-frame allocator of a machine. See the [crate's documentation](crate) for the design.
pub struct Frames<M: Machine> {
    pub(crate) machine: M,
    pub(crate) zones: Zones,
    pub(crate) descriptors: Descriptors,
    pub(crate) reclaimers: Reclaimers,
    pub(crate) faults: Faults,
    pub(crate) isolation: Isolation,
}

impl<M: Machine> Frames<M> {
    /// Builds the allocator over `layout`, with the frames of `free` (ascending) to give out; all other memory counts
    /// as allocated, and can be given later with [`Frames::free_range`]. `storage` is memory of at least
    /// [`Layout::storage_bytes`], itself not in `free`; its contents do not matter. Frame 0 is never given out, because where the direct map begins
    /// at 0 its address is the null pointer.
    ///
    /// Cost: one store for each 512 free frames, and more at the ends of ranges. Stack: less than 32 KiB, also
    /// unoptimised.
    ///
    /// # Safety
    /// The frames of `free` are unused, now and until the allocator gives them out; those below the layout's
    /// direct limit are in the direct map.
    ///
    /// The first 127 allocators of a program are told apart by their handles. Where a program builds more, the caller
    /// lets no handle of one of the later ones come to another of them.
    ///
    /// # Errors
    /// Free ranges that are unsorted or no memory; too little storage; more CPUs or nodes than the layout has.
    pub unsafe fn new(
        machine: M,
        layout: &Layout<'_>,
        free: impl IntoIterator<Item = PfnRange>,
        storage: &'static mut [u64],
    ) -> Result<Self, LayoutError> {
        let (given, needed) = (size_of_val(storage), layout.storage_bytes());
        if given < needed && !IS_MODELLED {
            return Err(LayoutError::StorageTooSmall(given, needed));
        }
        let mut rest = storage;
        let lend = |_, bytes: usize| rest.split_off_mut(..bytes.div_ceil(size_of::<u64>()).min(rest.len()));
        // SAFETY: the caller promises what `new_near` asks for.
        unsafe { Self::new_near(machine, layout, free, lend) }
    }

    /// Builds the allocator as [`Frames::new`] does, with storage of the memory of each node: `lend` is called once for
    /// each node that needs any, with as many bytes as [`Layout::storage_bytes_of`] says. A CPU then finds what it
    /// keeps, and a request the records of the frames that it gets, in memory that is near. See also
    /// [`Layout::cpu_nodes`].
    ///
    /// # Safety
    /// As for [`Frames::new`].
    ///
    /// # Errors
    /// As for [`Frames::new`]; and `lend` returns nothing, or too little.
    pub unsafe fn new_near(
        machine: M,
        layout: &Layout<'_>,
        free: impl IntoIterator<Item = PfnRange>,
        lend: impl FnMut(NodeId, usize) -> Option<&'static mut [u64]>,
    ) -> Result<Self, LayoutError> {
        let zones = Zones::build(&machine, layout, free, lend)?;
        Ok(Self {
            machine,
            zones,
            descriptors: Descriptors::NONE,
            reclaimers: Reclaimers::new(),
            faults: Faults::default(),
            isolation: Isolation::default(),
        })
    }

    /// Adds descriptors: an array of [`crate::Descriptor`]s at `base`, indexed by frame number.
    ///
    /// # Safety
    /// Every descriptor of a 2-MiB block of memory that the allocator manages or will manage is backed by memory that
    /// is used for nothing else, permanently; its first contents do not matter.
    #[must_use]
    pub unsafe fn with_descriptors(self, base: VirtAddr) -> Self {
        // SAFETY: the caller promises that the descriptors are backed by memory of their own, as `at` asks.
        Self { descriptors: unsafe { Descriptors::at(base) }, ..self }
    }

    /// Returns the machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// Allocates one block of frames in the direct map. Where the request is of order 0 to 9 and asks for nothing
    /// special, and the CPU's magazine has a block: no locked operation, no shared cache line, about 2 ns.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame, AllocError> {
        if request.is_plain()
            && let Some(cache) = self.zones.caches.quick(self.machine.cpu_of(pinned))
            && let Some(raw) = cache.pop(request.order, request.kind)
        {
            self.note_alloc(pinned, raw);
            self.allow(raw);
            return Ok(Frame::from_raw(raw));
        }
        self.alloc_uncommon(pinned, request.in_direct_map()).map(Frame::from_raw)
    }

    /// Allocates one block of frames, past the direct map where there is one and the request goes so high, else in the
    /// direct map. Frames past the direct map are in no cache, so each such call takes a pool's lock.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc_anywhere(
        &self,
        pinned: Pinned<'_>,
        request: Request,
    ) -> Result<Frame<Anywhere>, AllocError> {
        if self.zones.has_high && request.ceiling == Zone::High {
            let raw = self.alloc_slow(pinned, request)?;
            self.tell_allocated(raw, request);
            return Ok(Frame::from_raw(raw));
        }
        self.alloc(pinned, request).map(Frame::into_anywhere)
    }

    /// Gives a block back. Where the block is of order 0 to 9 and of this CPU's node, and the magazine has room: no
    /// locked operation, no shared cache line, about 2 ns. A block of another allocator of the same program is refused
    /// ([`Frames::refused_frees`]) and stays in use.
    #[inline]
    pub fn free<P: Freeable>(&self, pinned: Pinned<'_>, frame: Frame<P>) {
        let raw = frame.into_raw();
        if !self.note_free(pinned, raw) {
            return;
        }
        self.forbid(raw);
        if let Some(cache) = self.zones.caches.quick(self.machine.cpu_of(pinned))
            && cache.push(raw)
        {
            return;
        }
        self.free_uncommon(pinned, raw);
    }

    /// Returns the handle of a block whose handle was given up with [`Frame::into_pfn`].
    ///
    /// # Safety
    /// The caller is the only one who holds the block, and it was allocated from here with this order, or was in use
    /// when the allocator was built.
    ///
    /// # Errors
    /// The faults that can be seen: see [`FrameFault`]. Checked builds also see a frame in a cache that is named as
    /// allocated, and every wrong order.
    pub unsafe fn from_pfn(&self, pfn: Pfn, order: Order) -> Result<Frame<Mapped>, FrameFault> {
        let raw = self.raw_of(pfn, order)?;
        if raw.0 & Raw::HIGH != 0 {
            return Err(FrameFault::NotMapped(pfn));
        }
        Ok(Frame::from_raw(raw))
    }

    /// Returns the handle of a block that may lie past the direct map: as [`Frames::from_pfn`].
    ///
    /// # Safety
    /// As for [`Frames::from_pfn`].
    ///
    /// # Errors
    /// As for [`Frames::from_pfn`], but a block past the map is none.
    pub unsafe fn from_pfn_anywhere(&self, pfn: Pfn, order: Order) -> Result<Frame<Anywhere>, FrameFault> {
        self.raw_of(pfn, order).map(Frame::from_raw)
    }

    /// Fills a block of the direct map with zeroes.
    pub fn zero(&self, frame: &mut Frame<Mapped>) {
        zero::zero(&self.machine, frame.peek());
    }

    fn raw_of(&self, pfn: Pfn, order: Order) -> Result<Raw, FrameFault> {
        if !pfn.get().is_multiple_of(order.frames()) {
            return Err(FrameFault::Misaligned(pfn, order));
        }
        let pool = self.zones.pool_of(pfn).ok_or(FrameFault::Foreign(pfn))?;
        let offset = pool.offset(pfn);
        let Some(block) = pool.record(offset / 512) else { return Err(FrameFault::Free(pfn)) };
        let info = block.info();
        match info.state() {
            State::Absent => return Err(FrameFault::Foreign(pfn)),
            State::Whole => return Err(FrameFault::Free(pfn)),
            State::Partial if order >= Order::LARGE => {
                return Err(FrameFault::WrongOrder(pfn, Order::BASE, order));
            }
            State::Partial if pool.is_set(offset) => return Err(FrameFault::Free(pfn)),
            State::Large if info.order() != order => {
                return Err(FrameFault::WrongOrder(pfn, info.order(), order));
            }
            _ => {}
        }
        let owned = self.owner_in(block, pfn) != Owner::NONE;
        self.check_allocated(pfn, order)?;
        let raw = pool.tag.at(pfn, order, info.kind());
        Ok(if owned { Raw(raw.0 | Raw::OWNED) } else { raw })
    }

    /// Gives back a range of frames: from [`Frames::alloc_range`], or memory that was in use when the allocator was
    /// built. Cost: one lock visit for each 2-MiB block, between which interrupts are on.
    ///
    /// # Errors
    /// The range holds frames that are not managed here or are free, or it is another allocator's; then nothing is
    /// freed and the handle returns.
    pub fn free_range(&self, pinned: Pinned<'_>, range: FrameRange) -> Result<(), (FrameRange, FrameFault)> {
        let _ = pinned;
        let frames = range.frames();
        if !range.is_of(self.zones.brand) {
            return Err((range, FrameFault::Foreign(frames.start())));
        }
        // Its holder holds all of it: a frame that is in use now is in use below.
        if let Some(fault) = self.parts(frames).find_map(|(part, pool)| fault_in(part, pool)) {
            return Err((range, fault));
        }
        let _ = range.into_frames();
        if self.zones.caches.is_traced() {
            let (first, frames) = (frames.start(), frames.frames());
            self.machine.trace(&MemoryEvent::FramesFreed { first, frames, owner: Owner::NONE.0 });
        }
        self.forbid_range(frames);
        for (part, pool) in self.parts(frames) {
            if let Some(pool) = pool {
                let guard = self.machine.irq_off();
                pool.lock(guard.irq_off()).give_range(part);
            }
        }
        Ok(())
    }

    /// `range`, cut at the ends of blocks and pools; where there is no pool, one frame at a time.
    fn parts(&self, range: PfnRange) -> impl Iterator<Item = (PfnRange, Option<&'static Pool>)> + '_ {
        let mut rest = range;
        core::iter::from_fn(move || {
            let start = Some(rest.start()).filter(|_| !rest.is_empty())?;
            let pool = self.zones.pool_of(start);
            let block_end = start.get() / u64::from(FRAMES) * u64::from(FRAMES) + u64::from(FRAMES);
            let end = pool.map_or(start.plus(1), |pool| pool.span.end().min(Pfn::new(block_end)));
            let end = end.min(rest.end());
            let part = PfnRange::new(start, end)?;
            rest = PfnRange::new(end, rest.end())?;
            Some((part, pool))
        })
    }

    /// Adds memory at run time. All of it is free afterwards. One caller at a time. Lower zones that are not guarded
    /// yet are from then on.
    ///
    /// # Safety
    /// As for [`Frames::new`].
    ///
    /// # Errors
    /// It overlaps what is there, its node does not exist, or the storage is too small.
    pub unsafe fn add_memory(
        &self,
        memory: MemoryRange,
        storage: &'static mut [u64],
    ) -> Result<(), LayoutError> {
        self.zones.add_memory(memory, storage)
    }

    /// Gives back all that this CPU's caches hold, with interrupts on between one batch and the next. For a CPU that
    /// goes idle for long, and before an exact report.
    pub fn drain(&self, pinned: Pinned<'_>) {
        while self.drain_some(pinned) == Drained::Partly {}
    }

    /// Gives back some of the frames that this CPU's caches hold, at most 384 cache lines' worth: for interrupt
    /// handlers, which have interrupts off all the time. Another CPU's request to drain is kept until the caches are
    /// empty.
    pub fn drain_some(&self, pinned: Pinned<'_>) -> Drained {
        let _ = pinned;
        let is_done = (0..DRAIN_STEPS).any(|_| !self.zones.drain_step(self.machine.irq_off().irq_off()));
        if is_done { Drained::Wholly } else { Drained::Partly }
    }

    /// Asks every other CPU to give back what its caches hold: each does at its next call that misses its cache, its
    /// next free, or its next [`Frames::tick`]. No interrupt is sent (invariant I2). CPUs that keep nothing are left alone,
    /// and so are those that another CPU has asked and that have not answered yet.
    pub fn request_drain(&self, pinned: Pinned<'_>) {
        self.zones.request_drain(self.machine.cpu_of(pinned));
    }

    /// Gives back some of the frames that other CPUs asked this one for, and the rest at the next calls. Where they did
    /// not ask, it has the next free look how much this CPU may keep, in some 20 instructions; and it gives back a batch
    /// of the frames that wait to go home ([`crate::cache`]), unless others have joined them since the last call. For
    /// the idle loop and the timer tick.
    pub fn tick(&self, pinned: Pinned<'_>) {
        let Some(cache) = self.zones.cache(self.machine.cpu_of(pinned)) else { return };
        if cache.gate.is_wanted() {
            self.drain_some(pinned);
        } else {
            self.zones.look_anew(self.machine.irq_off().irq_off());
        }
    }
}

/// Batches that one call of [`Frames::drain_some`] gives back at most.
const DRAIN_STEPS: usize = 16;

/// How far a drain has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// The caches are empty; or the call interrupted an operation on them and has left them as they are, because the
    /// next call would find them busy, too.
    Wholly,
    /// There may be more.
    Partly,
}

/// Returns the fault that forbids the free of a part of a range.
fn fault_in(part: PfnRange, pool: Option<&Pool>) -> Option<FrameFault> {
    let Some(pool) = pool else { return Some(FrameFault::Foreign(part.start())) };
    let block = pool.offset(part.start()) / 512;
    let info = pool.info(block);
    match info.state() {
        State::Absent => Some(FrameFault::Foreign(part.start())),
        State::Whole => Some(FrameFault::Free(part.start())),
        State::Large => Some(FrameFault::WrongOrder(part.start(), info.order(), Order::BASE)),
        State::Partial => {
            let at = pool.offset(part.start()) % 512;
            let wanted = words::mask_of(at, at + part.frames() as usize);
            let in_use = pool.bits(block).map(|word| !word);
            let free = words::first_missing(&in_use, &wanted)?;
            Some(FrameFault::Free(pool.block_start(block).plus(u64::from(free))))
        }
    }
}

impl Request {
    /// Tells whether the CPU's magazines may serve it as it is.
    #[inline(always)]
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.node(), Preference::Any)
            && self.ceiling as usize >= Zone::Normal as usize
            && matches!(self.contents, Contents::Stale)
            && self.owner.0 == Owner::NONE.0
    }
}

const _: () = assert!(size_of::<Frame>() == 8 && size_of::<Option<Frame>>() == 8);
const _: () = assert!(Mobility::COUNT == 3 && size_of::<AllocError>() <= 24);
