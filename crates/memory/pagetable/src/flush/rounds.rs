//! [`Rounds`]: flushes that meet are made together, in one round.
//!
//! ```text
//!   CPU 0: change ─> flush: leads ══ round of its own batch ══>  done
//!   CPU 1:    change ─> flush: adds its batch ─ ─ ─ waits ─ ─ ─> leads ══ one round of all that was added ══> done
//!   CPU 2:        change ─> flush: adds its batch ─ ─ ─ waits ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─> done
//! ```
//!
//! One CPU at a time makes a round: it leads. The others that come meanwhile add their batches to what is gathered, and
//! wait. As soon as the leader is done, one of them leads, and its round is for all that was gathered until then. So any
//! number of CPUs that flush at once make two rounds, and each CPU is interrupted twice, not once for each of them. Each
//! waits for two rounds at most: the one that is under way, and one more.
//!
//! **Why the flush of another CPU will do** (I6). A CPU adds its batch after it has changed the entries. The leader takes
//! what is gathered under the same lock, so the changes happen before all that it does then: it looks at who runs, marks
//! lazy CPUs, interrupts the others. That is the order of [`FlushBatch::flush`], with the two halves on two CPUs. The
//! number of the round is counted as over after all have answered, and the CPU that waits reads that number.
//!
//! **No deadlock.** A CPU that waits answers calls, that of the leader among them. An interrupt handler that flushes may
//! have interrupted the leader itself, which cannot go on before the handler ends: so it makes a round of its own. One
//! that has interrupted a CPU that waits is a CPU that waits, or leads, like any other. A CPU that flushes holds no lock
//! for which an interrupt handler waits, because the handler may have interrupted the leader.
//!
//! **A panic ends no round.** Where tests catch it, the leader leads permanently, and a CPU that stops waiting keeps its
//! batch: no memory is reused because a round has begun.
//!
//! Alone, a CPU pays one locked exchange. Source: group commit (D. Gawlick and D. Kinkade, "Varieties of Concurrency
//! Control in IMS/VS Fast Path", 1985).

use rhumb_machine::{CpuId, Pinned, Tlb};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::flush::batch::FlushBatch;
use crate::flush::stats::FlushStats;

/// No CPU leads.
const NONE: u32 = u32::MAX;

/// The rounds of flushes of one machine.
#[derive(Debug)]
pub struct Rounds {
    /// The machine: CPUs of another one get no flush by these rounds.
    machine: u32,
    /// The CPU that makes a round.
    leader: AtomicU32,
    /// Batches that are gathered.
    gathered: AtomicU32,
    /// The number of the last round of gathered batches that is over.
    over: AtomicU64,
    next: Lock<Next>,
}

/// The next round of gathered batches.
#[derive(Debug)]
struct Next {
    batch: FlushBatch,
    number: u64,
}

impl Rounds {
    rhumb_sync::const_fn! {
        /// Makes the rounds of the machine of that [identity](rhumb_machine::Machine::identity).
        pub fn new(machine: u32) -> Self {
            Self {
                machine,
                leader: AtomicU32::new(NONE),
                gathered: AtomicU32::new(0),
                over: AtomicU64::new(0),
                next: Lock::new(Next { batch: FlushBatch::new(), number: 1 }),
            }
        }
    }

    /// Returns how many batches wait for the next round, which may have changed since.
    pub fn gathered(&self) -> u32 {
        self.gathered.load(Relaxed)
    }

    /// Returns the CPU that makes a round, for reports: it may have changed since.
    pub fn leader(&self) -> Option<CpuId> {
        CpuId::new(self.leader.load(Relaxed) as usize)
    }

    /// Drops `batch` on every CPU that may hold a translation, and empties it: as [`FlushBatch::flush`] does, or by the
    /// round of another CPU. Calls `wait` again and again while it waits for that, which answers calls of other CPUs.
    ///
    /// # Panics
    /// If the token is another machine's.
    ///
    /// Cost: that of [`FlushBatch::flush`], and a locked exchange. Where another CPU makes a round: a lock, the rest of
    /// that round, and one more.
    pub(crate) fn flush<M>(
        &self,
        batch: &mut FlushBatch,
        machine: &M,
        pinned: Pinned<'_>,
        wait: impl FnMut(),
    ) -> FlushStats
    where
        M: Tlb,
    {
        if batch.is_empty() {
            return FlushStats::NOTHING;
        }
        let here = machine.cpu_of(pinned).index() as u32;
        if machine.identity() != self.machine {
            return batch.flush(machine, pinned);
        }
        if self.lead(here) {
            return self.make(batch, machine, pinned);
        }
        if self.leader.load(Relaxed) == here {
            return batch.flush(machine, pinned);
        }
        self.share(batch, machine, pinned, wait)
    }

    /// Adds `batch` to the next round, and waits until that is over, or makes it.
    #[cold]
    #[inline(never)]
    fn share<M>(
        &self,
        batch: &mut FlushBatch,
        machine: &M,
        pinned: Pinned<'_>,
        mut wait: impl FnMut(),
    ) -> FlushStats
    where
        M: Tlb,
    {
        let here = machine.cpu_of(pinned).index() as u32;
        // The interrupts are in the figures of the CPU that makes the round.
        let mut stats = FlushStats {
            pages: batch.pages(),
            full: batch.is_full_flush(),
            shared: true,
            ..FlushStats::NOTHING
        };
        let number = {
            let guard = machine.irq_off();
            let mut next = self.next.lock(guard.irq_off());
            next.batch.add_all(batch);
            self.gathered.fetch_add(1, Relaxed);
            next.number
        };
        // The caller's batch is emptied last: `wait` may panic, and this CPU's round, too.
        let mut round = FlushBatch::new();
        while self.over.load(Acquire) < number {
            // Only a look at a free lead is worth taking the line from the leader.
            if self.leader.load(Relaxed) != NONE || !self.lead(here) {
                wait();
                continue;
            }
            let made = self.make(&mut round, machine, pinned);
            // Nothing may be left to do: another CPU has led before this one.
            if !made.was_empty() {
                stats = made;
            }
        }
        batch.clear();
        stats
    }

    /// Tells whether this CPU leads from now on: if no other does.
    fn lead(&self, here: u32) -> bool {
        self.leader.compare_exchange(NONE, here, Acquire, Relaxed).is_ok()
    }

    /// Makes a round of `batch` and of all that is gathered. This CPU leads, and does not any more afterwards.
    fn make<M>(&self, batch: &mut FlushBatch, machine: &M, pinned: Pinned<'_>) -> FlushStats
    where
        M: Tlb,
    {
        // A batch that is not seen here is seen by the next leader, which its own CPU is at the latest.
        let number = (self.gathered() > 0).then(|| {
            let guard = machine.irq_off();
            let mut next = self.next.lock(guard.irq_off());
            batch.add_all(&next.batch);
            next.batch.clear();
            self.gathered.store(0, Relaxed);
            next.number += 1;
            next.number - 1
        });
        let stats = batch.flush(machine, pinned);
        if let Some(number) = number {
            self.over.store(number, Release);
        }
        self.leader.store(NONE, Release);
        stats
    }
}
