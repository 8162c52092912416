//! [`Ring`]: the newest records of a CPU, in slots of 256 bytes.
//!
//! ```text
//!  head = 9      tickets 5 6 7 8 are kept; ticket t lies in slot t mod 4
//!  +----------+----------+----------+----------+
//!  | ticket 8 | ticket 5 | ticket 6 | ticket 7 |
//!  +----------+----------+----------+----------+
//!  slot: | sequence | time | cpu, level, lengths | target and text ... |
//!        sequence: 0 never written, 2t+1 ticket t is being written, 2t+2 ticket t is whole
//! ```
//!
//! Writing takes a ticket (one `fetch_add`), claims the slot (one compare-and-swap to an odd sequence), stores words,
//! and gives the slot an even sequence. No step waits. A CPU normally writes only to its own ring, but a handler (an
//! interrupt, an NMI, the panic report) may cut in between any two steps of a writer on the same CPU, and early in
//! boot CPUs share a ring. These rules hold then:
//! - Two writers never store to one slot at the same time: a writer that finds it claimed, or newer than its own
//!   ticket, takes the next ticket, and the record that would have lain there is counted as skipped. A handler meets a
//!   claimed slot only when it has logged a whole ring's worth.
//! - A reader sees a record whole or not at all: it reads the sequence before and after the words. Fences pair as in
//!   H. Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012): if a reader saw any word
//!   of a later writer, its second look sees that writer's sequence.
//!
//! Words are atomic, so all of this is safe code; on x86-64 a relaxed store is a plain store.
//!
//! Why not slots of the record's own length: a reader that lost its place could not find the next record again, and a
//! handler would have to skip over a record whose length is not written yet.

use rhumb_machine::impossible;

use crate::record::{HEAD_WORDS, PAYLOAD_WORDS, Record};
use rhumb_sync::atomic::{AtomicU64, IS_MODELLED, Ordering, fence};

/// How many slots a writer tries before it gives its record up. Two claimed in a row means that writers are cut short
/// all around the ring.
const TRIES: usize = 4;

/// Room for a record. Memory of zeros is an empty slot.
#[repr(C, align(64))]
pub struct Slot {
    sequence: AtomicU64,
    head: [AtomicU64; HEAD_WORDS],
    payload: [AtomicU64; PAYLOAD_WORDS],
}

const _: () = assert!(IS_MODELLED || size_of::<Slot>() == 256);

impl Slot {
    rhumb_sync::const_fn! {
        /// Makes an empty slot.
        pub fn new() -> Self {
            Self {
                sequence: AtomicU64::new(0),
                head: rhumb_sync::atomics!(AtomicU64::new(0)),
                payload: rhumb_sync::atomics!(AtomicU64::new(0)),
            }
        }
    }

    /// Claims the slot for `ticket`, unless a CPU is writing it or a later ticket has it.
    fn claim(&self, ticket: u64) -> bool {
        let found = self.sequence.load(Ordering::Relaxed);
        if found % 2 == 1 || found > writing(ticket) {
            return false;
        }
        // Acquire: the words of the writer before lie behind us.
        let claimed =
            self.sequence.compare_exchange(found, writing(ticket), Ordering::Acquire, Ordering::Relaxed);
        // Release: a reader that sees a word of ours sees our claim.
        fence(Ordering::Release);
        claimed.is_ok()
    }

    fn store(&self, record: &Record) {
        for (word, value) in self.head.iter().zip(record.head_words()) {
            word.store(value, Ordering::Relaxed);
        }
        for (word, value) in self.payload.iter().zip(record.payload_words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Does `look` while the slot holds `ticket` whole, and answers what it saw if it does so to the end.
    fn read<T>(&self, ticket: u64, look: impl FnOnce(&Self) -> T) -> Result<T, Absent> {
        match self.sequence.load(Ordering::Acquire) {
            sequence if sequence < whole(ticket) => return Err(Absent::Unfinished),
            sequence if sequence > whole(ticket) => return Err(Absent::Overwritten),
            _ => {}
        }
        let seen = look(self);
        // Acquire: had we seen a later writer's word, we would see its claim below.
        fence(Ordering::Acquire);
        if self.sequence.load(Ordering::Relaxed) == whole(ticket) {
            Ok(seen)
        } else {
            Err(Absent::Overwritten)
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

const fn writing(ticket: u64) -> u64 {
    2 * ticket + 1
}

const fn whole(ticket: u64) -> u64 {
    2 * ticket + 2
}

/// Why there is no record for a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// It is not (or not yet) written, or its writer found no room.
    Unfinished,
    /// A later record lies in its slot.
    Overwritten,
}

/// The newest records that were written to it.
pub struct Ring<'memory> {
    slots: &'memory [Slot],
    /// The next ticket.
    head: AtomicU64,
    /// Records that found no room.
    skipped: AtomicU64,
}

impl<'memory> Ring<'memory> {
    rhumb_sync::const_fn! {
        /// Makes a ring that keeps as many records as there are slots; with none, it keeps nothing.
        pub fn new(slots: &'memory [Slot]) -> Self {
            Self { slots, head: AtomicU64::new(0), skipped: AtomicU64::new(0) }
        }
    }

    /// Keeps `record`. From any context; never waits. Cost: two locked instructions and up to 256 bytes of stores.
    pub fn write(&self, record: &Record) {
        for _ in 0..TRIES {
            let ticket = self.head.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = self.slot(ticket) else { break };
            if slot.claim(ticket) {
                slot.store(record);
                slot.sequence.store(whole(ticket), Ordering::Release);
                return;
            }
        }
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the record of `ticket`. From any context, on any CPU.
    pub fn read(&self, ticket: u64) -> Result<Record, Absent> {
        let slot = self.slot(ticket).ok_or(Absent::Overwritten)?;
        let seen = slot.read(ticket, |slot| {
            let [time_ns, small] = &slot.head;
            let head = [time_ns.load(Ordering::Relaxed), small.load(Ordering::Relaxed)];
            Record::from_words(head, |index| slot.payload[index].load(Ordering::Relaxed))
        })?;
        seen.ok_or_else(|| impossible!("a whole record is one that `write` stored" => Absent::Overwritten))
    }

    /// Returns the time of the record of `ticket`.
    pub fn time_ns(&self, ticket: u64) -> Result<u64, Absent> {
        let slot = self.slot(ticket).ok_or(Absent::Overwritten)?;
        slot.read(ticket, |slot| slot.head[0].load(Ordering::Relaxed))
    }

    /// Returns the tickets that may be kept: the oldest, and one past the newest.
    pub fn tickets(&self) -> core::ops::Range<u64> {
        let head = self.head.load(Ordering::Acquire);
        head.saturating_sub(self.slots.len() as u64)..head
    }

    /// Returns how many records were written but are gone: overwritten by later ones, or without room. A ticket that a
    /// writer passed over, since its slot was claimed, counts as a record: the figure is exact unless a handler has
    /// logged a whole ring's worth in the middle of another record.
    pub fn lost(&self) -> u64 {
        self.tickets().start + self.skipped.load(Ordering::Relaxed)
    }

    /// Claims a slot and never finishes it: a writer whose CPU stopped in the middle.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn abandon(&self) {
        self.begin();
    }

    /// Claims a slot, for [`Ring::finish`]: a writer in the middle. Returns the ticket.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn begin(&self) -> u64 {
        let ticket = self.head.fetch_add(1, Ordering::Relaxed);
        let is_claimed = self.slot(ticket).is_some_and(|slot| slot.claim(ticket));
        assert!(is_claimed);
        ticket
    }

    /// Writes `record` into the slot that [`Ring::begin`] claimed.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn finish(&self, ticket: u64, record: &Record) {
        let slot = self.slot(ticket).unwrap();
        slot.store(record);
        slot.sequence.store(whole(ticket), Ordering::Release);
    }

    fn slot(&self, ticket: u64) -> Option<&Slot> {
        self.slots.get((ticket % self.slots.len().max(1) as u64) as usize)
    }
}
