//! Rhumb's own arena, with the caches of its CPUs and without.

use rhumb_hosted::{HostedMachine, Machine};
use rhumb_kernelmap::{Arena, ArenaLayout, Fit, HeldRange, Tag, Units};
use rhumb_machine::Pinned;
use rhumb_slab::{Cache, CacheSpec};

use crate::driver::Unfit;
use crate::ranges::subject::{FIRST, RangeSubject, Request, UNITS};
use crate::slab::{Place, slabs};

type OurArena = Arena<&'static HostedMachine>;

/// Returns an arena of all units, whose tags are objects of an allocator of its own.
fn arena(place: &Place) -> Result<OurArena, Unfit> {
    let unfit = |error: &dyn std::fmt::Display| Unfit(error.to_string());
    let (_, slabs) = slabs(place)?;
    place.on_boot_cpu(|pinned| {
        let tags =
            Cache::new(slabs, pinned, CacheSpec::of::<Tag>("range_tag")).map_err(|error| unfit(&error))?;
        let layout = ArenaLayout::new(place.machine().cpu_count()).map_err(|error| unfit(&error))?;
        let memory = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
        let arena = Arena::new(layout, Box::leak(Box::new(tags)), memory).map_err(|error| unfit(&error))?;
        let span = Units::of_length(FIRST, UNITS).ok_or_else(|| unfit(&"no such span"))?;
        arena.add_span(pinned, span).map_err(|error| unfit(&error))?;
        Ok(arena)
    })?
}

/// Returns what the arena is asked for.
#[inline(always)]
fn fit(request: Request) -> Option<Fit> {
    let fit = Fit::new(u64::from(request.units)).ok()?;
    if request.align == 1 { Some(fit) } else { fit.aligned(u64::from(request.align), 0).ok() }
}

/// As the kernel uses it.
pub(super) struct Rhumb(OurArena);

impl RangeSubject for Rhumb {
    const NAME: &'static str = crate::report::OURS;
    type Range = HeldRange;

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        Ok(Self(arena(place)?))
    }

    #[inline(always)]
    fn get(&self, pinned: Pinned<'_>, request: Request) -> Option<HeldRange> {
        self.0.alloc(pinned, fit(request)?).ok()
    }

    #[inline(always)]
    fn put(&self, pinned: Pinned<'_>, range: HeldRange) {
        // It is of this arena, as each of a workload's ranges is.
        let _ = self.0.free(pinned, range);
    }

    fn first(&self, range: &HeldRange, _request: Request) -> u64 {
        range.range().start()
    }
}

/// With no unit for any CPU: each operation takes the lock.
pub(super) struct Locked(Rhumb);

impl RangeSubject for Locked {
    const NAME: &'static str = "rhumb-lock";
    type Range = HeldRange;

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        let arena = arena(place)?;
        place.on_boot_cpu(|pinned| arena.set_cpu_units(pinned, 0))?;
        Ok(Self(Rhumb(arena)))
    }

    #[inline(always)]
    fn get(&self, pinned: Pinned<'_>, request: Request) -> Option<HeldRange> {
        self.0.get(pinned, request)
    }

    #[inline(always)]
    fn put(&self, pinned: Pinned<'_>, range: HeldRange) {
        self.0.put(pinned, range);
    }

    fn first(&self, range: &HeldRange, request: Request) -> u64 {
        self.0.first(range, request)
    }
}
