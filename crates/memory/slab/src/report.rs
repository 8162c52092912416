//! Reports on the caches: their figures, and the call sites that hold objects.

use core::fmt;

use arrayvec::ArrayVec;
use rhumb_machine::{Counted, Machine, MemoryUse, VirtAddr};

use crate::check::{CallSite, Checks};
use crate::checked::{Slot, State};
use crate::memory::FRAME_BYTES;
use crate::node::Node;
use crate::record::Record;
use crate::shape::Shape;
use crate::slab::SlabRef;
use crate::slabs::Slabs;
use crate::spec::Name;
use rhumb_sync::atomic::Relaxed;

/// One cache's figures. Counts of objects in magazines are a glimpse while other CPUs run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheReport {
    /// Its name.
    pub name: Name,
    /// Objects that are in use.
    pub active_objects: u64,
    /// Objects that its slabs have room for.
    pub objects: u64,
    /// Bytes of an object, as asked for.
    pub object_bytes: u32,
    /// Bytes from one object to the next.
    pub slot_bytes: u32,
    /// Objects of a slab.
    pub objects_per_slab: u32,
    /// Frames of a slab.
    pub frames_per_slab: u64,
    /// Slabs with an object in use or in a magazine.
    pub active_slabs: u64,
    /// Slabs.
    pub slabs: u64,
    /// Rounds of new magazines; none where the cache is checked.
    pub magazine_rounds: u32,
    /// Free objects in CPUs' magazines and in depots.
    pub in_magazines: u64,
    /// Frames that reclaim got from it.
    pub reclaimed_frames: u64,
    /// Faults seen.
    pub faults: u64,
    /// Its checks.
    pub checks: Checks,
}

impl CacheReport {
    /// Returns how many bytes its objects in use have.
    pub fn live_bytes(&self) -> u64 {
        self.active_objects * u64::from(self.object_bytes)
    }

    /// Returns how many bytes its slabs have.
    pub fn held_bytes(&self) -> u64 {
        self.slabs * self.frames_per_slab * FRAME_BYTES
    }

    /// Returns how many bytes of its slabs hold no object in use.
    pub fn waste_bytes(&self) -> u64 {
        self.held_bytes().saturating_sub(self.live_bytes())
    }
}

/// Sums over all caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Bytes of objects in use, large ones among them.
    pub live_bytes: u64,
    /// Bytes of all frames held: slabs, large objects, and the allocator's own records.
    pub held_bytes: u64,
    /// Of those, headers, magazines and records.
    pub own_bytes: u64,
    /// Frames given back by reclaim so far.
    pub reclaimed_frames: u64,
    /// Faults seen.
    pub faults: u64,
}

/// Objects that are in use, of one call site; or one object, where the call site is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeakSite {
    /// The call site that allocated them.
    pub site: CallSite,
    /// One of them.
    pub object: VirtAddr,
    /// How many.
    pub objects: u64,
}

impl fmt::Display for LeakSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} from {}", self.objects, self.object, self.site)
    }
}

/// The most call sites that a refusal names.
pub const NAMED_SITES: usize = 8;

/// Objects of a cache that are out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InUse {
    /// How many.
    pub objects: u64,
    /// Their users, as far as they are known: by call site where the cache keeps its users, else by object.
    pub owners: ArrayVec<LeakSite, NAMED_SITES>,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in use: {}", Counted(self.objects, "object"))?;
        self.owners.iter().try_for_each(|owner| write!(f, "; {owner}"))
    }
}

impl<M: Machine> Slabs<M> {
    /// Calls `each` with every cache's figures. `each` may do anything, also give up the cache.
    pub fn for_each_report(&self, mut each: impl FnMut(&CacheReport)) {
        self.caches(|record| self.report_of(record)).for_each(|report| each(&report));
    }

    pub(crate) fn report_of(&self, record: &Record) -> CacheReport {
        let shape = &record.shape;
        let (mut slabs, mut empty, mut free) = (0, 0, 0);
        for index in 0..record.node_count() {
            let node = record.node(self.machine().irq_off(), index);
            slabs += u64::from(node.slabs);
            empty += u64::from(node.empty_slabs);
            free += node.free;
        }
        let depots = record.depots().map(|(_, depot)| depot).filter(|depot| depot.has_full());
        let depots = depots.map(|depot| u64::from(depot.lock(self.machine().irq_off()).full.objects));
        let depots = depots.sum::<u64>();
        let in_magazines =
            depots + self.lines_kept(record).map(|(_, line)| u64::from(line.objects())).sum::<u64>();
        let quarantined = u64::from(record.quarantine.lock(self.machine().irq_off()).count);
        let all = slabs * u64::from(shape.objects);
        CacheReport {
            name: record.setup.name,
            active_objects: all.saturating_sub(free + in_magazines + quarantined),
            objects: all,
            object_bytes: shape.object_bytes,
            slot_bytes: shape.slot_bytes,
            objects_per_slab: shape.objects,
            frames_per_slab: shape.order.frames(),
            active_slabs: slabs - empty,
            slabs,
            magazine_rounds: if record.setup.checks.is_off() { record.rounds() } else { 0 },
            in_magazines,
            reclaimed_frames: record.reclaimed.load(Relaxed),
            faults: record.faults.load(Relaxed),
            checks: record.setup.checks,
        }
    }

    /// Returns the sums over all caches.
    pub fn totals(&self) -> Totals {
        let large = self.large_frames.load(Relaxed) * FRAME_BYTES;
        let own_bytes = self.cells.frames(&self.memory) * FRAME_BYTES;
        let mut sum = Totals {
            live_bytes: large,
            held_bytes: large + own_bytes,
            own_bytes,
            reclaimed_frames: self.reclaimed_frames.load(Relaxed),
            faults: self.faults.load(Relaxed),
        };
        self.for_each_report(|report| {
            sum.live_bytes += report.live_bytes();
            sum.held_bytes += report.held_bytes();
            sum.faults += report.faults;
        });
        sum
    }

    /// Returns the users of a cache's objects. Objects in magazines count as in use unless the cache is checked or was
    /// drained. The node's lock is held for as long as it takes to look at 64 slots, or to find [`NAMED_SITES`]
    /// objects.
    pub(crate) fn in_use(&self, record: &Record) -> Option<InUse> {
        let mut in_use = InUse { objects: 0, owners: ArrayVec::new() };
        for index in 0..record.node_count() {
            if record.setup.checks.has(Checks::USERS) {
                self.add_users(record, index, &mut in_use);
            } else {
                in_use.add_node(&record.shape, &record.node(self.machine().irq_off(), index));
            }
        }
        (in_use.objects > 0).then_some(in_use)
    }

    /// Adds the objects that are out of a node of a cache that keeps its users, by call site.
    fn add_users(&self, record: &Record, index: usize, in_use: &mut InUse) {
        let shape = &record.shape;
        let walked = self.walk_slabs(record, index, shape.words(), |_, slab, word| {
            for object in slab.objects(shape, word, slab.out(shape, word)) {
                // SAFETY: an object of this cache's slab, which stays while its node is locked, as it is here.
                let slot = unsafe { Slot::of(record, object) };
                self.open(&slot);
                // Read under the lock, as it is written.
                let is_out = slot.state() == Some(State::Out);
                let site = slot.allocated().map_or(CallSite::UNKNOWN, |track| track.site);
                self.close(&slot, if is_out { MemoryUse::Allowed } else { MemoryUse::FreeObject });
                if is_out {
                    in_use.add(site, VirtAddr::new(object.addr().get() as u64));
                }
            }
            Ok::<(), core::convert::Infallible>(())
        });
        let Ok(()) = walked;
    }

    /// Calls `each` with every cache that keeps its users and has objects in use: the call sites with how many objects
    /// each, as many as fit. `each` may do anything, also give up the cache.
    pub fn leaks(&self, mut each: impl FnMut(Name, &InUse)) {
        let look = |record: &'static Record| {
            let in_use = record.setup.checks.has(Checks::USERS).then(|| self.in_use(record)).flatten()?;
            Some((record.setup.name, in_use))
        };
        self.caches(look).flatten().for_each(|(name, in_use)| each(name, &in_use));
    }
}

impl InUse {
    /// Adds the objects that are out of a node, of which nothing is known but where they are.
    fn add_node(&mut self, shape: &Shape, node: &Node) {
        self.objects += u64::from(node.slabs) * u64::from(shape.objects) - node.free;
        // Each of these slabs has an object out: there are no more of them to look at than owners to name.
        let of_slab = |slab: SlabRef| {
            (0..shape.words()).flat_map(move |word| slab.objects(shape, word, slab.out(shape, word)))
        };
        let unnamed = NAMED_SITES - self.owners.len();
        for object in node.used().flat_map(of_slab).take(unnamed) {
            let object = VirtAddr::new(object.addr().get() as u64);
            self.owners.push(LeakSite { site: CallSite::UNKNOWN, object, objects: 1 });
        }
    }

    fn add(&mut self, site: CallSite, object: VirtAddr) {
        self.objects += 1;
        let known = |owner: &&mut LeakSite| owner.site == site && site != CallSite::UNKNOWN;
        if let Some(owner) = self.owners.iter_mut().find(known) {
            owner.objects += 1;
        } else if self.owners.len() < NAMED_SITES {
            self.owners.push(LeakSite { site, object, objects: 1 });
        }
    }
}
