//! A workload on several CPUs of a hosted machine at once.
//!
//! A timed phase ends for all when the first CPU has done its operations: later ones would run with less company. Its
//! figure is the CPU time of all threads over the operations of all: time in which the host ran other processes does
//! not count, time spent spinning does, and a CPU that starves at an unfair lock shows, as it would not in a median.
//!
//! In a build that counts ([`crate::shared`]), the CPUs run in turns, and the figures count the
//! data that they share.

#[cfg_attr(rhumb_counted, path = "team/turns.rs")]
mod barrier;

use std::cell::Cell;
use std::ops::{Add, ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rhumb_hosted::{CorePinning, EnterError, HostedMachine};
use rhumb_machine::{CpuMask, Pinned};

use rustix::time::{ClockId, clock_gettime};

use crate::clock::Clock;
use crate::driver::{Better, Sample};
use crate::shared::Shared;
use barrier::{Barrier, Breaker};

thread_local! {
    static CPU_INDEX: Cell<usize> = const { Cell::new(0) };
}

/// Returns which CPU of the team this thread is, for subjects that ask without a token; 0 outside a team.
#[cfg_attr(not(feature = "frame-competitors"), allow(dead_code, reason = "competitors alone ask"))]
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
    /// The last timed phase that some member has done all of.
    finished_phase: &'team AtomicUsize,
    phase: Cell<usize>,
    /// Whether the member is between the two meetings of a phase.
    is_in_phase: Cell<bool>,
    is_warming_up: Cell<bool>,
    deadline: Instant,
}

/// Why a team could not do its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TeamError {
    /// The machine has not got the CPUs.
    Enter(EnterError),
    /// A member was still at it after [`PATIENCE`].
    TooSlow,
}

impl std::fmt::Display for TeamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enter(error) => error.fmt(f),
            Self::TooSlow => write!(f, "not done after {} s", PATIENCE.as_secs()),
        }
    }
}

/// How long a team may take: ten times what the slowest of the usable allocators needs. Tests wait longer, since they
/// judge no speed: on a busy host a team is slow.
const PATIENCE: Duration = Duration::from_secs(if cfg!(any(test, rhumb_counted)) { 600 } else { 10 });

/// The work of a CPU in a timed phase; sums over CPUs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Timing {
    pub(crate) cpu_ns: f64,
    pub(crate) done: usize,
    pub(crate) shared: Shared,
}

impl Timing {
    /// Returns the nanoseconds of one operation.
    pub(crate) fn per_operation(self) -> f64 {
        self.cpu_ns / self.done.max(1) as f64
    }

    /// Returns the figures of a workload of so many operations: the time of one, or, in a build that counts, the counts
    /// of the data that its CPUs shared.
    pub(crate) fn samples(self, operations: usize) -> Vec<Sample> {
        let count = |(metric, value)| Sample::of(metric, "/1000", Better::Lower, value);
        match self.shared.per_1000(operations) {
            Some(counts) => counts.map(count).to_vec(),
            None => vec![Sample::ns("time", self.cpu_ns / operations.max(1) as f64)],
        }
    }
}

impl Add for Timing {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            done: self.done + other.done,
            shared: self.shared + other.shared,
        }
    }
}

impl std::iter::Sum for Timing {
    fn sum<I: Iterator<Item = Self>>(timings: I) -> Self {
        timings.fold(Self::default(), Add::add)
    }
}

/// Returns the cores of the CPUs' threads: one for each; or, in a build that counts, in which one thread runs at a
/// time, those of the thread that starts them, which keeps to one core (`scale.rs`).
pub(crate) fn pinning() -> CorePinning {
    if cfg!(rhumb_counted) { CorePinning::Free } else { CorePinning::OneEach }
}

/// Returns the CPU time of this thread, in nanoseconds. A reading is a system call, some 300 ns.
fn thread_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Operations of a turn while a member warms up.
const WARM_UP_TURN: usize = 256;

/// In a build that counts: how many times the counted work a member does before, without counting. Caches that grow
/// with use have grown then.
const WARM_UPS: usize = 10;

/// Operations between two looks at the time.
const LATE_STRIDE: usize = 1000;

/// Runs `work` on CPUs 0..`cpus` of `machine` at once and returns the result of each.
///
/// # Errors
/// [`TeamError`]: the machine has fewer CPUs, or the team was not done in time.
pub(crate) fn run<T: Send>(
    machine: &HostedMachine,
    cpus: usize,
    clock: Clock,
    work: impl Fn(&Member<'_>) -> T + Sync,
) -> Result<Vec<T>, TeamError> {
    let deadline = Instant::now() + PATIENCE;
    let (barrier, finished_phase) = (Barrier::new(cpus), AtomicUsize::new(0));
    let results = machine.run_on(CpuMask::first(cpus), |cpu| {
        CPU_INDEX.set(cpu.id().index());
        let (pinned, _breaker) = (cpu.pinned(), Breaker(&barrier));
        let _entered = barrier.enter(cpu.id().index());
        work(&Member {
            index: cpu.id().index(),
            team_size: cpus,
            pinned,
            clock,
            barrier: &barrier,
            finished_phase: &finished_phase,
            phase: Cell::new(0),
            is_in_phase: Cell::new(false),
            is_warming_up: Cell::new(false),
            deadline,
        })
    });
    if Instant::now() >= deadline { Err(TeamError::TooSlow) } else { results.map_err(TeamError::Enter) }
}

impl Member<'_> {
    /// Waits until the whole team is here.
    pub(crate) fn meet(&self) {
        self.barrier.wait(self.index);
    }

    /// Waits a moment for another member.
    #[inline(always)]
    pub(crate) fn give_way(&self) {
        self.barrier.give_way(self.index);
    }

    /// Runs `operation` before those that are timed, a twentieth of `count` times. In a build that counts,
    /// [`Member::come_to_rest`] does so [`WARM_UPS`] times `count`.
    pub(crate) fn warm_up(&self, count: usize, mut operation: impl FnMut() -> ControlFlow<()>) {
        if cfg!(rhumb_counted) {
            return self.come_to_rest(count * WARM_UPS, |_| operation());
        }
        let _ = (0..=count / 20).try_for_each(|_| operation());
    }

    /// Runs `operation` for `0..count`, or until it breaks; in turns in a build that counts. The allocator comes to
    /// rest by that, without counting. In the last of [`WARM_UPS`] parts the accesses to lines are taken note of, so that
    /// it is known which CPU has written a line last.
    pub(crate) fn come_to_rest(&self, count: usize, mut operation: impl FnMut(usize) -> ControlFlow<()>) {
        self.is_warming_up.set(true);
        let noted = count - count / WARM_UPS;
        let mut run = |range: Range<usize>| {
            for index in range {
                if operation(index).is_break() {
                    break;
                }
                if cfg!(rhumb_counted) && index.is_multiple_of(WARM_UP_TURN) {
                    self.give_way();
                }
            }
        };
        self.unnoted(|| run(0..noted));
        run(noted..count);
        self.is_warming_up.set(false);
    }

    /// Runs `work`, which a build that counts takes no note of.
    pub(crate) fn unnoted<A>(&self, work: impl FnOnce() -> A) -> A {
        self.barrier.pause_counting(self.index, work)
    }

    /// Tells whether the team has run out of time: then each loop that may be long ends.
    pub(crate) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Tells whether another CPU has done all of its part of the phase that is measured: an operation that waits for a
    /// CPU waits in vain then, because that CPU has stopped.
    pub(crate) fn is_phase_over(&self) -> bool {
        self.is_in_phase.get() && self.finished_phase.load(Ordering::Relaxed) >= self.phase.get()
    }

    /// Returns this CPU's part of `total`: the parts of all CPUs add up to it.
    pub(crate) fn share(&self, total: usize) -> usize {
        total / self.team_size + usize::from(self.index < total % self.team_size)
    }

    /// Meets, then runs `operation` for `0..count`, or until another CPU has done all of its own. Each CPU
    /// looks for that after each `stride` operations, and all of them call this alike.
    #[inline(always)]
    pub(crate) fn timed(&self, count: usize, stride: usize, mut operation: impl FnMut(usize)) -> Timing {
        self.timed_until(count, stride, |index| {
            operation(index);
            ControlFlow::Continue(())
        })
    }

    /// Runs operations as [`Member::timed`] does. The phase ends for all CPUs when an operation breaks.
    #[inline(always)]
    pub(crate) fn timed_until(
        &self,
        count: usize,
        stride: usize,
        mut operation: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Timing {
        let phase = self.phase.get() + 1;
        self.phase.set(phase);
        self.meet();
        let stride = if self.is_warming_up.get() { WARM_UP_TURN } else { Shared::stride(stride) };
        let _ = Shared::take();
        self.is_in_phase.set(true);
        let start = thread_ns();
        let mut done = 0;
        'phase: while done < count && self.finished_phase.load(Ordering::Relaxed) < phase {
            // A look at the time costs 25 ns: not for each stride.
            if done % LATE_STRIDE < stride && self.is_late() {
                break;
            }
            let pause = (done + stride).min(count);
            while done < pause {
                if operation(done).is_break() {
                    break 'phase;
                }
                done += 1;
            }
            if cfg!(rhumb_counted) {
                self.give_way();
            }
        }
        self.finished_phase.fetch_max(phase, Ordering::Relaxed);
        let timing = Timing { cpu_ns: thread_ns() - start, done, shared: Shared::take() };
        self.is_in_phase.set(false);
        self.meet();
        timing
    }
}

#[cfg(test)]
mod tests;
