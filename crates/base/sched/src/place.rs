//! Where a thread that has become ready goes: near its last CPU, and to an idle one if there is one near.
//!
//! The CPU on which the thread ran last has its data in its caches. CPUs with neighbouring numbers share caches and
//! nodes on most machines, so an idle CPU is looked for in the 64 CPUs around the last one, and only on its node: one
//! word to read. Where none is idle, the thread goes back to its last CPU, and balancing does the rest. A real-time
//! thread also goes where a less urgent thread runs, of the last CPU's neighbours in a hypercube: ten loads at most.
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
        if load.running == 0 && load.waiting == 0 && fits(last) {
            return last;
        }
        if let Some(idle) = self.idle_near(thread, last) {
            return idle;
        }
        if let Policy::RealTime(..) = thread.effective_policy()
            && let Some(cpu) = self.less_urgent_near(thread, last)
        {
            return cpu;
        }
        let here = self.kernel.cpu_of(here);
        let or_here = [last, here].into_iter().find(|&cpu| fits(cpu));
        or_here.or_else(|| self.any_of(thread)).unwrap_or(here)
    }

    /// Returns the CPU for a thread that starts: an idle one near this CPU, or the least loaded of it, its neighbours, and
    /// one other CPU, which is the next one each time. So a CPU that starts many threads spreads them over all CPUs.
    pub(crate) fn place_new(&self, thread: &Thread<K>, here: Pinned<'_>) -> CpuId {
        let here = self.kernel.cpu_of(here);
        if let Some(idle) = self.idle_near(thread, here) {
            return idle;
        }
        let starts = &self.per_cpu(here).starts;
        starts.add(1);
        let other = (here.index() + starts.get() as usize) % self.kernel.cpu_count().max(1);
        let near = core::iter::once(here).chain(neighbours(here)).chain(CpuId::new(other));
        let allowed = near.filter(|&cpu| thread.may_run_on(cpu) && self.is_online(cpu));
        let least = allowed.min_by_key(|&cpu| self.per_cpu(cpu).load().weight);
        least.or_else(|| self.any_of(thread)).unwrap_or(here)
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

    /// Returns the CPU near `last`, itself included, that runs the least urgent thread, if that is less urgent.
    fn less_urgent_near(&self, thread: &Thread<K>, last: CpuId) -> Option<CpuId> {
        let urgency = thread.effective_policy().urgency().get() + 1;
        let near = core::iter::once(last).chain(neighbours(last));
        let allowed = near.filter(|&cpu| thread.may_run_on(cpu) && self.is_online(cpu));
        let running = allowed.map(|cpu| (self.per_cpu(cpu).load().running, cpu));
        let least = running.min_by_key(|&(running, _)| running)?;
        (least.0 < urgency).then_some(least.1)
    }

    /// Returns any CPU on which the thread may run.
    fn any_of(&self, thread: &Thread<K>) -> Option<CpuId> {
        (0..WORDS).find_map(|word| {
            let allowed = thread.affinity_word(word) & self.online_word(word);
            let bit = (allowed != 0).then(|| allowed.trailing_zeros() as usize)?;
            CpuId::new(word * u64::BITS as usize + bit)
        })
    }
}
