//! [`Rounds`]: flushes that meet are made together, in one round.
//!
//! ```text
//!   CPU 0: change ─> flush: leads ══ round of its own batch ══>  done
//!   CPU 1:    change ─> flush: adds its batch ─ ─ ─ waits ─ ─ ─> leads ══ one round of all that was added ══> done
//!   CPU 2:        change ─> flush: adds its batch ─ ─ ─ waits ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─> done
//! ```
//!
//! One CPU at a time makes a round: it *leads*. Other CPUs that flush meanwhile add their batches to those *gathered*
//! for the next round, and wait. As soon as the leader is done, one of the waiting CPUs leads, and its round is for all
//! batches gathered until then. So any number of CPUs that flush at once make two rounds, and each CPU is interrupted
//! twice, not once for each CPU that flushes. Each waits for two rounds at most: the one that is under way, and one
//! more.
//!
//! **Why the flush of another CPU will do** (I6). A CPU adds its batch after it has changed the entries, and the leader
//! takes the gathered batches under the same lock. So the changes happen before everything that the leader does next:
//! it looks up the running CPUs, marks the lazy ones, and interrupts the others. That is the order of
//! [`FlushBatch::flush`], with the two halves on two CPUs. The leader stores the number of its round in `over` after
//! all CPUs have answered, and a CPU that waits goes on only when it reads that number.
//!
//! **No deadlock.** A CPU that waits answers calls, the leader's among them. An interrupt handler that flushes on the
//! leading CPU makes a round of its own, because the leader cannot go on before the handler ends. A handler on a
//! waiting CPU adds its batch and waits, or leads, like any other code. A CPU that flushes must hold no lock for which
//! an interrupt handler waits, because the handler may have interrupted the leader.
//!
//! **A panic ends no round.** Where tests catch a panic of the leader, the leader leads permanently. A CPU whose wait
//! panics keeps its batch, so that no memory is reused on the strength of a round that has only begun.
//!
//! A CPU that flushes alone pays one locked exchange more. Source: group commit (D. Gawlick and D. Kinkade, "Varieties
//! of Concurrency Control in IMS/VS Fast Path", 1985).

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
    /// The identity of the machine: these rounds flush no CPUs of another one.
    machine: u32,
    /// The index of the CPU that leads, or [`NONE`].
    leader: AtomicU32,
    /// How many batches are gathered. Written under the lock of `next`.
    gathered: AtomicU32,
    /// The number of the last round of gathered batches that is over. Written by the leader.
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
        /// Makes the rounds of the machine with this [identity](rhumb_machine::Machine::identity).
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

    /// Returns how many batches wait for the next round. The number may have changed since.
    pub fn gathered(&self) -> u32 {
        self.gathered.load(Relaxed)
    }

    /// Returns the CPU that leads, for reports. Another may lead by now.
    pub fn leader(&self) -> Option<CpuId> {
        CpuId::new(self.leader.load(Relaxed) as usize)
    }

    /// Flushes the pages of `batch` on every CPU that may have them cached, and empties the batch: as
    /// [`FlushBatch::flush`] does, or by the round of another CPU. While the caller waits for such a round, it calls
    /// `wait` again and again, which must answer the calls of other CPUs.
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

    /// Adds `batch` to the next round, and waits until that round is over, or leads it.
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
        // The caller's batch is emptied last, because `wait` or this CPU's own round may panic before.
        let mut round = FlushBatch::new();
        while self.over.load(Acquire) < number {
            // The load comes first, because an exchange takes the line from the leader even where it fails.
            if self.leader.load(Relaxed) != NONE || !self.lead(here) {
                wait();
                continue;
            }
            let made = self.make(&mut round, machine, pinned);
            // The round is empty if another CPU has led since the look at `over`, and has taken this CPU's batch.
            if !made.was_empty() {
                stats = made;
            }
        }
        batch.clear();
        stats
    }

    /// Makes this CPU the leader, unless another leads. Tells whether it leads.
    fn lead(&self, here: u32) -> bool {
        self.leader.compare_exchange(NONE, here, Acquire, Relaxed).is_ok()
    }

    /// Makes a round of `batch` and of all gathered batches. This CPU leads, and stops leading at the end.
    fn make<M>(&self, batch: &mut FlushBatch, machine: &M, pinned: Pinned<'_>) -> FlushStats
    where
        M: Tlb,
    {
        // A batch that is gathered after this look is for the next leader: its own CPU leads if no other does.
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
