//! Rhumb's memory core over a backing: frames, objects, and access by physical address. A leaf where `unsafe` lives.
//!
//! ```text
//!   Slabs ──> Frames ──> storage, descriptors          in the process's heap
//!                └─────> HostedMachine ──> Backing     the RAM: frames, and the slabs' own records in some of them
//! ```
//!
//! The crates want their parts to live permanently, as in a kernel. Here they are boxes behind pointers that go together,
//! from the top down, and no reference to one of them leaves this module.

use std::alloc::Layout;
use std::ptr::NonNull;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_frames::{Descriptor, Frames, Layout as FrameLayout, MemoryRange, Request, Zone};
use rhumb_hosted::{HostedMachine, Machine};
use rhumb_machine::{CpuId, NodeId, Order, PageSize, PhysAddr, Pinned, VirtAddr};
use rhumb_slab::{Config, Slabs};

use crate::backing::Backing;
use crate::error::Error;

type OurFrames = Frames<&'static HostedMachine>;
type OurSlabs = Slabs<&'static HostedMachine>;

/// The alignment of all objects here.
const ALIGN: usize = 8;

/// A backing with allocators of frames and objects. Addresses are physical; 0 is no address.
#[derive(Debug)]
pub(crate) struct Memory {
    slabs: NonNull<OurSlabs>,
    frames: NonNull<OurFrames>,
    /// The frame allocator's own bits, and the descriptors of frames.
    metadata: [NonNull<[u64]>; 2],
    backing: NonNull<Backing>,
}

// SAFETY: all pointers are to boxes that the value owns, none of which is tied to a thread.
unsafe impl Send for Memory {}
// SAFETY: through a shared reference, the value reads RAM. All writes, allocations and frees borrow it exclusively.
unsafe impl Sync for Memory {}

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
        let backing = leak(backing);
        // SAFETY: the box goes when all that has this reference is gone.
        let machine: &'static HostedMachine = unsafe { backing.as_ref() }.machine();
        let memory = [MemoryRange { frames: all, node: NodeId::FIRST }];
        let layout = FrameLayout::new(&memory, machine.cpu_count(), all.end());
        let layout = layout.map_err(|error| Error::Core(error.to_string()))?;
        let storage = zeroed(layout.storage_bytes());
        let descriptors = zeroed(all.end().get() as usize * size_of::<Descriptor>());
        let start = VirtAddr::from(descriptors.as_ptr().cast::<u8>().cast_const());
        // SAFETY: no code uses the RAM yet; the storage is a box of its own that goes after the allocator.
        let frames = unsafe { Frames::new(machine, &layout, [all], &mut *storage.as_ptr()) };
        let frames = frames.map_err(|error| Error::Core(error.to_string()))?;
        // SAFETY: the descriptors are a box of their own that goes after the allocator, one for each frame.
        let frames = leak(unsafe { frames.with_descriptors(start) });
        // SAFETY: the box goes when all that has this reference is gone.
        let lent: &'static OurFrames = unsafe { frames.as_ref() };
        // A study's memory is no kernel's: nothing is kept back for interrupt handlers.
        Zone::ALL.iter().for_each(|&zone| lent.set_reserve(NodeId::FIRST, zone, 0));
        let slabs = machine.enter(CpuId::BOOT, |cpu| Slabs::new(lent, cpu.pinned(), Config::new(1)))?;
        let slabs = leak(slabs.map_err(|error| Error::Core(error.to_string()))?);
        Ok(Self { slabs, frames, metadata: [storage, descriptors], backing })
    }

    /// # Safety
    /// The reference is used no more when the memory is dropped.
    unsafe fn machine(&self) -> &'static HostedMachine {
        // SAFETY: the box lives as long as the memory, as the caller respects.
        unsafe { self.backing.as_ref() }.machine()
    }

    fn allocators(&self) -> (&OurFrames, &OurSlabs) {
        // SAFETY: both boxes live as long as the memory.
        unsafe { (self.frames.as_ref(), self.slabs.as_ref()) }
    }

    /// Returns the RAM, to be read.
    #[inline(always)]
    pub(crate) fn ram(&self) -> &Backing {
        // SAFETY: the box lives as long as the memory. The slabs write their records in RAM, not in the value.
        unsafe { self.backing.as_ref() }
    }

    /// Returns the RAM, to be written where the promise of [`Memory::new`] allows it.
    #[inline(always)]
    pub(crate) fn ram_mut(&mut self) -> &mut Backing {
        // SAFETY: the box lives as long as the memory, which is borrowed exclusively. The allocators reach the machine
        // through a shared reference of their own only in calls that borrow the memory exclusively, too.
        unsafe { self.backing.as_mut() }
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
        Ok(object.as_ptr() as u64 - self.ram().machine().direct_map_base().get())
    }

    /// Gives an object back.
    #[inline(always)]
    pub(crate) fn free(&mut self, pinned: Pinned<'_>, at: u64, bytes: usize) -> Result<(), Error> {
        let layout = layout(bytes)?;
        let object = self.ram().machine().direct(PhysAddr::new(at)).as_mut_ptr::<u8>();
        if let Some(object) = NonNull::new(object) {
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

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: each pointer came from a box, and is followed no more: what refers to another goes before it.
        unsafe {
            drop(Box::from_raw(self.slabs.as_ptr()));
            drop(Box::from_raw(self.frames.as_ptr()));
            self.metadata.into_iter().for_each(|words| drop(Box::from_raw(words.as_ptr())));
            drop(Box::from_raw(self.backing.as_ptr()));
        }
    }
}

#[inline(always)]
fn layout(bytes: usize) -> Result<Layout, Error> {
    Layout::from_size_align(bytes, ALIGN).map_err(|_| Error::NoMemory)
}

fn leak<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}

fn zeroed(bytes: usize) -> NonNull<[u64]> {
    NonNull::from(vec![0u64; bytes.div_ceil(8)].leak())
}
