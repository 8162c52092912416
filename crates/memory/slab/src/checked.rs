//! Checked caches: each allocation and free looks at the object's slot. A leaf where `unsafe` lives.
//!
//! ```text
//!   slot:  | red zone | object (poison while free) | red zone | state | allocated by | freed by |
//! ```
//! The state word says whether the object is out, free or in quarantine, so that a double free is seen in each. A fault
//! is reported through the caller's hook, and counted; the cache repairs what it can and goes on.

use core::ptr::NonNull;

use rhumb_frames::AllocClass;
use rhumb_machine::{Machine, MemoryUse, Pinned, impossible};

use crate::check::{Checks, Quarantine, RED_ZONE_BYTES, Track};
use crate::error::AllocError;
use crate::fault::{Fault, Report};
use crate::magazine::Round;
use crate::record::Record;
use crate::refill::ATTEMPTS;
use crate::slab::Slab;
use crate::slabs::Slabs;

/// Bytes of red zones while the object is free and while it is out, of free objects, and of their last byte.
const ZONE_FREE: u8 = 0xbb;
const ZONE_OUT: u8 = 0xcc;
const POISON: u8 = 0x6b;
const POISON_END: u8 = 0xa5;

/// The state of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Out,
    Free,
    Quarantined,
}

impl State {
    const fn word(self) -> u64 {
        match self {
            Self::Out => 0x6f75_7421_6f75_7421,
            Self::Free => 0x6672_6565_6672_6565,
            Self::Quarantined => 0x7175_6172_7175_6172,
        }
    }

    const fn of_word(word: u64) -> Option<Self> {
        match word {
            0x6f75_7421_6f75_7421 => Some(Self::Out),
            0x6672_6565_6672_6565 => Some(Self::Free),
            0x7175_6172_7175_6172 => Some(Self::Quarantined),
            _ => None,
        }
    }
}

/// A slot of a checked cache. Its methods touch the slot's memory: it exists only while the slot's slab lives, in the
/// hands of the CPU that takes or frees its object. State and allocating user are written under the node's lock, where
/// a report reads them.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    start: NonNull<u8>,
    record: &'a Record,
}

impl<'a> Slot<'a> {
    /// Returns the slot of `object`.
    ///
    /// # Safety
    /// It is an object of this cache, whose slab lives.
    pub(crate) unsafe fn of(record: &'a Record, object: Round) -> Self {
        // SAFETY: the lead is part of the slot.
        Self { start: unsafe { object.sub(record.shape.lead as usize) }, record }
    }

    const fn object_at(&self) -> u32 {
        self.record.shape.lead
    }

    const fn object_end(&self) -> u32 {
        self.object_at() + self.record.shape.object_bytes
    }

    const fn has(&self, checks: Checks) -> bool {
        self.record.setup.checks.has(checks)
    }

    const fn state_at(&self) -> u32 {
        let zone = if self.has(Checks::RED_ZONES) { RED_ZONE_BYTES } else { 0 };
        (self.object_end() + zone).next_multiple_of(8)
    }

    pub(crate) fn object(&self) -> Round {
        // SAFETY: the object is part of the slot.
        unsafe { self.start.add(self.object_at() as usize) }
    }

    fn fill(&self, from: u32, to: u32, byte: u8) {
        // SAFETY: the bytes are part of the slot, which is in the hands of this CPU.
        unsafe { self.start.add(from as usize).write_bytes(byte, (to - from) as usize) };
    }

    /// Returns the first byte of `from..to` that is not `byte`, counted from the object's start.
    fn differs(&self, from: u32, to: u32, byte: u8) -> Option<i32> {
        // SAFETY: the bytes are part of the slot, which is in the hands of this CPU.
        let wrong = |&at: &u32| unsafe { self.start.add(at as usize).read() } != byte;
        (from..to).find(wrong).map(|at| at as i32 - self.object_at() as i32)
    }

    const fn state_word(&self) -> NonNull<u64> {
        // SAFETY: the state is part of the slot, at a multiple of eight.
        unsafe { self.start.add(self.state_at() as usize).cast() }
    }

    pub(crate) fn state(&self) -> Option<State> {
        // SAFETY: any bytes are a word, and no other CPU writes this one meanwhile: the slot is in the hands of this
        // CPU, or the node is locked.
        State::of_word(unsafe { self.state_word().read() })
    }

    fn set_state(&self, state: State) {
        // SAFETY: the slot is in the hands of this CPU, and the node is locked for readers that look at it by its slab.
        unsafe { self.state_word().write(state.word()) };
    }

    fn track_at(&self, index: usize) -> Option<NonNull<Track>> {
        let at = self.state_at() as usize + 8 + index * size_of::<Track>();
        // SAFETY: the tracks are part of the slot where the cache keeps users.
        self.has(Checks::USERS).then(|| unsafe { self.start.add(at).cast() })
    }

    fn track(&self, index: usize) -> Option<Track> {
        // SAFETY: any bytes are a track, and no other CPU writes this one meanwhile: the slot is in the hands of this
        // CPU, or the node is locked.
        let track = self.track_at(index).map(|at| unsafe { at.read() })?;
        (track != Track::NONE).then_some(track)
    }

    fn set_track(&self, index: usize, track: Track) {
        if let Some(at) = self.track_at(index) {
            // SAFETY: the track is part of the slot, which is in the hands of this CPU; the track that reports read is
            // written with the node locked.
            unsafe { at.write(track) };
        }
    }

    /// Returns the caller that allocated it.
    pub(crate) fn allocated(&self) -> Option<Track> {
        self.track(0)
    }

    fn red_zones(&self) -> [(u32, u32); 2] {
        if self.has(Checks::RED_ZONES) {
            [(0, self.object_at()), (self.object_end(), self.state_at())]
        } else {
            [(0, 0), (0, 0)]
        }
    }

    fn set_red_zones(&self, byte: u8) {
        self.red_zones().into_iter().for_each(|(from, to)| self.fill(from, to, byte));
    }

    fn red_zone_fault(&self, byte: u8) -> Option<Fault> {
        let written = self.red_zones().into_iter().find_map(|(from, to)| self.differs(from, to, byte));
        written.map(Fault::RedZone)
    }

    fn poison(&self) {
        if self.has(Checks::POISON) {
            self.fill(self.object_at(), self.object_end() - 1, POISON);
            self.fill(self.object_end() - 1, self.object_end(), POISON_END);
        }
    }

    fn poison_fault(&self) -> Option<Fault> {
        if !self.has(Checks::POISON) {
            return None;
        }
        let body = self.differs(self.object_at(), self.object_end() - 1, POISON);
        let end = || self.differs(self.object_end() - 1, self.object_end(), POISON_END);
        body.or_else(end).map(Fault::WrittenFree)
    }

    /// Makes a slot that was never used.
    fn make(&self) {
        self.set_state(State::Free);
        self.set_track(0, Track::NONE);
        self.set_track(1, Track::NONE);
        self.set_red_zones(ZONE_FREE);
        self.poison();
    }
}

impl<M: Machine> Slabs<M> {
    /// Writes free objects into the slots of a new slab.
    pub(crate) fn prepare(&self, record: &Record, slab: &Slab) {
        let slab = slab.name();
        if !record.setup.checks.is_off() {
            let all =
                (0..record.shape.words()).flat_map(|word| slab.objects(&record.shape, word, slab.word(word)));
            // SAFETY: these are the objects of this cache's new slab, which no other CPU knows yet.
            all.for_each(|object| unsafe { Slot::of(record, object) }.make());
        }
        self.set_memory_use(slab.start(), record.shape.slab_bytes(), MemoryUse::FreeObject);
    }

    pub(crate) fn alloc_checked(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        let start = self.take_slot(record, pinned, class)?;
        let slot = Slot { start, record };
        self.open(&slot);
        if slot.state() != Some(State::Free) {
            self.tell(&slot, Fault::WrittenFree(slot.state_at() as i32 - slot.object_at() as i32));
        }
        let zones = slot.red_zone_fault(ZONE_FREE);
        zones.or_else(|| slot.poison_fault()).into_iter().for_each(|fault| self.tell(&slot, fault));
        slot.set_red_zones(ZONE_OUT);
        let track = self.track_here(pinned);
        self.with_node(&slot, |slot| {
            slot.set_state(State::Out);
            slot.set_track(0, track);
        });
        self.close(&slot, MemoryUse::Allowed);
        Ok(slot.object())
    }

    /// Takes a free slot out of its slab.
    fn take_slot(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<Round, AllocError> {
        for _ in 0..ATTEMPTS {
            let slot = record.node(self.machine().irq_off(), self.node_of(pinned)).take_single(&record.shape);
            if let Some(slot) = slot {
                return Ok(slot);
            }
            if let Err(error) = self.grow(record, pinned, class) {
                return self.take_anywhere(record, pinned).ok_or(error);
            }
        }
        self.take_anywhere(record, pinned).ok_or(AllocError::Exhausted)
    }

    pub(crate) fn free_checked(&self, record: &'static Record, pinned: Pinned<'_>, object: Round) {
        let (slab, index) = match self.find(record, object) {
            Ok(found) => found,
            Err(fault) => return self.refuse(record, object, fault),
        };
        // SAFETY: `find` says that it is an object of this cache; its slab lives while the caller has not freed it.
        let slot = unsafe { Slot::of(record, object) };
        self.open(&slot);
        if slab.is_free(index) || matches!(slot.state(), Some(State::Free | State::Quarantined)) {
            self.tell(&slot, Fault::DoubleFree);
            return self.close(&slot, MemoryUse::FreeObject);
        }
        if slot.state() != Some(State::Out) {
            self.tell(&slot, Fault::RedZone(slot.state_at() as i32 - slot.object_at() as i32));
        } else if let Some(fault) = slot.red_zone_fault(ZONE_OUT) {
            self.tell(&slot, fault);
        }
        slot.set_track(1, self.track_here(pinned));
        slot.set_red_zones(ZONE_FREE);
        slot.poison();
        if !record.setup.checks.has(Checks::QUARANTINE) {
            self.with_node(&slot, |slot| slot.set_state(State::Free));
            self.close(&slot, MemoryUse::FreeObject);
            self.give_back_batch(record, pinned, &[object]);
            return;
        }
        self.with_node(&slot, |slot| slot.set_state(State::Quarantined));
        self.close(&slot, MemoryUse::FreeObject);
        self.quarantine(record, pinned, object);
    }

    fn quarantine(&self, record: &'static Record, pinned: Pinned<'_>, object: Round) {
        let has_ring = || record.quarantine.lock(self.machine().irq_off()).ring.is_some();
        if !has_ring()
            && let Some(ring) = self.new_magazine(pinned, Quarantine::MOST)
        {
            // Another CPU may have been quicker.
            let spare = {
                let mut quarantine = record.quarantine.lock(self.machine().irq_off());
                if quarantine.ring.is_none() { quarantine.ring.replace(ring) } else { Some(ring) }
            };
            spare.into_iter().for_each(|ring| self.end_magazine(pinned, ring));
        }
        let leaving = record.quarantine.lock(self.machine().irq_off()).exchange(object);
        if let Some(object) = leaving {
            self.leave_quarantine(record, pinned, object);
        }
    }

    fn leave_quarantine(&self, record: &'static Record, pinned: Pinned<'_>, object: Round) {
        // SAFETY: an object in quarantine is of this cache, and its slot is not free, so that its slab stays.
        let slot = unsafe { Slot::of(record, object) };
        self.open(&slot);
        if let Some(fault) = slot.poison_fault() {
            self.tell(&slot, fault);
            slot.poison();
        }
        self.with_node(&slot, |slot| slot.set_state(State::Free));
        self.close(&slot, MemoryUse::FreeObject);
        self.give_back_batch(record, pinned, &[object]);
    }

    /// Calls `write` with the lock of the slot's node held.
    fn with_node(&self, slot: &Slot<'_>, write: impl FnOnce(&Slot<'_>)) {
        let node = self
            .find(slot.record, slot.object())
            .map_or_else(|fault| impossible!("an object of a slab {}", fault => 0), |(slab, _)| slab.node());
        let _node = slot.record.node(self.machine().irq_off(), node);
        write(slot);
    }

    /// Lets all objects out of quarantine, and gives the ring back.
    pub(crate) fn end_quarantine(&self, record: &'static Record, pinned: Pinned<'_>) {
        loop {
            let next = record.quarantine.lock(self.machine().irq_off()).pop();
            let Some(object) = next else { break };
            self.leave_quarantine(record, pinned, object);
        }
        let ring = {
            let mut quarantine = record.quarantine.lock(self.machine().irq_off());
            if quarantine.count == 0 { quarantine.ring.take() } else { None }
        };
        ring.into_iter().for_each(|ring| self.end_magazine(pinned, ring));
    }

    fn track_here(&self, pinned: Pinned<'_>) -> Track {
        Track { site: (self.config.call_site)(), cpu: self.cpu(pinned), at_ns: self.machine().now_ns() }
    }

    /// Lets this crate look at a slot, where a checker of accesses watches.
    pub(crate) fn open(&self, slot: &Slot<'_>) {
        self.set_memory_use(slot.start, slot.record.shape.slot_bytes as usize, MemoryUse::Allowed);
    }

    /// Ends that: the object may be used as `object` says from here on, and the room around it by no code.
    pub(crate) fn close(&self, slot: &Slot<'_>, object: MemoryUse) {
        self.set_memory_use(slot.start, slot.record.shape.slot_bytes as usize, MemoryUse::RedZone);
        self.set_memory_use(slot.object(), slot.record.shape.object_bytes as usize, object);
    }

    fn tell(&self, slot: &Slot<'_>, fault: Fault) {
        let brief = Report::of(slot.record.setup.name, slot.object(), fault);
        let report = Report { allocated: slot.track(0), freed: slot.track(1), ..brief };
        self.report(Some(slot.record), &report);
    }
}
