//! Where members meet in a build that counts: one of them runs at a time, in turns, so that each run is like the last.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

use rhumb_machine::CpuId;
use rhumb_sync::counted;

/// A member's state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has not begun, or has ended.
    Away,
    /// It runs when its turn comes.
    Ready,
    /// It waits until all members are here.
    AtBarrier,
}

/// No member's number.
const NONE: usize = usize::MAX;

/// Held by the team that runs: the counts are those of one team, also where tests run at once.
static COUNTING: Mutex<()> = Mutex::new(());

/// The order in which members run. A member that has its turn runs without the lock, and one that is woken needs none.
pub(super) struct Barrier {
    members: Mutex<Vec<State>>,
    /// The member whose turn it is, once all have begun.
    current: AtomicUsize,
    is_broken: AtomicBool,
    threads: Vec<OnceLock<Thread>>,
    _counting: MutexGuard<'static, ()>,
}

/// Tells the others when its member panics, so that they do not wait endlessly.
pub(super) struct Breaker<'team>(pub(super) &'team Barrier);

/// A member's time between its first turn and its last.
pub(super) struct Entered<'team> {
    barrier: &'team Barrier,
    member: usize,
}

impl Drop for Breaker<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_broken.store(true, Ordering::Release);
            self.0.threads.iter().filter_map(OnceLock::get).for_each(Thread::unpark);
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        counted::be(None);
        self.barrier.pass(self.member, State::Away);
    }
}

impl Barrier {
    /// Begins the counts of a run anew, so that they depend on no earlier run.
    pub(super) fn new(members: usize) -> Self {
        let counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        counted::forget();
        Self {
            members: Mutex::new(vec![State::Away; members]),
            current: AtomicUsize::new(NONE),
            is_broken: AtomicBool::new(false),
            threads: (0..members).map(|_| OnceLock::new()).collect(),
            _counting: counting,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a member's work, once all members have come and its turn has.
    pub(super) fn enter(&self, member: usize) -> Entered<'_> {
        self.threads[member].get_or_init(thread::current);
        let mut members = self.lock();
        members[member] = State::Ready;
        let is_last = members.iter().all(|&state| state == State::Ready);
        drop(members);
        if is_last {
            self.wake(Some(0));
        }
        self.wait_for_turn(member);
        counted::be(CpuId::new(member));
        Entered { barrier: self, member }
    }

    /// Runs `work` without counting.
    pub(super) fn pause_counting<A>(&self, member: usize, work: impl FnOnce() -> A) -> A {
        counted::be(None);
        let result = work();
        counted::be(CpuId::new(member));
        result
    }

    /// Lets the other members have their turns.
    pub(super) fn give_way(&self, member: usize) {
        self.pass(member, State::Ready);
        self.wait_for_turn(member);
    }

    /// Waits until all members are here.
    pub(super) fn wait(&self, member: usize) {
        self.pass(member, State::AtBarrier);
        self.wait_for_turn(member);
    }

    /// Leaves a member in `state`, and gives the turn to the next member that can run. Where the last one comes to the
    /// barrier, all can.
    fn pass(&self, member: usize, state: State) {
        let mut members = self.lock();
        members[member] = state;
        if state == State::AtBarrier && members.iter().all(|&state| state == State::AtBarrier) {
            members.fill(State::Ready);
        }
        let count = members.len();
        let mut next = (1..=count).map(|step| (member + step) % count);
        let next = next.find(|&next| members[next] == State::Ready);
        drop(members);
        if next != Some(member) {
            self.wake(next);
        }
    }

    fn wake(&self, next: Option<usize>) {
        self.current.store(next.unwrap_or(NONE), Ordering::Release);
        if let Some(thread) = next.and_then(|next| self.threads[next].get()) {
            thread.unpark();
        }
    }

    fn wait_for_turn(&self, member: usize) {
        while self.current.load(Ordering::Acquire) != member {
            assert!(!self.is_broken.load(Ordering::Acquire), "another member of the team has panicked");
            thread::park();
        }
    }
}
