//! Lanes: parts of a map's addresses in which one holder at a time changes what is allocated.

use rhumb_machine::{CpuId, VirtAddr, VirtRange};
use rhumb_pagetable::levels::span_shift;
use rhumb_sync::atomic::{Acquire, AtomicBool, AtomicU64, Relaxed, Release};

/// CPUs that change different parts of a map at a time without a wait.
const MOST_LANES: usize = 16;

/// A lane, in a cache line of its own.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Lane {
    is_held: AtomicBool,
    /// Where the search for empty pages begins. Changed by the lane's holder.
    hint: AtomicU64,
}

/// The lanes of a map.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: [Lane; MOST_LANES],
    range: VirtRange,
    /// How many entries of level 4 a lane spans, a power of two, as a shift. No table below those belongs to two lanes.
    shift: u32,
}

/// The right to change what is allocated in some lanes, which ends with it.
#[must_use = "the lanes are released when it is dropped"]
pub(crate) struct HeldLanes<'map> {
    first: &'map Lane,
    rest: &'map [Lane],
}

impl Lane {
    fn lower_hint(&self, at: VirtAddr, guard_bytes: u64) {
        let below = at.get().saturating_sub(guard_bytes);
        if below < self.hint.load(Relaxed) {
            self.hint.store(below, Relaxed);
        }
    }
}

impl Lanes {
    pub(crate) fn new(range: VirtRange) -> Self {
        let spanned = entry_of(range.end().get() - 1) - entry_of(range.start().get()) + 1;
        Self {
            lanes: core::array::from_fn(|_| Lane {
                is_held: AtomicBool::new(false),
                hint: AtomicU64::new(0),
            }),
            range,
            shift: spanned.div_ceil(MOST_LANES as u64).next_power_of_two().trailing_zeros(),
        }
    }

    fn number_of(&self, at: VirtAddr) -> usize {
        let entry = entry_of(at.get()) - entry_of(self.range.start().get());
        ((entry >> self.shift) as usize).min(MOST_LANES - 1)
    }

    /// Returns how many lanes there are.
    pub(crate) fn count(&self) -> usize {
        self.number_of(VirtAddr::new(self.range.end().get() - 1)) + 1
    }

    /// Returns the lane in which a CPU looks for addresses first.
    pub(crate) fn of_cpu(&self, cpu: CpuId) -> usize {
        cpu.index() % self.count()
    }

    /// Returns the addresses of a lane.
    pub(crate) fn range(&self, lane: usize) -> VirtRange {
        let first = entry_of(self.range.start().get());
        let edge = |lane: usize| {
            let entry = (first + ((lane as u64) << self.shift)) << span_shift(4);
            VirtAddr::new(entry).max(self.range.start()).min(self.range.end())
        };
        let end = if lane + 1 == self.count() { self.range.end() } else { edge(lane + 1) };
        VirtRange::new(edge(lane), end).unwrap_or_default()
    }

    /// Says that the pages of a range are empty now, so that the next search in a lane does not begin above them, nor above
    /// the guard below them. For the holder of the lanes.
    pub(crate) fn lower_hints(&self, range: VirtRange, guard_bytes: u64) {
        let last = VirtAddr::new(range.end().get() - 1);
        let (first, last) = (self.number_of(range.start()), self.number_of(last));
        self.lanes[first].lower_hint(range.start(), guard_bytes);
        for lane in first + 1..=last {
            self.lanes[lane].lower_hint(self.range(lane).start(), guard_bytes);
        }
    }

    /// Returns where the lane of an address ends.
    pub(crate) fn end_of(&self, at: VirtAddr) -> VirtAddr {
        self.range(self.number_of(at)).end()
    }

    /// Waits for the lanes of a range, in ascending order, and takes them. Calls `relax` while it waits.
    pub(crate) fn hold(&self, range: VirtRange, mut relax: impl FnMut()) -> HeldLanes<'_> {
        let last = VirtAddr::new(range.end().get() - 1);
        let (first, rest) = match &self.lanes[self.number_of(range.start())..=self.number_of(last)] {
            [first, rest @ ..] => (first, rest),
            [] => (&self.lanes[0], &[][..]),
        };
        for lane in core::iter::once(first).chain(rest) {
            while lane.is_held.compare_exchange(false, true, Acquire, Relaxed).is_err() {
                relax();
            }
        }
        HeldLanes { first, rest }
    }

    pub(crate) fn hint(&self, lane: usize) -> u64 {
        self.lanes[lane].hint.load(Relaxed)
    }

    /// Says where the next search begins. For the holder of the lane.
    pub(crate) fn set_hint(&self, lane: usize, at: VirtAddr) {
        self.lanes[lane].hint.store(at.get(), Relaxed);
    }
}

impl Drop for HeldLanes<'_> {
    fn drop(&mut self) {
        self.first.is_held.store(false, Release);
        for lane in self.rest {
            lane.is_held.store(false, Release);
        }
    }
}

/// Returns the number of the entry of level 4 that spans an address.
const fn entry_of(address: u64) -> u64 {
    address >> span_shift(4)
}
