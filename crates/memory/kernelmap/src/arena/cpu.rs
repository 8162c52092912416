//! [`CpuCache`]: the ranges that one CPU keeps for itself, of 1 to [`QUANTA`] units (Bonwick's quantum caches).
//!
//! Only the CPU itself touches its cache, as the [`rhumb_machine::Pinned`] token of the caller proves; the accesses are
//! plain instructions, with no locked operation and no shared line. A [`CpuGate`] keeps interrupt handlers out of the
//! middle of an operation, and lets other CPUs ask for the ranges: its cap is the units that the CPU may keep, so that
//! a request ends the keeping at the next free.
//!
//! ```text
//!   cache:  | gate, units | class 1: count, room, visits | class 2: ... | ... | class 16 | tags of 1 | tags of 2 | ...
//! ```
//! **Bounded by units.** All classes together keep no more than the cap. **Bounded by use.** The room of a class starts
//! at [`LEAST_ROOM`] ranges and grows as the CPU visits the lock for this size; a trim has CPUs that made no visits
//! give back all, and a class that is empty then has the least room again.

use rhumb_sync::CpuGate;
use rhumb_sync::atomic::{AtomicU32, IS_MODELLED, Relaxed};

use super::tag::{State, TagCell, TagRef};

/// The largest ranges that are kept, in units.
pub(super) const QUANTA: usize = if IS_MODELLED { 2 } else { 16 };

/// Room of a class that has seen little use.
pub(super) const LEAST_ROOM: u32 = 4;

/// Units of one class that are kept, at most, where that is more than [`MOST_LARGE`] ranges: a burst of a hundred
/// single units takes no lock, and the tags of all classes are 3.7 KiB.
const MOST_CLASS_UNITS: u32 = 128;

/// Ranges that are kept of each large size, at most.
const MOST_LARGE: u32 = 16;

/// Visits to the lock after which the room of a class doubles.
const VISITS_TO_GROW: u32 = 4;

/// Ranges that move in one visit to the lock, at most.
pub(super) const BATCH: usize = if IS_MODELLED { 4 } else { 32 };

/// Places for the tags of all classes together.
const PLACES: usize = first_place(QUANTA as u32 + 1) as usize;

/// Returns how many ranges of so many units are kept, at most.
const fn most_room(units: u32) -> u32 {
    match MOST_CLASS_UNITS / units {
        _ if IS_MODELLED => 6,
        room if room < MOST_LARGE => MOST_LARGE,
        room => room,
    }
}

/// Returns the number of the first place for ranges of so many units.
const fn first_place(units: u32) -> u32 {
    let (mut first, mut size) = (0, 1);
    while size < units {
        first += most_room(size);
        size += 1;
    }
    first
}

/// The ranges of one size.
struct SizeClass {
    count: AtomicU32,
    room: AtomicU32,
    /// Visits to the lock for this size, since the room was set.
    visits: AtomicU32,
    /// The place of the first tag.
    first: u32,
}

/// The ranges that one CPU keeps.
#[repr(C, align(64))]
pub(super) struct CpuCache {
    pub(super) gate: CpuGate,
    /// Units in all classes.
    units: AtomicU32,
    /// Visits to the lock since they were counted last.
    visits: AtomicU32,
    classes: [SizeClass; QUANTA],
    tags: [TagCell; PLACES],
}

impl SizeClass {
    fn new(units: u32) -> Self {
        Self {
            count: AtomicU32::new(0),
            room: AtomicU32::new(LEAST_ROOM),
            visits: AtomicU32::new(0),
            first: first_place(units),
        }
    }
}

impl CpuCache {
    pub(super) fn new() -> Self {
        Self {
            gate: CpuGate::new(),
            units: AtomicU32::new(0),
            visits: AtomicU32::new(0),
            classes: core::array::from_fn(|index| SizeClass::new(index as u32 + 1)),
            tags: core::array::from_fn(|_| TagCell::new()),
        }
    }

    /// Returns the class of ranges of so many units.
    #[inline(always)]
    fn class(&self, units: u64) -> Option<&SizeClass> {
        self.classes.get((units as usize).wrapping_sub(1))
    }

    /// Returns a place of a class; `None` where there are not so many.
    #[inline(always)]
    fn place(&self, class: &SizeClass, index: u32) -> Option<&TagCell> {
        self.tags.get((class.first + index) as usize)
    }

    /// Returns the places of the tags that a class has.
    fn places(&self, class: &SizeClass) -> &[TagCell] {
        let first = class.first as usize;
        self.tags.get(first..first + class.count.load(Relaxed) as usize).unwrap_or_default()
    }

    /// Tells whether ranges of so many units are kept.
    #[inline(always)]
    pub(super) const fn keeps(units: u64) -> bool {
        units as usize <= QUANTA
    }

    /// Takes out the range of so many units that was freed last, held from then on; `None` where there is none, or
    /// where the CPU's own operation was interrupted.
    #[inline(always)]
    pub(super) fn pop(&self, units: u64) -> Option<TagRef> {
        let class = self.class(units)?;
        let popped = self.gate.alone(|| {
            let left = class.count.load(Relaxed).checked_sub(1)?;
            let tag = self.place(class, left)?.get()?;
            class.count.store(left, Relaxed);
            self.units.store(self.units.load(Relaxed) - units as u32, Relaxed);
            tag.set_word(0);
            tag.set_state(State::Held);
            Some(tag)
        });
        popped.flatten()
    }

    /// Keeps a range of so many units, unless its class or the cache is full, or the CPU's own operation was
    /// interrupted.
    #[inline(always)]
    pub(super) fn push(&self, tag: TagRef, units: u64) -> bool {
        let Some(class) = self.class(units) else { return false };
        let kept = self.gate.alone(|| {
            let (count, kept_units) = (class.count.load(Relaxed), self.units.load(Relaxed) + units as u32);
            if count >= class.room.load(Relaxed) || kept_units as i32 > self.gate.cap() {
                return false;
            }
            let Some(place) = self.place(class, count) else { return false };
            tag.set_state(State::Kept);
            place.set(Some(tag));
            class.count.store(count + 1, Relaxed);
            self.units.store(kept_units, Relaxed);
            true
        });
        kept == Some(true)
    }

    // All functions from here on run on the cache's CPU, with interrupts off, while the gate is not busy, unless they
    // say otherwise.

    /// Returns how many units are kept; exact on this CPU, a glimpse on others.
    pub(super) fn units(&self) -> u32 {
        self.units.load(Relaxed)
    }

    /// Returns how many ranges a refill of this size brings: half of the room, and no more than the cache may keep.
    pub(super) fn batch(&self, units: u64, cap: u32) -> usize {
        let Some(class) = self.class(units) else { return 1 };
        let left = cap.saturating_sub(self.units()) / units.max(1) as u32;
        ((class.room.load(Relaxed) / 2).min(left) as usize).clamp(1, BATCH)
    }

    /// Counts a visit to the lock for ranges of this size. The room of the class doubles after [`VISITS_TO_GROW`] of
    /// them.
    pub(super) fn count_visit(&self, units: u64) {
        self.visits.store(self.visits.load(Relaxed).wrapping_add(1), Relaxed);
        let Some(class) = self.class(units) else { return };
        let visits = class.visits.load(Relaxed) + 1;
        let most = most_room(units as u32);
        let room = class.room.load(Relaxed);
        if visits >= VISITS_TO_GROW && room < most {
            class.room.store((2 * room).min(most), Relaxed);
            class.visits.store(0, Relaxed);
        } else {
            class.visits.store(visits.min(VISITS_TO_GROW), Relaxed);
        }
    }

    /// Returns the count of visits, and sets it to 0. May run on any CPU: a visit that is counted meanwhile may undo
    /// the reset, which only makes the next trim spare this CPU.
    pub(super) fn take_visits(&self) -> u32 {
        let visits = self.visits.load(Relaxed);
        self.visits.store(0, Relaxed);
        visits
    }

    /// Tells whether as many ranges of so many units are kept as have room.
    pub(super) fn is_full_of(&self, units: u64) -> bool {
        self.class(units).is_some_and(|class| class.count.load(Relaxed) >= class.room.load(Relaxed))
    }

    /// Returns the size whose ranges have the most units in this cache.
    pub(super) fn fullest(&self) -> u64 {
        let units =
            |units: u64| self.class(units).map_or(0, |class| class.count.load(Relaxed) as u64 * units);
        (1..=QUANTA as u64).max_by_key(|&size| units(size)).unwrap_or(1)
    }

    /// Takes out up to `most` ranges of one size, those that were freed first, and calls `give` with each.
    pub(super) fn take_oldest(&self, units: u64, most: usize, mut give: impl FnMut(TagRef)) -> usize {
        let Some(class) = self.class(units) else { return 0 };
        let places = self.places(class);
        let (count, taken) = (places.len(), most.min(places.len()));
        places.iter().take(taken).filter_map(TagCell::get).for_each(&mut give);
        for (to, from) in places.iter().zip(places.iter().skip(taken)) {
            to.set(from.get());
        }
        class.count.store((count - taken) as u32, Relaxed);
        self.units.store(self.units() - (taken as u64 * units) as u32, Relaxed);
        taken
    }

    /// Takes out half of the ranges of one size, rounded up.
    pub(super) fn take_half(&self, units: u64, give: impl FnMut(TagRef)) -> usize {
        let count = self.class(units).map_or(0, |class| class.count.load(Relaxed) as usize);
        self.take_oldest(units, count.div_ceil(2).min(BATCH), give)
    }

    /// Takes out up to [`BATCH`] ranges of any sizes, and returns how many. A class that has none left gets the least
    /// room again.
    pub(super) fn take_any(&self, mut give: impl FnMut(TagRef)) -> usize {
        let mut taken = 0;
        for (units, class) in (1..).zip(&self.classes) {
            if taken < BATCH {
                taken += self.take_oldest(units, BATCH - taken, &mut give);
            }
            if class.count.load(Relaxed) == 0 {
                class.room.store(LEAST_ROOM, Relaxed);
                class.visits.store(0, Relaxed);
            }
        }
        taken
    }

    /// Returns how often a range of so many units is kept. On a CPU that is at rest.
    pub(super) fn times_kept(&self, units: u64, tag: TagRef) -> usize {
        let places = self.class(units).map_or(&[][..], |class| self.places(class));
        places.iter().filter(|&place| place.get() == Some(tag)).count()
    }

    /// Returns the ranges that are kept, each with the units of its class. For a CPU that is at rest.
    pub(super) fn kept(&self) -> impl Iterator<Item = (u64, TagRef)> + '_ {
        (1..).zip(&self.classes).flat_map(|(units, class)| {
            self.places(class).iter().filter_map(TagCell::get).map(move |tag| (units, tag))
        })
    }
}
