//! Object caches in the kernel: `alloc` works on them, silence (I2), no panic on exhaustion (I12), memory returns, and
//! a large object next to a small one does not keep a large page.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use rhumb_frames::{Frame, Request};
use rhumb_machine::{Machine, Order, VirtAddr};
use rhumb_slab::{AllocError, CacheSpec, DestroyError, RawCache, Slabs, SpecError};

use super::frames::noise;
use super::{Test, memory};
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{clock, work};
use crate::debug::objects::reclaim_everywhere;
use crate::facts::Boot;
use crate::lab::caches;
use crate::lab::failure::{Failure, ensure};
use crate::{debug, mm};

pub const TESTS: &[Test] = &[
    Test { name: "objects::collections", run: collections },
    Test { name: "objects::i2_silence", run: i2_silence },
    Test { name: "objects::i12_exhaustion", run: i12_exhaustion },
    Test { name: "objects::memory_returns", run: memory_returns },
    Test {
        name: "objects::memory_returns_while_the_prompt_waits",
        run: memory_returns_while_the_prompt_waits,
    },
    Test { name: "objects::bad_requests", run: bad_requests },
];

/// Large blocks that the test takes at most: those of a terabyte, and the small ones of each node.
const HOARD: usize = 8192;
/// Large blocks that it leaves.
const SPARE: usize = 4;

fn allocator() -> Result<&'static Slabs<KernelMachine>, Failure> {
    mm::objects::slabs().ok_or_else(|| Failure::because("there are no object caches"))
}

fn collections(_: &'static Boot) -> Result<(), Failure> {
    const COUNT: u64 = 10_000;
    // 2 MiB: several times what follows, which no error can refuse, because a map has no way to be refused memory.
    memory::must_be_free(512)?;
    let map: BTreeMap<u64, Box<u64>> = (0..COUNT).map(|key| (key * 7 % COUNT, Box::new(key))).collect();
    let mut list = Vec::new();
    list.try_reserve_exact(COUNT as usize).map_err(memory::short)?;
    list.extend(map.values().map(|value| **value));
    ensure!(list.iter().sum::<u64>() == COUNT * (COUNT - 1) / 2, "values were lost in a map");
    ensure!(map.keys().copied().eq(0..COUNT), "keys are out of order");
    let shared = Arc::new(list);
    work::on_every_cpu(&|| drop(Arc::clone(&shared)));
    ensure!(Arc::strong_count(&shared) == 1, "{} owners are left", Arc::strong_count(&shared));
    Ok(())
}

/// Objects of one frame's worth and less, allocated and freed a hundred thousand times.
fn i2_silence(_: &'static Boot) -> Result<(), Failure> {
    const ROUNDS: usize = 400;
    const HELD: usize = 250;
    let slabs = allocator()?;
    let mut held = Vec::new();
    held.try_reserve_exact(HELD).map_err(memory::short)?;
    let before = noise();
    let mut refusal = None;
    for round in 0..ROUNDS {
        let guard = MACHINE.pin();
        let layout = Layout::from_size_align(8 << (round % 10), 8).map_err(Failure::because)?;
        for _ in 0..HELD {
            match slabs.alloc(guard.pinned(), layout) {
                Ok(object) => held.push(object),
                Err(error) => refusal = Some(error),
            }
        }
        let near = held.first().map_or(Ok(()), |&object| is_near(object));
        // SAFETY: allocated above with this layout.
        held.drain(..).for_each(|object| unsafe { slabs.free(guard.pinned(), object, layout) });
        near?;
        if let Some(error) = refusal {
            return Err(memory::short(error));
        }
    }
    let after = noise();
    ensure!(before == after, "tables, flushes, interrupts: {before:?} before, {after:?} after");
    Ok(())
}

/// Sees that an object lies on this CPU's node, while that has memory.
fn is_near(object: NonNull<u8>) -> Result<(), Failure> {
    let frames = super::memory::allocator()?;
    let at = VirtAddr::new(object.addr().get() as u64);
    let phys = mm::tables::walk(at).phys().ok_or_else(|| Failure::because("an object is not mapped"))?;
    memory::must_be_near(frames, phys.pfn(), Order::BASE)
}

/// Takes objects until there are none, and gives them back: an error, no panic, and all memory returns.
fn i12_exhaustion(_: &'static Boot) -> Result<(), Failure> {
    let (slabs, frames) = (allocator()?, super::memory::allocator()?);
    let layout = Layout::new::<[u64; 512]>();
    // A machine of a terabyte has too many frames to take one by one: most are taken in large blocks, out of the way.
    let mut hoard: Vec<Frame> = Vec::new();
    hoard.try_reserve_exact(HOARD).map_err(memory::short)?;
    let guard = MACHINE.pin();
    for request in [Request::HUGE, Request::LARGE] {
        while hoard.len() < HOARD
            && let Ok(frame) = frames.alloc(guard.pinned(), request)
        {
            hoard.push(frame);
        }
    }
    let spare = hoard.len().saturating_sub(SPARE);
    hoard.drain(spare..).for_each(|frame| frames.free(guard.pinned(), frame));
    let before = slabs.totals().live_bytes;
    let (mut newest, mut count) = (core::ptr::null_mut::<u8>(), 0u64);
    let refusal = loop {
        match slabs.alloc(guard.pinned(), layout) {
            Ok(object) => {
                // SAFETY: the object is ours, and larger than a pointer.
                unsafe { object.cast::<*mut u8>().write(newest) };
                (newest, count) = (object.as_ptr(), count + 1);
            }
            Err(error) => break error,
        }
    };
    while let Some(object) = core::ptr::NonNull::new(newest) {
        // SAFETY: written above; allocated above with this layout.
        unsafe {
            newest = object.cast::<*mut u8>().read();
            slabs.free(guard.pinned(), object, layout);
        }
    }
    hoard.drain(..).for_each(|frame| frames.free(guard.pinned(), frame));
    drop(guard);
    let after = slabs.totals().live_bytes;
    ensure!(refusal == AllocError::Exhausted, "the error was {refusal:?}");
    ensure!(count > 0 && before == after, "{count} objects; {before} bytes in use before, {after} after");
    caches::validate(slabs).map_err(Failure::because)
}

fn memory_returns(_: &'static Boot) -> Result<(), Failure> {
    const COUNT: usize = 20_000;
    let slabs = allocator()?;
    memory::no_quarantine()?;
    // 8 MiB: twice what the boxes take, which no error can refuse.
    memory::must_be_free(2048)?;
    reclaim_everywhere(slabs);
    let before = slabs.totals().held_bytes;
    let mut boxes: Vec<Box<[u64; 16]>> = Vec::new();
    boxes.try_reserve_exact(COUNT).map_err(memory::short)?;
    (0..COUNT).for_each(|at| boxes.push(Box::new([at as u64; 16])));
    let peak = slabs.totals().held_bytes;
    drop(boxes);
    reclaim_everywhere(slabs);
    let after = slabs.totals().held_bytes;
    ensure!(peak > before + (COUNT * 128) as u64, "{peak} bytes were held at the peak, {before} before");
    ensure!(after <= before, "{after} bytes are held, {before} were before");
    caches::validate(slabs).map_err(Failure::because)
}

/// After a peak of one cache no request comes: the objects of its magazines come back in time.
fn memory_returns_while_the_prompt_waits(_: &'static Boot) -> Result<(), Failure> {
    const COUNT: usize = 4096;
    const TRIM_NS: u64 = 10_000_000;
    const PATIENCE_NS: u64 = 10_000_000_000;
    let slabs = allocator()?;
    memory::must_be_unchecked("peak")?;
    reclaim_everywhere(slabs);
    let held = || slabs.totals().held_bytes;
    let mut objects = Vec::new();
    objects.try_reserve_exact(COUNT).map_err(memory::short)?;
    let cache = {
        let guard = MACHINE.pin();
        RawCache::new(slabs, guard.pinned(), &CacheSpec::new("peak", 512)).map_err(memory::short)?
    };
    let before = held();
    {
        let guard = MACHINE.pin();
        objects.extend((0..COUNT).map_while(|_| cache.alloc(guard.pinned()).ok()));
        // SAFETY: allocated above.
        objects.drain(..).for_each(|object| unsafe { cache.free(guard.pinned(), object) });
    }
    let idle = held();
    // A cache keeps a small magazine on the CPU.
    let few = before + idle.saturating_sub(before) / 4;
    let every = mm::objects::set_trim_interval(TRIM_NS);
    let end = clock::now_ns() + PATIENCE_NS;
    while held() > few && clock::now_ns() < end {
        debug::wait(|| false, Some(mm::objects::ns_to_next_trim()));
    }
    mm::objects::set_trim_interval(every);
    let after = held();
    caches::give_up(cache).map_err(|(_, error)| Failure::because(error))?;
    ensure!(
        idle > before,
        "{idle} bytes are held after the peak, {before} were before: there is nothing to see"
    );
    ensure!(after <= few, "{after} bytes are still held of {idle}, {before} were before");
    Ok(())
}

fn bad_requests(_: &'static Boot) -> Result<(), Failure> {
    let slabs = allocator()?;
    let guard = MACHINE.pin();
    let refusal = |spec: CacheSpec<'_>| RawCache::new(slabs, guard.pinned(), &spec).err();
    ensure!(refusal(CacheSpec::new("nothing", 0)) == Some(SpecError::ZeroSize), "a cache of nothing");
    ensure!(refusal(CacheSpec::new("odd", 8).align(24)) == Some(SpecError::BadAlign(24)), "an odd alignment");
    let wide = 1 << 30;
    ensure!(refusal(CacheSpec::new("wide", 8).align(wide)) == Some(SpecError::AlignTooLarge(wide)), "1 GiB");
    ensure!(refusal(CacheSpec::new("huge", 1 << 20)) == Some(SpecError::TooLarge(1 << 20)), "1 MiB");
    let cache = RawCache::new(slabs, guard.pinned(), &CacheSpec::new("kept", 64)).map_err(memory::short)?;
    let object = match cache.alloc(guard.pinned()) {
        Ok(object) => object,
        Err(error) => {
            let _ = caches::give_up(cache);
            return Err(memory::short(error));
        }
    };
    let Err((cache, DestroyError::InUse(in_use))) = caches::give_up(cache) else {
        return Err(Failure::because("a cache with an object out was destroyed, or could not be looked at"));
    };
    ensure!(in_use.objects == 1, "{} objects are said to be out", in_use.objects);
    // SAFETY: allocated above.
    unsafe { cache.free(guard.pinned(), object) };
    caches::give_up(cache).map_err(|(_, error)| Failure::because(error))
}
