//! Where a thread that has become ready goes: near its last CPU, and to an idle one if there is one near.
//!
//! The CPU on which the thread ran last has its data in its caches. CPUs with neighbouring numbers share caches and
//! nodes on most machines, so an idle CPU is looked for in the 64 CPUs around the last one, and only on its node: one
//! word to read. Where none is idle, the thread goes back to its last CPU, and balancing does the rest. A thread that may
//! not run there any more goes where a new one would.
//!
//! A real-time thread that starts, wakes or is preempted also goes where none of its priority or above runs or waits: to
//! the last CPU or one of its neighbours in a hypercube, or to one around the opposite corner, 22 loads at most.
//!
//! Each step takes constant time, whatever the number of CPUs and threads.

use rhumb_machine::mask::WORDS;
use rhumb_machine::{CpuId, MAX_CPUS, Pinned};
use rhumb_sync::atomic::{Relaxed, SeqCst};

use crate::kernel::Kernel;
use crate::policy::Policy;
use crate::scheduler::Scheduler;
use crate::thread::Thread;

/// Returns the CPUs whose numbers differ from `cpu`'s in one bit: nearest first, ten of 1,024.
pub(crate) fn neighbours(cpu: CpuId) -> impl Iterator<Item = CpuId> + Clone {
    let bits = MAX_CPUS.ilog2();
    (0..bits).filter_map(move |bit| CpuId::new(cpu.index() ^ 1 << bit))
}

impl<K: Kernel> Scheduler<K> {
    /// Returns the CPU for a thread that is ready.
    pub(crate) fn place(&self, thread: &Thread<K>, here: Pinned<'_>) -> CpuId {
        let last = thread.cpu();
        let fits = |cpu: CpuId| thread.may_run_on(cpu) && self.is_online(cpu);
        let load = self.per_cpu(last).load();
        if !fits(last) {
            return self.place_new(thread, here);
        }
        if load.rank == 0 {
            return last;
        }
        if let Some(idle) = self.idle_near(thread, last) {
            return idle;
        }
        self.less_urgent_near(thread, last).unwrap_or(last)
    }

    /// Returns the CPU for a thread that starts: an idle one near this CPU, or the least loaded of it, its neighbours, and
    /// one other CPU, which is the next one each time. So a CPU that starts many threads spreads them over all CPUs. Where
    /// the thread may not run on this CPU, it is the same around one of the thread's, the next one each time.
    pub(crate) fn place_new(&self, thread: &Thread<K>, here: Pinned<'_>) -> CpuId {
        let here = self.kernel.cpu_of(here);
        let fits = |cpu: CpuId| thread.may_run_on(cpu) && self.is_online(cpu);
        let starts = &self.per_cpu(here).starts;
        let turn = starts.get() as usize;
        let other = self.next_of(thread, (here.index() + 1 + turn) % self.kernel.cpu_count().max(1));
        let near = if fits(here) { here } else { other.unwrap_or(here) };
        starts.add(1);
        if let Some(cpu) = self.idle_near(thread, near).or_else(|| self.less_urgent_near(thread, near)) {
            return cpu;
        }
        let some = core::iter::once(near).chain(neighbours(near)).chain(other);
        let allowed = some.filter(|&cpu| fits(cpu));
        allowed.min_by_key(|&cpu| self.per_cpu(cpu).load().weight).unwrap_or(near)
    }

    /// Claims an idle CPU near `last`.
    fn idle_near(&self, thread: &Thread<K>, last: CpuId) -> Option<CpuId> {
        let word = last.word();
        let idle = &self.idle[word].0;
        let allowed = thread.affinity_word(word) & self.online_word(word);
        let mut left = idle.load(Relaxed) & allowed;
        let node = self.kernel.node_of(last);
        while left != 0 {
            // The next higher number first, so that threads of neighbours do not meet.
            let turned = left.rotate_right(last.bit().trailing_zeros());
            let bit = 1u64 << ((turned.trailing_zeros() + last.bit().trailing_zeros()) % u64::BITS);
            left &= !bit;
            let cpu = CpuId::new(word * u64::BITS as usize + bit.trailing_zeros() as usize)?;
            // A claim is one waker's: the next one finds another CPU.
            if self.kernel.node_of(cpu) == node && idle.fetch_and(!bit, SeqCst) & bit != 0 {
                return Some(cpu);
            }
        }
        None
    }

    /// Returns, for a real-time thread, the CPU near `last`, itself included, whose most urgent thread is least urgent, if
    /// that is less urgent; otherwise one around the opposite corner of the hypercube. These are all of up to eight CPUs.
    pub(crate) fn less_urgent_near(&self, thread: &Thread<K>, last: CpuId) -> Option<CpuId> {
        let policy = thread.effective_policy();
        if let Policy::Fair(_) = policy {
            return None;
        }
        let corners = self.kernel.cpu_count().next_power_of_two() - 1;
        let opposite = CpuId::new(last.index() ^ corners);
        [Some(last), opposite].into_iter().flatten().find_map(|middle| {
            let around = core::iter::once(middle).chain(neighbours(middle));
            let allowed = around.filter(|&cpu| thread.may_run_on(cpu) && self.is_online(cpu));
            let ranks = allowed.map(|cpu| (self.per_cpu(cpu).load().rank, cpu));
            let least = ranks.min_by_key(|&(rank, _)| rank)?;
            (least.0 < policy.rank()).then_some(least.1)
        })
    }

    /// Returns the first CPU, by number from `first` on and around, on which the thread may run.
    fn next_of(&self, thread: &Thread<K>, first: usize) -> Option<CpuId> {
        let bits = u64::BITS as usize;
        (0..=WORDS).find_map(|distance| {
            let word = (first / bits + distance) % WORDS;
            let mask = match distance {
                0 => u64::MAX << (first % bits),
                WORDS => !(u64::MAX << (first % bits)),
                _ => u64::MAX,
            };
            let allowed = thread.affinity_word(word) & self.online_word(word) & mask;
            let bit = (allowed != 0).then(|| allowed.trailing_zeros() as usize)?;
            CpuId::new(word * bits + bit)
        })
    }
}
