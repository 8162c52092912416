//! Rhumb's memory core over a backing: frames, objects, and access by physical address. A leaf where `unsafe` lives.
//!
//! ```text
//!   Slabs ──> Frames ──> storage, descriptors          in the process's heap
//!                └─────> HostedMachine ──> Backing     the RAM: frames, and the slabs' own records in some of them
//! ```
//!
//! The crates want their parts to live permanently, as in a kernel. Here they are boxes that go together, from the top
//! down, and no reference to one of the allocators leaves this module.

use std::alloc::Layout;
use std::ptr::NonNull;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_frames::{Descriptor, Frames, Layout as FrameLayout, MemoryRange, Request, Zone};
use rhumb_hosted::{HostedMachine, Machine};
use rhumb_machine::{CpuId, NodeId, Order, PageSize, Pinned, VirtAddr};
use rhumb_slab::{Config, Slabs};

use crate::backing::{Access, Backing};
use crate::error::Error;

type OurFrames = Frames<&'static HostedMachine>;
type OurSlabs = Slabs<&'static HostedMachine>;

/// The alignment of all objects here.
const ALIGN: usize = 8;

/// A backing with allocators of frames and objects. Addresses are physical; 0 is no address.
///
/// The order of the fields is the order in which they go: what refers to another goes before it.
pub(crate) struct Memory {
    access: Access,
    slabs: Owned<OurSlabs>,
    frames: Owned<OurFrames>,
    /// The frame allocator's own bits, and the descriptors of frames.
    _metadata: [Owned<[u64]>; 2],
    backing: Owned<Backing>,
}

/// A box to which others have references that claim to live permanently. It goes when the value is dropped.
struct Owned<T: ?Sized>(NonNull<T>);

// SAFETY: it owns its value, as a box does.
unsafe impl<T: ?Sized + Send> Send for Owned<T> {}
// SAFETY: it gives shared access to its value alone, as a box does.
unsafe impl<T: ?Sized + Sync> Sync for Owned<T> {}

impl<T: ?Sized> Owned<T> {
    fn new(value: Box<T>) -> Self {
        Self(NonNull::from(Box::leak(value)))
    }

    fn get(&self) -> &T {
        // SAFETY: the box is there as long as the value, and is shared only.
        unsafe { self.0.as_ref() }
    }

    /// # Safety
    /// The reference is used no more when the value is dropped.
    unsafe fn lend(&self) -> &'static T {
        // SAFETY: as the caller promises.
        unsafe { self.0.as_ref() }
    }
}

impl<T: ?Sized> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box, once; references that were lent are used no more.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A value with a memory in it, to be used on its CPU.
pub(crate) trait Resident: Send {
    /// Returns the memory.
    fn memory(&self) -> &Memory;
}

/// Runs `work` as the CPU of the memory's machine, on a thread of its own.
///
/// # Errors
/// The CPU is taken.
pub(crate) fn on_cpu<R: Resident, T: Send>(
    resident: &mut R,
    work: impl FnOnce(&mut R, Pinned<'_>) -> T + Send,
) -> Result<T, Error> {
    // SAFETY: the machine lives as long as the memory, which lies in `resident` until this returns: `work` could put
    // another one there, but none of this crate does.
    let machine = unsafe { resident.memory().machine() };
    Ok(machine.enter(CpuId::BOOT, |cpu| work(resident, cpu.pinned()))?)
}

impl Memory {
    /// Builds the allocators over all of the backing.
    ///
    /// # Safety
    /// The holder writes to no memory but to that which it was given by [`Memory::frames`] or [`Memory::object`] and has
    /// not given back, gives each piece back once and with its own size, and passes tokens of this memory's own CPU.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) unsafe fn new(backing: Backing) -> Result<Self, Error> {
        let all = backing.range().whole_frames();
        let backing = Owned::new(Box::new(backing));
        // SAFETY: all that has this reference goes before the backing, here as in the fields.
        let machine: &'static HostedMachine = unsafe { backing.lend() }.machine();
        // SAFETY: it goes with the backing, and writes go through it alone from here on.
        let access = unsafe { backing.get().access() };
        let memory = [MemoryRange { frames: all, node: NodeId::FIRST }];
        let layout = FrameLayout::new(&memory, machine.cpu_count(), all.end());
        let layout = layout.map_err(|error| Error::Core(error.to_string()))?;
        let storage = zeroed(layout.storage_bytes());
        let descriptors = zeroed(all.end().get() as usize * size_of::<Descriptor>());
        let start = VirtAddr::from(descriptors.0.as_ptr().cast::<u8>().cast_const());
        // SAFETY: no code uses the RAM yet; the storage is a box of its own that goes after the allocator.
        let frames = unsafe { Frames::new(machine, &layout, [all], &mut *storage.0.as_ptr()) };
        let frames = frames.map_err(|error| Error::Core(error.to_string()))?;
        // SAFETY: the descriptors are a box of their own that goes after the allocator, one for each frame.
        let frames = Owned::new(Box::new(unsafe { frames.with_descriptors(start) }));
        // A study's memory is no kernel's: nothing is kept back for interrupt handlers.
        Zone::ALL.iter().for_each(|&zone| frames.get().set_reserve(NodeId::FIRST, zone, 0));
        // SAFETY: the slabs go before the frames.
        let lent = unsafe { frames.lend() };
        let slabs = machine.enter(CpuId::BOOT, |cpu| Slabs::new(lent, cpu.pinned(), Config::new(1)))?;
        let slabs = Owned::new(Box::new(slabs.map_err(|error| Error::Core(error.to_string()))?));
        Ok(Self { access, slabs, frames, _metadata: [storage, descriptors], backing })
    }

    /// # Safety
    /// The reference is used no more when the memory is dropped.
    unsafe fn machine(&self) -> &'static HostedMachine {
        // SAFETY: as the caller promises.
        unsafe { self.backing.lend() }.machine()
    }

    fn allocators(&self) -> (&OurFrames, &OurSlabs) {
        (self.frames.get(), self.slabs.get())
    }

    /// Returns the backing.
    pub(crate) fn backing(&self) -> &Backing {
        self.backing.get()
    }

    /// Returns the RAM, to be read.
    #[inline(always)]
    pub(crate) const fn ram(&self) -> &Access {
        &self.access
    }

    /// Returns the RAM, to be written where the promise of [`Memory::new`] allows it.
    #[inline(always)]
    pub(crate) const fn ram_mut(&mut self) -> &mut Access {
        &mut self.access
    }

    /// Returns 2^`order` frames in a row.
    pub(crate) fn frames(&mut self, pinned: Pinned<'_>, order: Order) -> Result<u64, Error> {
        let frame = self.allocators().0.alloc(pinned, Request::new(order));
        Ok(frame.map_err(|_| Error::NoMemory)?.into_pfn().addr().get())
    }

    /// Returns an object of `bytes` bytes.
    #[inline(always)]
    pub(crate) fn object(&mut self, pinned: Pinned<'_>, bytes: usize) -> Result<u64, Error> {
        let object = self.allocators().1.alloc(pinned, layout(bytes)?).map_err(|_| Error::NoMemory)?;
        Ok(self.access.physical(object.as_ptr()))
    }

    /// Gives an object back.
    #[inline(always)]
    pub(crate) fn free(&mut self, pinned: Pinned<'_>, at: u64, bytes: usize) -> Result<(), Error> {
        let layout = layout(bytes)?;
        if let Some(object) = NonNull::new(self.access.direct(at)) {
            // SAFETY: the holder of the memory promised that the object came from `object` with this size, and is
            // given back once.
            unsafe { self.allocators().1.free(pinned, object, layout) };
        }
        Ok(())
    }

    /// Leaves `free_bytes` of memory free, in single frames that are drawn from all of it, as years of use do.
    pub(crate) fn age(&mut self, pinned: Pinned<'_>, free_bytes: u64, seed: u64) {
        let frames = self.allocators().0;
        let mut held: Vec<_> = std::iter::from_fn(|| frames.alloc(pinned, Request::FRAME).ok()).collect();
        held.shuffle(&mut Pcg64Mcg::seed_from_u64(seed));
        let stays = held.len().saturating_sub((free_bytes / PageSize::Size4K.bytes()) as usize);
        held.drain(stays..).for_each(|frame| frames.free(pinned, frame));
        frames.drain(pinned);
        // Those that stay belong to others: they are never freed.
        held.into_iter().for_each(|frame| _ = frame.into_pfn());
    }

    /// Checks the allocators' own structures.
    #[cfg(test)]
    pub(crate) fn validate(&self, pinned: Pinned<'_>) -> Result<(), String> {
        let (frames, slabs) = self.allocators();
        slabs.validate(pinned).map_err(|error| error.to_string())?;
        frames.drain(pinned);
        frames.validate().map_err(|error| error.to_string())
    }
}

#[inline(always)]
fn layout(bytes: usize) -> Result<Layout, Error> {
    Layout::from_size_align(bytes, ALIGN).map_err(|_| Error::NoMemory)
}

fn zeroed(bytes: usize) -> Owned<[u64]> {
    Owned::new(vec![0u64; bytes.div_ceil(8)].into_boxed_slice())
}
