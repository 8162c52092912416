//! Object caches: pairs from the CPU's magazine, what a refill costs, and what freeing on another CPU's behalf costs.

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rhumb_frames::AllocClass;
use rhumb_machine::{CpuMask, Machine, PinGuard};
use rhumb_slab::{CacheSpec, RawCache, Slabs};

use super::Operation;
use super::refusals::Refusals;
use crate::cpu::call;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::facts::Boot;
use crate::lab::caches;
use crate::lab::failure::Failure;
use crate::{cpu, mm};

regions! {
    112: Pair, "objects/pair/handle", "allocate and free one object of a cache, from this CPU's magazine";
    113: BySize, "objects/pair/size", "allocate and free one object by its size, from this CPU's magazine";
    114: Global, "objects/pair/global", "allocate and free one object through the global allocator";
    115: Refill, "objects/refill", "allocate one object of 64 bytes with this CPU's magazines empty";
    116: Drain, "objects/drain", "give back what a refill took";
    117: Remote, "objects/remote/64", "free 64 objects of 64 bytes that another CPU allocated";
}

/// The size of the pairs' objects: 64 bytes.
const LAYOUT: Layout = Layout::new::<[u64; 8]>();

fn slabs() -> Result<&'static Slabs<KernelMachine>, Failure> {
    mm::objects::slabs().ok_or_else(|| Failure::because("there are no object caches"))
}

/// One object taken and given back by a cache's handle, as a caller does that is pinned already.
struct Pair {
    cache: RawCache<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
    refusals: Refusals,
}

impl Operation for Pair {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let guard = MACHINE.pin();
        let cache = RawCache::new(slabs()?, guard.pinned(), &CacheSpec::new("count", LAYOUT.size()));
        Ok(Self {
            cache: cache.map_err(|_| Failure::because("there is no room for a cache"))?,
            guard,
            refusals: Refusals::NONE,
        })
    }

    #[inline(always)]
    fn run(&mut self) {
        let pinned = self.guard.pinned();
        let taken = self.cache.alloc(pinned);
        // SAFETY: it came from this cache just now, and no other code has it.
        self.refusals.give_back(taken, |object| unsafe { self.cache.free(pinned, object) });
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()?;
        caches::give_up(self.cache).map_err(|(_, error)| Failure::because(error))
    }
}

/// One object taken and given back by its layout, which is known when it runs.
struct BySize {
    slabs: &'static Slabs<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
    refusals: Refusals,
}

impl Operation for BySize {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { slabs: slabs()?, guard: MACHINE.pin(), refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        let (pinned, layout) = (self.guard.pinned(), black_box(LAYOUT));
        let taken = self.slabs.alloc(pinned, layout);
        // SAFETY: it came with this layout just now, and no other code has it.
        self.refusals.give_back(taken, |object| unsafe { self.slabs.free(pinned, object, layout) });
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// One object taken and given back as `Box` does.
struct Global {
    refusals: Refusals,
}

impl Operation for Global {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        let layout = black_box(LAYOUT);
        // SAFETY: the layout has bytes.
        let object = unsafe { alloc::alloc::alloc(layout) };
        match NonNull::new(black_box(object)) {
            // SAFETY: it came with this layout just now, and no other code has it.
            Some(object) => unsafe { alloc::alloc::dealloc(object.as_ptr(), layout) },
            None => self.refusals.add(1),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// The first object after the CPU's magazines were emptied.
struct Refill {
    slabs: &'static Slabs<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
    taken: Option<NonNull<u8>>,
    refusals: Refusals,
}

impl Operation for Refill {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { slabs: slabs()?, guard: MACHINE.pin(), taken: None, refusals: Refusals::NONE })
    }

    fn before(&mut self) {
        self.slabs.drain(self.guard.pinned());
    }

    #[inline(always)]
    fn run(&mut self) {
        self.taken = self.slabs.alloc(self.guard.pinned(), LAYOUT).ok();
    }

    fn after(&mut self) {
        match self.taken.take() {
            // SAFETY: it came with this layout, and no other code has it.
            Some(object) => unsafe { self.slabs.free(self.guard.pinned(), object, LAYOUT) },
            None => self.refusals.add(1),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// Objects of one magazine that go back to their slabs.
struct Drain {
    slabs: &'static Slabs<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
}

impl Operation for Drain {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { slabs: slabs()?, guard: MACHINE.pin() })
    }

    fn before(&mut self) {
        let pinned = self.guard.pinned();
        self.slabs.drain(pinned);
        if let Ok(object) = self.slabs.alloc(pinned, LAYOUT) {
            // SAFETY: it came with this layout, and no other code has it.
            unsafe { self.slabs.free(pinned, object, LAYOUT) };
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        self.slabs.drain(self.guard.pinned());
    }
}

/// Objects of a remote batch.
const BATCH: usize = 64;

/// Objects that another CPU allocated, freed here.
struct Remote {
    slabs: &'static Slabs<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
    other: CpuMask,
    objects: [AtomicPtr<u8>; BATCH],
    refusals: Refusals,
}

impl Operation for Remote {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let guard = MACHINE.pin();
        let here = guard.pinned().cpu();
        let other = cpu::online().iter().find(|&cpu| cpu != here).map(CpuMask::only);
        let other = other.ok_or_else(|| Failure::because("2 CPUs are needed"))?;
        let objects = [const { AtomicPtr::new(null_mut()) }; BATCH];
        Ok(Self { slabs: slabs()?, guard, other, objects, refusals: Refusals::NONE })
    }

    fn before(&mut self) {
        let (slabs, objects) = (self.slabs, &self.objects);
        let allocate = || {
            let pin = MACHINE.pin();
            for object in objects {
                let taken = slabs.alloc_as(pin.pinned(), LAYOUT, AllocClass::Atomic);
                object.store(taken.map_or(null_mut(), NonNull::as_ptr), Release);
            }
        };
        call::run_on(self.guard.pinned(), &self.other, &allocate, || ());
        let missing = objects.iter().filter(|object| object.load(Acquire).is_null()).count();
        self.refusals.add(missing as u32);
    }

    #[inline(always)]
    fn run(&mut self) {
        let pinned = self.guard.pinned();
        for object in self.objects.iter().filter_map(|object| NonNull::new(object.load(Relaxed))) {
            // SAFETY: it came with this layout, and no other code has it.
            unsafe { self.slabs.free(pinned, object, LAYOUT) };
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}
