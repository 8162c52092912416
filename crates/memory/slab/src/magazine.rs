//! Magazines, and what a CPU keeps of a cache: a loaded magazine and the one before it. The common path; a leaf where
//! `unsafe` lives.
//!
//! Only the CPU itself touches its line; the [`rhumb_machine::Pinned`] token of the caller proves that. The accesses
//! are relaxed atomics, which are plain instructions: no locked operation, no shared line, and the object itself is not
//! touched. A [`CpuGate`] keeps interrupt handlers out of an operation's middle: a handler that finds the gate busy
//! goes to the slabs, whose locks are taken with interrupts off only. Other CPUs ask for the magazines through the same
//! gate.
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
    /// Rounds in it, while it is not loaded.
    count: u32,
    /// Rounds that it may hold.
    room: u32,
}

/// A magazine: memory of this crate's own. It is moved, not copied: its holder is the only one.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "the memory of a magazine that is dropped is lost"]
pub(crate) struct Magazine(NonNull<Head>);

// SAFETY: it owns the memory, which has no CPU.
unsafe impl Send for Magazine {}

/// An object's address in a magazine.
pub(crate) type Round = NonNull<u8>;

impl Magazine {
    /// Bytes of a magazine for so many rounds.
    pub(crate) const fn bytes_for(room: u32) -> usize {
        size_of::<Head>() + room as usize * size_of::<Round>()
    }

    /// Returns an empty magazine for `room` rounds in `cell`.
    ///
    /// # Safety
    /// The cell is the caller's alone, and has [`Magazine::bytes_for`] them.
    pub(crate) unsafe fn place(cell: NonNull<u8>, room: u32) -> Self {
        let head = cell.cast::<Head>();
        // SAFETY: the caller's promise; cells are aligned to their size.
        unsafe { head.write(Head { next: None, count: 0, room }) };
        Self(head)
    }

    pub(crate) const fn cell(&self) -> NonNull<u8> {
        self.0.cast()
    }

    /// Rounds that it may hold.
    pub(crate) fn room(&self) -> u32 {
        // SAFETY: written when it was placed, and never again.
        unsafe { (*self.0.as_ptr()).room }
    }

    /// Bytes of its cell.
    pub(crate) fn bytes(&self) -> usize {
        Self::bytes_for(self.room())
    }

    const fn rounds(&self) -> *mut Round {
        // SAFETY: the rounds follow the header in the same cell.
        unsafe { self.0.as_ptr().add(1).cast() }
    }

    /// Takes the magazine whose rounds these are; none where they are null.
    ///
    /// # Safety
    /// They are what [`Magazine::rounds`] made of a magazine that nothing holds.
    const unsafe fn from_rounds(rounds: *mut Round) -> Option<Self> {
        if rounds.is_null() {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(Self(unsafe { NonNull::new_unchecked(rounds.cast::<Head>().sub(1)) }))
    }

    pub(crate) fn count(&self) -> u32 {
        // SAFETY: the magazine is the holder's.
        unsafe { (*self.0.as_ptr()).count }
    }

    pub(crate) fn set_count(&mut self, count: u32) {
        // SAFETY: as above.
        unsafe { (*self.0.as_ptr()).count = count }
    }

    pub(crate) fn take_next(&mut self) -> Option<Self> {
        // SAFETY: as above.
        unsafe { (*self.0.as_ptr()).next.take() }
    }

    pub(crate) fn set_next(&mut self, next: Option<Self>) {
        // SAFETY: as above.
        unsafe { (*self.0.as_ptr()).next = next }
    }

    /// Returns the `index`-th round; the caller knows that it is below the count.
    pub(crate) fn round(&self, index: u32) -> Round {
        // SAFETY: rounds below the count are written; the magazine is the holder's.
        unsafe { self.rounds().add(index as usize).read() }
    }

    /// Sets the `index`-th round; the caller knows that there is room for it.
    pub(crate) fn set_round(&mut self, index: u32, round: Round) {
        // SAFETY: there is room; the magazine is the holder's.
        unsafe { self.rounds().add(index as usize).write(round) };
    }

    /// Adds a round; the caller knows that there is room.
    pub(crate) fn push(&mut self, round: Round) {
        let count = self.count();
        self.set_round(count, round);
        self.set_count(count + 1);
    }
}

/// A CPU's part of one cache: a line of its own.
#[repr(C, align(64))]
pub(crate) struct CpuLine {
    /// The rounds of the loaded magazine; null where there is none, and then count and cap are 0 (or the cap is
    /// negative). While magazines are exchanged, the cap is still that of the old one.
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
            // SAFETY: rounds below the count are written, and the loaded magazine is this CPU's alone.
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
                // SAFETY: the cap is at most the rounds of the loaded magazine, which is this CPU's alone.
                unsafe { self.rounds.load(Relaxed).add(count as usize).write(object) };
                self.count.store(count + 1, Relaxed);
            }
            fits
        });
        kept == Some(true)
    }

    // From here on: with interrupts off, on this CPU, the gate not being busy.

    pub(crate) fn is_loaded(&self) -> bool {
        !self.rounds.load(Relaxed).is_null()
    }

    /// Objects in both magazines; exact on this CPU, a glimpse on others.
    pub(crate) fn objects(&self) -> u32 {
        self.count.load(Relaxed) + self.behind.load(Relaxed)
    }

    /// Counts a magazine that was filled or exchanged, and says how many there have been.
    pub(crate) fn count_exchange(&self) -> u32 {
        let exchanges = self.exchanges.load(Relaxed).wrapping_add(1);
        self.exchanges.store(exchanges, Relaxed);
        exchanges
    }

    /// Takes the count, which begins anew. From any CPU: one that is counted meanwhile may undo this, which does no
    /// harm.
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
    /// Until then the cap promises room that there is not. No object is kept meanwhile: only this CPU keeps any here, it
    /// is in the caller, and no handler of its own comes in between, because interrupts are off. (The gate is not busy,
    /// so that no operation that was interrupted goes on with the old magazine afterwards.) Other CPUs only put their
    /// request in the cap's place, which [`CpuGate::bound`] leaves alone.
    fn take_loaded(&self) -> Option<Magazine> {
        // SAFETY: `load` stored them and kept no handle; they are taken out of the line below.
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

    /// Loads `magazine` in the place of none.
    pub(crate) fn load(&self, magazine: Magazine) {
        self.rounds.store(magazine.rounds(), Relaxed);
        self.count.store(magazine.count(), Relaxed);
        self.bound();
    }

    /// Sets the limit to the room of the loaded magazine, unless another CPU wants what is in it.
    pub(crate) fn bound(&self) {
        // SAFETY: the loaded magazine is this CPU's, and the handle is dropped without its being taken out.
        let loaded = unsafe { Magazine::from_rounds(self.rounds.load(Relaxed)) };
        self.gate.bound(loaded.map_or(0, |loaded| loaded.room()));
    }

    /// Tells whether there is any magazine.
    pub(crate) fn has_magazines(&self) -> bool {
        self.is_loaded() || self.has_previous()
    }

    /// Tells whether there is a magazine behind the loaded one.
    pub(crate) fn has_previous(&self) -> bool {
        !self.previous.load(Relaxed).is_null()
    }

    /// Objects in the magazine behind the loaded one.
    pub(crate) fn behind(&self) -> u32 {
        self.behind.load(Relaxed)
    }

    /// Puts `magazine` behind the loaded one, and returns what was there.
    pub(crate) fn set_previous(&self, magazine: Option<Magazine>) -> Option<Magazine> {
        // SAFETY: this function stored them and kept no handle; they are replaced below.
        let before = unsafe { Magazine::from_rounds(self.previous.load(Relaxed)) };
        let rounds = magazine.as_ref().map_or(core::ptr::null_mut(), Magazine::rounds);
        self.previous.store(rounds, Relaxed);
        self.behind.store(magazine.map_or(0, |magazine| magazine.count()), Relaxed);
        before
    }

    /// Loads the magazine behind the loaded one, and the loaded one takes its place.
    pub(crate) fn swap(&self) {
        match self.set_previous(self.take_loaded()) {
            Some(previous) => self.load(previous),
            None => self.bound(),
        }
    }

    /// Puts a magazine back that was taken out, in the place of none; returns it where there is none.
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
