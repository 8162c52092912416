//! Magazines, and what a CPU keeps of a cache: a loaded magazine and the one before it. The common path; a leaf where
//! `unsafe` lives.
//!
//! Only the CPU itself touches its line, as the [`rhumb_machine::Pinned`] token of the caller proves. The accesses are
//! relaxed atomics, which are plain instructions: no locked operation, no shared line, and no byte of the object. A
//! [`CpuGate`] keeps interrupt handlers out of an operation's middle: a handler that finds the gate busy goes to the
//! slabs, whose locks are taken with interrupts off only. Other CPUs ask for the magazines through the same gate.
//!
//! ```text
//!   line:      | rounds* | count | gate: limit, busy | previous* | objects in previous | exchanges |
//!   magazine:  | next* | count | room | round 0 | round 1 | ... |
//! ```

use core::ptr::NonNull;

use arrayvec::ArrayVec;

use rhumb_sync::CpuGate;
use rhumb_sync::atomic::{AtomicPtr, AtomicU32, Relaxed};

#[repr(C)]
struct Head {
    next: Option<Magazine>,
    /// The rounds in it, while it is not loaded.
    count: u32,
    /// The rounds that it may hold.
    room: u32,
}

/// A magazine: memory of this crate's own. The value is moved, not copied, so that each magazine has one holder.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "the memory of a magazine that is dropped is lost"]
pub(crate) struct Magazine(NonNull<Head>);

// SAFETY: a magazine owns its memory, which any CPU can reach, and a CPU uses it only as its holder.
unsafe impl Send for Magazine {}

/// An object's address in a magazine.
pub(crate) type Round = NonNull<u8>;

impl Magazine {
    /// Returns how many bytes a magazine for so many rounds takes.
    pub(crate) const fn bytes_for(room: u32) -> usize {
        size_of::<Head>() + room as usize * size_of::<Round>()
    }

    /// Returns an empty magazine for `room` rounds in `cell`.
    ///
    /// # Safety
    /// The cell is the caller's alone, is aligned to 8, and has [`Magazine::bytes_for`] `room` rounds.
    pub(crate) unsafe fn place(cell: NonNull<u8>, room: u32) -> Self {
        let head = cell.cast::<Head>();
        // SAFETY: the caller promises that the cell is its own, large enough for a header, and aligned.
        unsafe { head.write(Head { next: None, count: 0, room }) };
        Self(head)
    }

    /// Returns the memory that it was placed in.
    pub(crate) const fn cell(&self) -> NonNull<u8> {
        self.0.cast()
    }

    const fn head(&self) -> &Head {
        // SAFETY: `place` wrote the header, and its memory belongs to the magazine's one holder, which lends it here.
        unsafe { self.0.as_ref() }
    }

    const fn head_mut(&mut self) -> &mut Head {
        // SAFETY: `place` wrote the header, and its memory belongs to the magazine's one holder, which lends it
        // exclusively here.
        unsafe { self.0.as_mut() }
    }

    /// Returns how many rounds it may hold.
    pub(crate) const fn room(&self) -> u32 {
        self.head().room
    }

    /// Returns how many bytes its cell has.
    pub(crate) const fn bytes(&self) -> usize {
        Self::bytes_for(self.room())
    }

    const fn rounds(&self) -> *mut Round {
        // SAFETY: the rounds follow the header in the same cell.
        unsafe { self.0.as_ptr().add(1).cast() }
    }

    /// Takes the magazine whose rounds these are; none where they are null.
    ///
    /// # Safety
    /// They are the [`Magazine::rounds`] of a magazine that nothing holds.
    const unsafe fn from_rounds(rounds: *mut Round) -> Option<Self> {
        if rounds.is_null() {
            return None;
        }
        // SAFETY: the caller promises that these are a magazine's rounds, and its header lies before them in one cell.
        Some(Self(unsafe { NonNull::new_unchecked(rounds.cast::<Head>().sub(1)) }))
    }

    pub(crate) const fn count(&self) -> u32 {
        self.head().count
    }

    pub(crate) const fn set_count(&mut self, count: u32) {
        self.head_mut().count = count;
    }

    pub(crate) const fn take_next(&mut self) -> Option<Self> {
        self.head_mut().next.take()
    }

    /// Links a magazine behind this one, which has none behind it.
    pub(crate) fn set_next(&mut self, next: Option<Self>) {
        self.head_mut().next = next;
    }

    /// Returns the `index`-th round, which the caller has set.
    pub(crate) fn round(&self, index: u32) -> Round {
        debug_assert!(index < self.room(), "round {index} of {}", self.room());
        // SAFETY: the caller has set the round, so it is within the room and written; the memory belongs to the
        // magazine's one holder, which lends it here.
        unsafe { self.rounds().add(index as usize).read() }
    }

    /// Sets the `index`-th round, for which the caller knows that there is room.
    pub(crate) fn set_round(&mut self, index: u32, round: Round) {
        debug_assert!(index < self.room(), "round {index} of {}", self.room());
        // SAFETY: the caller knows that the magazine has this round; the memory belongs to the magazine's one holder,
        // which lends it exclusively here.
        unsafe { self.rounds().add(index as usize).write(round) };
    }

    /// Adds a round, for which the caller knows that there is room.
    pub(crate) fn push(&mut self, round: Round) {
        let count = self.count();
        self.set_round(count, round);
        self.set_count(count + 1);
    }
}

/// A CPU's part of one cache: a line of its own.
#[repr(C, align(64))]
pub(crate) struct CpuLine {
    /// The rounds of the loaded magazine; null where there is none, and then the count is 0, and the cap is 0 or
    /// negative. While magazines are exchanged, the cap is still that of the old one.
    rounds: AtomicPtr<Round>,
    count: AtomicU32,
    /// Its cap is how many rounds the loaded magazine may hold; 0 or less sends the next free to the slow path.
    pub(crate) gate: CpuGate,
    previous: AtomicPtr<Round>,
    /// Objects in the previous magazine.
    behind: AtomicU32,
    /// Magazines filled or exchanged since they were counted last.
    exchanges: AtomicU32,
}

impl CpuLine {
    pub(crate) fn new() -> Self {
        let null = core::ptr::null_mut;
        Self {
            rounds: AtomicPtr::new(null()),
            count: AtomicU32::new(0),
            gate: CpuGate::new(),
            previous: AtomicPtr::new(null()),
            behind: AtomicU32::new(0),
            exchanges: AtomicU32::new(0),
        }
    }

    /// Takes the newest object, unless the magazine is empty or the CPU's own operation was interrupted.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Round> {
        let popped = self.gate.alone(|| {
            let left = self.count.load(Relaxed).checked_sub(1)?;
            self.count.store(left, Relaxed);
            // SAFETY: rounds below the count are written, and the loaded magazine is this CPU's alone: the gate keeps
            // this CPU's handlers away, and no other CPU touches it.
            Some(unsafe { self.rounds.load(Relaxed).add(left as usize).read() })
        });
        popped.flatten()
    }

    /// Keeps `object`, unless the magazine is full or the CPU's own operation was interrupted.
    #[inline(always)]
    pub(crate) fn push(&self, object: Round) -> bool {
        let kept = self.gate.alone(|| {
            let count = self.count.load(Relaxed);
            let fits = (count as i32) < self.gate.cap();
            if fits {
                // SAFETY: the cap is at most the room of the loaded magazine, which is this CPU's alone: the gate keeps
                // this CPU's handlers away, and no other CPU touches it.
                unsafe { self.rounds.load(Relaxed).add(count as usize).write(object) };
                self.count.store(count + 1, Relaxed);
            }
            fits
        });
        kept == Some(true)
    }

    // From here on: on this CPU, with interrupts off, while the gate is not busy.

    pub(crate) fn is_loaded(&self) -> bool {
        !self.rounds.load(Relaxed).is_null()
    }

    /// Returns how many objects are in both magazines: exact on this CPU, a glimpse on others.
    pub(crate) fn objects(&self) -> u32 {
        self.count.load(Relaxed) + self.behind.load(Relaxed)
    }

    /// Counts a magazine that was filled or exchanged, and says how many there have been.
    pub(crate) fn count_exchange(&self) -> u32 {
        let exchanges = self.exchanges.load(Relaxed).wrapping_add(1);
        self.exchanges.store(exchanges, Relaxed);
        exchanges
    }

    /// Takes the count, which begins anew. From any CPU: an exchange that is counted meanwhile may undo this, which
    /// does no harm.
    pub(crate) fn take_exchanges(&self) -> u32 {
        let exchanges = self.exchanges.load(Relaxed);
        self.exchanges.store(0, Relaxed);
        exchanges
    }

    /// Takes out the loaded magazine, its count set.
    pub(crate) fn unload(&self) -> Option<Magazine> {
        let magazine = self.take_loaded()?;
        self.gate.bound(0);
        Some(magazine)
    }

    /// Takes out the loaded magazine, its count set, and leaves the cap as it is, for a caller that sets the cap for
    /// another magazine next: a load where that one has as much room, instead of two locked operations.
    ///
    /// Until then the cap promises room that there is not. No object is kept meanwhile, because only this CPU keeps
    /// objects here, and it executes the caller: its interrupts are off, and a non-maskable interrupt's handler neither
    /// allocates nor frees. (The gate is not busy, so that no operation that was interrupted goes on with the old
    /// magazine afterwards.) Other CPUs only put their request in the cap's place, which [`CpuGate::bound`] leaves
    /// alone.
    fn take_loaded(&self) -> Option<Magazine> {
        // SAFETY: `load` stored the rounds and kept no handle to their magazine; they leave the line below.
        let mut magazine = unsafe { Magazine::from_rounds(self.rounds.load(Relaxed)) }?;
        magazine.set_count(self.count.load(Relaxed));
        self.count.store(0, Relaxed);
        self.rounds.store(core::ptr::null_mut(), Relaxed);
        Some(magazine)
    }

    /// Loads `magazine`; the loaded one moves behind it, and the one that was there is returned.
    pub(crate) fn exchange(&self, magazine: Magazine) -> Option<Magazine> {
        let before = self.set_previous(self.take_loaded());
        self.load(magazine);
        before
    }

    /// Loads `magazine` where none is loaded.
    pub(crate) fn load(&self, magazine: Magazine) {
        self.rounds.store(magazine.rounds(), Relaxed);
        self.count.store(magazine.count(), Relaxed);
        self.bound();
    }

    /// Sets the cap to the room of the loaded magazine, unless another CPU wants the magazine's objects.
    pub(crate) fn bound(&self) {
        // SAFETY: `load` stored the rounds and kept no handle; this one is forgotten before the magazine is taken out.
        let loaded = unsafe { Magazine::from_rounds(self.rounds.load(Relaxed)) };
        self.gate.bound(loaded.map_or(0, |loaded| loaded.room()));
    }

    /// Tells whether there is any magazine: exact on this CPU, a glimpse on others.
    pub(crate) fn has_magazines(&self) -> bool {
        self.is_loaded() || self.has_previous()
    }

    /// Tells whether there is a magazine behind the loaded one.
    pub(crate) fn has_previous(&self) -> bool {
        !self.previous.load(Relaxed).is_null()
    }

    /// Returns how many objects are in the magazine behind the loaded one.
    pub(crate) fn behind(&self) -> u32 {
        self.behind.load(Relaxed)
    }

    /// Puts `magazine` behind the loaded one, and returns what was there.
    pub(crate) fn set_previous(&self, magazine: Option<Magazine>) -> Option<Magazine> {
        // SAFETY: this function stored the rounds and kept no handle to their magazine; they are replaced below.
        let before = unsafe { Magazine::from_rounds(self.previous.load(Relaxed)) };
        let rounds = magazine.as_ref().map_or(core::ptr::null_mut(), Magazine::rounds);
        self.previous.store(rounds, Relaxed);
        self.behind.store(magazine.map_or(0, |magazine| magazine.count()), Relaxed);
        before
    }

    /// Exchanges the loaded magazine and the one behind it.
    pub(crate) fn swap(&self) {
        match self.set_previous(self.take_loaded()) {
            Some(previous) => self.load(previous),
            None => self.bound(),
        }
    }

    /// Puts back a magazine that was taken out, or returns it where both places are taken or the gate is busy.
    pub(crate) fn restore(&self, magazine: Magazine) -> Option<Magazine> {
        if self.gate.is_busy() {
            return Some(magazine);
        }
        if !self.is_loaded() {
            self.load(magazine);
            return None;
        }
        if self.has_previous() { Some(magazine) } else { self.set_previous(Some(magazine)) }
    }

    /// Takes out both magazines.
    pub(crate) fn take_all(&self) -> ArrayVec<Magazine, 2> {
        [self.unload(), self.set_previous(None)].into_iter().flatten().collect()
    }
}
