//! Where members meet in a build that counts: one of them runs at a time, in turns, so that each run is like the last.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

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

struct Turns {
    members: Vec<State>,
    /// The member whose turn it is, once all have begun.
    current: Option<usize>,
    is_broken: bool,
}

/// The order in which members run.
pub(super) struct Barrier {
    turns: Mutex<Turns>,
    /// One for each member.
    changed: Vec<Condvar>,
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
            self.0.lock().is_broken = true;
            self.0.changed.iter().for_each(Condvar::notify_all);
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        counted::be(None);
        let mut turns = self.barrier.lock();
        turns.members[self.member] = State::Away;
        self.barrier.pass(&mut turns, self.member);
    }
}

impl Barrier {
    pub(super) fn new(members: usize) -> Self {
        let turns = Turns { members: vec![State::Away; members], current: None, is_broken: false };
        Self { turns: Mutex::new(turns), changed: (0..members).map(|_| Condvar::new()).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a member's work, once all members have come and its turn has.
    pub(super) fn enter(&self, member: usize) -> Entered<'_> {
        let mut turns = self.lock();
        turns.members[member] = State::Ready;
        if turns.members.iter().all(|&state| state == State::Ready) {
            turns.current = Some(0);
            self.changed[0].notify_all();
        }
        self.wait_for_turn(turns, member);
        counted::be(CpuId::new(member));
        Entered { barrier: self, member }
    }

    /// Runs `work` without counting.
    pub(super) fn pause_counting(&self, member: usize, work: impl FnOnce()) {
        counted::be(None);
        work();
        counted::be(CpuId::new(member));
    }

    /// Lets the other members have their turns.
    pub(super) fn give_way(&self, member: usize) {
        let mut turns = self.lock();
        self.pass(&mut turns, member);
        self.wait_for_turn(turns, member);
    }

    /// Waits until all members are here.
    pub(super) fn wait(&self, member: usize) {
        let mut turns = self.lock();
        turns.members[member] = State::AtBarrier;
        if turns.members.iter().all(|&state| state == State::AtBarrier) {
            turns.members.fill(State::Ready);
        }
        self.pass(&mut turns, member);
        self.wait_for_turn(turns, member);
    }

    /// Gives the turn to the next member that can run.
    fn pass(&self, turns: &mut Turns, member: usize) {
        let members = turns.members.len();
        let next = (1..=members).map(|step| (member + step) % members);
        turns.current = next.into_iter().find(|&next| turns.members[next] == State::Ready);
        if let Some(next) = turns.current {
            self.changed[next].notify_all();
        }
    }

    fn wait_for_turn(&self, mut turns: MutexGuard<'_, Turns>, member: usize) {
        while turns.current != Some(member) {
            assert!(!turns.is_broken, "another member of the team has panicked");
            turns = self.changed[member].wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
