//! What the pool of unmapped frames stands on: an allocator over simulated RAM, a direct map of it, a shelf.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rhumb_directmap::{DirectMap, OffLimits};
use rhumb_frames::{Descriptor, Frame, Frames, Layout, MemoryRange, Owner, Unmapped, Zone};
use rhumb_hosted::{HostedMachine, LargePages};
use rhumb_machine::{CpuId, Machine, NodeId, PhysAddr, PhysRange, Pinned, VirtAddr};
use rhumb_unmapped::pool::{Account, Home, Limits, Shelf, UnmappedPool};
use rhumb_unmapped::windows::copy::CopyError;

use super::tables::Tables;
use super::ways::rhumb::fresh_map;
use crate::driver::Unfit;

/// Simulated RAM: address space, until it is touched.
pub(super) const RAM_BYTES: u64 = 2 << 30;

/// Who asks the pool.
pub(super) const OWNER: Owner = Owner(1);

type Map = DirectMap<Tables, OffLimits<'static>>;

/// See the module. It stays for as long as the process: frames refer to it.
pub(super) struct World {
    pub(super) machine: &'static HostedMachine,
    pub(super) frames: Frames<&'static HostedMachine>,
    pub(super) map: Mutex<Map>,
    shelf: Mutex<Shelf>,
}

impl World {
    /// With `cpus` CPUs, all of whom a flush goes to.
    pub(super) fn new(cpus: usize) -> Result<&'static Self, Unfit> {
        fn unfit(error: impl ToString) -> Unfit {
            Unfit(error.to_string())
        }
        let ram = PhysRange::of_length(PhysAddr::ZERO, RAM_BYTES).unwrap_or_default();
        let machine = HostedMachine::builder().cpus(cpus).large_pages(LargePages::Never).ram(ram).build();
        let machine: &'static HostedMachine = Box::leak(Box::new(machine.map_err(unfit)?));
        let (map, map_owner) = fresh_map(RAM_BYTES, 0)?;
        let memory = [MemoryRange { frames: ram.whole_frames(), node: NodeId::FIRST }];
        let layout = Layout::new(&memory, cpus, ram.whole_frames().end()).map_err(unfit)?;
        let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
        let descriptor_bytes = ram.whole_frames().frames() as usize * size_of::<Descriptor>();
        let descriptors = VirtAddr::from(vec![0u64; descriptor_bytes.div_ceil(8)].leak().as_ptr());
        let frames = machine.enter(CpuId::BOOT, |_| {
            // SAFETY: the RAM is nobody else's; storage and descriptors are outside it, zero, and there for ever.
            unsafe {
                let frames = Frames::new(machine, &layout, [ram.whole_frames()], storage);
                frames.map(|frames| frames.with_descriptors(descriptors))
            }
        });
        let frames = frames.map_err(unfit)?.map_err(unfit)?;
        Zone::ALL.iter().for_each(|&zone| frames.set_reserve(NodeId::FIRST, zone, 0));
        let shelf = Shelf::new(vec![Account::CLOSED; 2].leak());
        let world: &'static Self =
            Box::leak(Box::new(Self { machine, frames, map: Mutex::new(map), shelf: Mutex::new(shelf) }));
        world.pool().open_account(OWNER, Account::new(map_owner, Limits::NONE)).map_err(unfit)?;
        Ok(world)
    }

    pub(super) fn pool(&'static self) -> UnmappedPool<Here> {
        UnmappedPool::new(Here(self))
    }
}

/// The way from a pool to its world.
#[derive(Clone, Copy)]
pub(super) struct Here(&'static World);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with the lock held has ended the benchmark.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Home for Here {
    type Machine = &'static HostedMachine;
    type Tables = Tables;
    type Rules = OffLimits<'static>;

    fn frames(&self) -> &Frames<Self::Machine> {
        &self.0.frames
    }

    fn with_map<A>(&self, act: impl FnOnce(&mut Map) -> A) -> A {
        act(&mut lock(&self.0.map))
    }

    fn try_with_map<A>(&self, act: impl FnOnce(&mut Map) -> A) -> Option<A> {
        self.0.map.try_lock().ok().map(|mut map| act(&mut map))
    }

    fn with_shelf<A>(&self, act: impl FnOnce(&mut Shelf) -> A) -> A {
        act(&mut lock(&self.0.shelf))
    }

    fn try_with_shelf<A>(&self, act: impl FnOnce(&mut Shelf) -> A) -> Option<A> {
        self.0.shelf.try_lock().ok().map(|mut shelf| act(&mut shelf))
    }

    /// The tables are simulated: what they do not show is there all the same.
    fn zero(&self, _: Pinned<'_>, frame: &mut Frame<Unmapped>) -> Result<(), CopyError> {
        let start = self.0.machine.direct(frame.pfn().addr()).as_mut_ptr::<u8>();
        // SAFETY: the frame's own bytes, which its holder lends.
        unsafe { start.write_bytes(0, frame.order().bytes() as usize) };
        Ok(())
    }
}
