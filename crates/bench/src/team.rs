//! A workload on several CPUs of a hosted machine at once.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};

use rhumb_hosted::{EnterError, HostedMachine};
use rhumb_machine::{CpuMask, Pinned};

use crate::clock::{Clock, ticks};
use crate::stats;

thread_local! {
    static CPU_INDEX: Cell<usize> = const { Cell::new(0) };
}

/// Which CPU of the team this thread is, for subjects that ask without a token; 0 outside a team.
pub(crate) fn cpu_index() -> usize {
    CPU_INDEX.get()
}

/// One CPU of a team, within its closure.
pub(crate) struct Member<'team> {
    pub(crate) index: usize,
    pub(crate) team_size: usize,
    pub(crate) pinned: Pinned<'team>,
    pub(crate) clock: Clock,
    barrier: &'team Barrier,
}

/// Runs `work` on CPUs 0..`cpus` of `machine` at once and returns what each said.
///
/// # Errors
/// If the machine has fewer CPUs.
pub(crate) fn run<T: Send>(
    machine: &HostedMachine,
    cpus: usize,
    clock: Clock,
    work: impl Fn(&Member<'_>) -> T + Sync,
) -> Result<Vec<T>, EnterError> {
    let barrier = Barrier::new(cpus);
    machine.run_on(CpuMask::first(cpus), |cpu| {
        CPU_INDEX.set(cpu.id().index());
        let pinned = cpu.pinned();
        work(&Member { index: cpu.id().index(), team_size: cpus, pinned, clock, barrier: &barrier })
    })
}

impl Member<'_> {
    /// Waits until the whole team is here.
    pub(crate) fn meet(&self) {
        self.barrier.wait();
    }

    /// This CPU's part of `total`: the parts of all CPUs add up to it.
    pub(crate) fn share(&self, total: usize) -> usize {
        total / self.team_size + usize::from(self.index < total % self.team_size)
    }

    /// Meets, then runs `operation` for `0..count` in chunks of `chunk`, and returns the median chunk's nanoseconds per
    /// operation: a chunk that the host interrupted does not count, a refill within each chunk does.
    pub(crate) fn timed(&self, count: usize, chunk: usize, mut operation: impl FnMut(usize)) -> f64 {
        let chunk = chunk.max(1);
        let mut times = Vec::with_capacity(count.div_ceil(chunk));
        self.meet();
        let mut done = 0;
        while done < count {
            let end = (done + chunk).min(count);
            let start = ticks();
            for index in done..end {
                operation(index);
            }
            times.push(self.clock.ns(ticks() - start) / (end - done) as f64);
            done = end;
        }
        stats::median(&mut times)
    }
}

/// A barrier that spins, so that the members leave it within a cache miss of each other. It yields now and then, for
/// hosts with fewer cores than the team has members.
struct Barrier {
    members: usize,
    arrived: AtomicUsize,
}

impl Barrier {
    const fn new(members: usize) -> Self {
        Self { members, arrived: AtomicUsize::new(0) }
    }

    fn wait(&self) {
        let ticket = self.arrived.fetch_add(1, Ordering::AcqRel);
        let all_here = (ticket / self.members + 1) * self.members;
        let mut spins = 0u32;
        while self.arrived.load(Ordering::Acquire) < all_here {
            spins += 1;
            if spins.is_multiple_of(4096) { std::thread::yield_now() } else { spin_loop() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_meets_and_shares() {
        let machine = HostedMachine::builder().cpus(3).ram_bytes(1 << 20).build().unwrap();
        let clock = Clock::calibrate();
        let (before, shares) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let seen = run(&machine, 3, clock, |member| {
            before.fetch_add(1, Ordering::SeqCst);
            member.meet();
            assert_eq!(before.load(Ordering::SeqCst), 3);
            shares.fetch_add(member.share(10), Ordering::SeqCst);
            let mut ran = Vec::with_capacity(10);
            let ns = member.timed(10, 3, |index| ran.push(index));
            assert!(ns >= 0.0 && ran == (0..10).collect::<Vec<_>>());
            (member.index, cpu_index())
        });
        assert_eq!(seen, Ok(vec![(0, 0), (1, 1), (2, 2)]));
        assert_eq!(shares.load(Ordering::SeqCst), 10);
        assert!(run(&machine, 4, clock, |_| ()).is_err());
    }
}
