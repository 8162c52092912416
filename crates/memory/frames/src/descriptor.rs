//! The descriptor of a frame: twelve bytes (sixteen in checked builds) that the allocator lends to the frame's owner,
//! and writes itself only for requests that name an owner and in checked builds.
//!
//! Descriptors lie in one array over all frame numbers, in virtual memory that the kernel backs where there is
//! memory. Zero is the descriptor of a frame that no holder has described.
//!
//! The memory behind the array need not be zero: 1 TiB of frames has 3 GiB of descriptors, which a boot has no time to
//! clear. The first who writes a descriptor of a 2-MiB block clears all 512 (`Described`), and until then the block's
//! frames have none.
//!
//! ```text
//! word 0: 31..16 owner   15..8 page type   5 allocated   4..0 order   (the last two: owned blocks, and checked builds)
//! word 1: the low half of the holder's private word
//! word 2: the high half of the holder's private word
//! word 3: 31..16 allocations   15..8 CPU of the last free   7..0 CPU of the last allocation   (checked builds only)
//! ```

//!
//! Other crates follow what their frames' descriptors hold as if it were their own memory, so only the holder of a
//! frame gets its [`Descriptor`]: from the handle ([`crate::Frames::descriptor_of`]), or by number where it promises
//! that it holds the frame. All others get a [`DescriptorView`].

use rhumb_machine::{CpuId, Order, Pfn, PfnRange, VirtAddr};

use crate::request::Owner;
use rhumb_sync::atomic::{AcqRel, Acquire, AtomicU32, IS_MODELLED, Relaxed};

/// The descriptor of a frame, for the frame's holder to write.
#[repr(C)]
#[derive(Default)]
pub struct Descriptor {
    tag: AtomicU32,
    low: AtomicU32,
    high: AtomicU32,
    #[cfg(feature = "checked")]
    history: AtomicU32,
}

const _: () =
    assert!(IS_MODELLED || size_of::<Descriptor>() == if cfg!(feature = "checked") { 16 } else { 12 });

/// The CPUs of the last allocation and the last free, and how often the frame was allocated (modulo 2^16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The CPU that allocated it last.
    pub allocated_by: CpuId,
    /// The CPU that freed it last.
    pub freed_by: CpuId,
    /// Allocations so far.
    pub allocations: u16,
}

const ALLOCATED: u32 = 1 << 5;

impl Descriptor {
    /// Returns the owner of the frame.
    pub fn owner(&self) -> Owner {
        Owner((self.tag.load(Relaxed) >> 16) as u16)
    }

    /// Says who holds the frame.
    pub fn set_owner(&self, owner: Owner) {
        self.update(0xffff << 16, u32::from(owner.0) << 16);
    }

    /// Returns the page type of the frame: a number of the owner's own.
    pub fn page_type(&self) -> u8 {
        (self.tag.load(Relaxed) >> 8) as u8
    }

    /// Says what the frame is used as.
    pub fn set_page_type(&self, page_type: u8) {
        self.update(0xff << 8, u32::from(page_type) << 8);
    }

    /// Returns the holder's own 64 bits. They are 0 when a request that named an owner is served; a holder that named
    /// none finds what the last such holder left.
    #[inline]
    pub fn private(&self) -> u64 {
        u64::from(self.low.load(Relaxed)) | u64::from(self.high.load(Relaxed)) << 32
    }

    /// Sets the holder's own 64 bits, in two stores: where other CPUs may read them meanwhile, the holder publishes
    /// them by a store of its own.
    #[inline]
    pub fn set_private(&self, word: u64) {
        self.low.store(word as u32, Relaxed);
        self.high.store((word >> 32) as u32, Relaxed);
    }

    /// Returns the low half of the holder's own word. An acquire load: it sees all that other holders did
    /// before they changed it.
    #[inline]
    pub fn low(&self) -> u32 {
        self.low.load(Acquire)
    }

    /// Adds to the low half of the holder's own word, and returns the half as it was. In one step, so that a frame with
    /// several holders has the number of these here.
    #[inline]
    pub fn add(&self, count: u32) -> u32 {
        self.low.fetch_add(count, AcqRel)
    }

    /// Subtracts from the low half of the holder's own word, and returns the half as it was: see [`Descriptor::add`]. A
    /// holder that finds itself to be the last sees all that the others did before they gave the frame up.
    #[inline]
    pub fn subtract(&self, count: u32) -> u32 {
        self.low.fetch_sub(count, AcqRel)
    }

    /// Returns the history that checked builds keep; nothing in others.
    pub fn history(&self) -> History {
        let word = self.history_word();
        let cpu = |byte: u32| CpuId::new(byte as usize & 0xff).unwrap_or_default();
        History { allocated_by: cpu(word), freed_by: cpu(word >> 8), allocations: (word >> 16) as u16 }
    }

    #[cfg(feature = "checked")]
    fn history_word(&self) -> u32 {
        self.history.load(Relaxed)
    }

    #[cfg(not(feature = "checked"))]
    fn history_word(&self) -> u32 {
        0
    }

    #[cfg(feature = "checked")]
    fn set_history_word(&self, word: u32) {
        self.history.store(word, Relaxed);
    }

    #[cfg(not(feature = "checked"))]
    fn set_history_word(&self, _: u32) {}

    fn update(&self, clear: u32, set: u32) {
        // One holder at a time: no other store can come in between.
        self.tag.store(self.tag.load(Relaxed) & !clear | set, Relaxed);
    }

    /// Returns the order with which the block that begins here was allocated: of requests that name an owner, and in
    /// checked builds of all.
    pub(crate) fn allocated(&self) -> Option<Order> {
        let tag = self.tag.load(Relaxed);
        if tag & ALLOCATED == 0 { None } else { Order::new((tag & 0x1f) as u8) }
    }

    /// Says who holds a block of `order` that begins here. Nothing of an earlier holder stays.
    pub(crate) fn stamp(&self, owner: Owner, order: Order) {
        self.tag.store(u32::from(owner.0) << 16 | ALLOCATED | u32::from(order.get()), Relaxed);
        self.set_private(0);
    }

    pub(crate) fn note_alloc(&self, cpu: CpuId, order: Order) {
        self.update(0x3f, ALLOCATED | u32::from(order.get()));
        let old = self.history_word();
        let count = (old >> 16).wrapping_add(1) << 16;
        self.set_history_word(count | old & 0xff00 | cpu.index() as u32 & 0xff);
    }

    /// Makes it the descriptor of a frame that no holder has described.
    pub(crate) fn clear(&self) {
        self.tag.store(0, Relaxed);
        self.set_private(0);
        self.set_history_word(0);
    }

    /// Forgets the holder.
    pub(crate) fn note_free(&self, cpu: CpuId) {
        self.tag.store(0, Relaxed);
        self.set_private(0);
        self.set_history_word(self.history_word() & !0xff00 | (cpu.index() as u32 & 0xff) << 8);
    }
}

/// The descriptor of a frame, for anyone to read.
#[derive(Clone, Copy)]
pub struct DescriptorView<'frames>(&'frames Descriptor);

impl<'frames> DescriptorView<'frames> {
    #[inline(always)]
    pub(crate) const fn new(descriptor: &'frames Descriptor) -> Self {
        Self(descriptor)
    }

    /// Returns the owner of the frame.
    #[inline]
    pub fn owner(self) -> Owner {
        self.0.owner()
    }

    /// Returns the page type of the frame: a number of the owner's own.
    #[inline]
    pub fn page_type(self) -> u8 {
        self.0.page_type()
    }

    /// Returns the holder's own 64 bits: see [`Descriptor::private`].
    #[inline]
    pub fn private(self) -> u64 {
        self.0.private()
    }

    /// Returns the history that checked builds keep; nothing in others.
    pub fn history(self) -> History {
        self.0.history()
    }

    pub(crate) fn allocated(self) -> Option<Order> {
        self.0.allocated()
    }
}

/// The array of descriptors.
pub(crate) struct Descriptors {
    base: VirtAddr,
}

impl Descriptors {
    pub(crate) const NONE: Self = Self { base: VirtAddr::ZERO };

    /// Returns the array at `base`, one [`Descriptor`] for each frame number.
    ///
    /// # Safety
    /// Every descriptor of a 2-MiB block that holds memory which the allocator manages is backed by memory that is used
    /// for nothing else, permanently.
    pub(crate) const unsafe fn at(base: VirtAddr) -> Self {
        Self { base }
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.base == VirtAddr::ZERO
    }

    /// Returns the descriptor of `pfn`, whatever it holds.
    ///
    /// # Safety
    /// `pfn` is in a 2-MiB block that holds memory which the allocator manages.
    #[inline]
    pub(crate) unsafe fn get(&self, pfn: Pfn) -> Option<&Descriptor> {
        if self.is_absent() {
            return None;
        }
        let at = self.base.as_ptr::<Descriptor>().wrapping_add(pfn.get() as usize);
        // SAFETY: the array's maker promised that the descriptors of such blocks are there; they are atomics, for which
        // any bits are a value.
        Some(unsafe { &*at })
    }

    /// Returns the descriptors of `frames`, whatever they hold.
    ///
    /// # Safety
    /// `frames` are in one 2-MiB block that holds memory which the allocator manages.
    pub(crate) unsafe fn run(&self, frames: PfnRange) -> Option<&[Descriptor]> {
        if self.is_absent() {
            return None;
        }
        let at = self.base.as_ptr::<Descriptor>().wrapping_add(frames.start().get() as usize);
        // SAFETY: the array's maker promised that the descriptors of such a block are there, side by side; they are
        // atomics, for which any bits are a value.
        Some(unsafe { core::slice::from_raw_parts(at, frames.frames() as usize) })
    }
}
