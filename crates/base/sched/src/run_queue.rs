//! [`RunQueue`]: the threads that are ready on one CPU, and the one that runs there. Its lock is the CPU's own.
//!
//! A thread that the CPU takes out of the queue to run it stays *counted*: its weight is part of the CPU's load until it
//! blocks, ends or goes to another CPU. A thread that is preempted stays counted, too, and waits again only when the CPU
//! has left its stack ([`RunQueue::put_back`]); until then it is in no list, so no other CPU can take it.

use rhumb_machine::impossible;

use crate::fair::{Fair, Request};
use crate::field::Place;
use crate::limits::Limits;
use crate::list::End;
use crate::policy::{Nice, Policy, Turns};
use crate::real_time::RealTime;
use crate::spare::Spare;
use crate::thread::{REAL_TIME_WEIGHT, Thread, ThreadHome, at};

/// How a CPU came to choose anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// Another thread may be better.
    Preempt,
    /// The thread that runs lets others go first.
    Yield,
    /// It waits, unless it has been woken meanwhile.
    Block,
    /// It has ended.
    End,
}

/// The load of a CPU, as its queue tells other CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Load {
    /// How many threads wait, at most 255 of them.
    pub(crate) waiting: u8,
    /// The rank of the most urgent of those that wait and the one that runs; 0 where there is none.
    pub(crate) rank: u8,
    /// The weights of those that wait and the one that runs.
    pub(crate) weight: u64,
}

/// The threads of one CPU.
pub(crate) struct RunQueue<K: ThreadHome> {
    /// The thread that runs; nowhere before the CPU is online.
    pub(crate) running: Place<Thread<K>>,
    /// The thread that runs when no other does.
    pub(crate) idle: Place<Thread<K>>,
    real_time: RealTime<K>,
    fair: Fair<K>,
    spare: Spare<K>,
    charged_ns: u64,
    /// When this CPU balanced last.
    balanced_ns: u64,
    limits: Limits,
}

impl<K: ThreadHome> RunQueue<K> {
    pub(crate) const fn new(limits: Limits) -> Self {
        let (running, idle) = (Place::nowhere(), Place::nowhere());
        let (real_time, fair, spare) = (RealTime::new(), Fair::new(), Spare::new());
        Self { running, idle, real_time, fair, spare, charged_ns: 0, balanced_ns: 0, limits }
    }

    /// Returns the thread that runs, if it is not the idle one.
    fn busy(&self) -> Option<&Thread<K>> {
        let running = self.running.get().filter(|&running| Some(running) != self.idle.get())?;
        // SAFETY: a thread that is on a CPU is not gone, and the lock of the queue keeps the CPU from leaving it.
        Some(unsafe { at(running) })
    }

    fn waiting(&self) -> u64 {
        self.real_time.waiting() + self.fair.waiting()
    }

    /// Returns a policy of the most urgent class and priority that waits.
    fn first_waiting(&self) -> Option<Policy> {
        let fair = (self.fair.waiting() != 0).then_some(Policy::Fair(Nice::NORMAL));
        self.real_time.top().map(|priority| Policy::RealTime(priority, Turns::Fifo)).or(fair)
    }

    pub(crate) fn load(&self) -> Load {
        let busy = self.busy().map(|thread| thread.run.policy());
        let runs_real_time = matches!(busy, Some(Policy::RealTime(..)));
        let real_time = self.real_time.waiting() + u64::from(runs_real_time);
        Load {
            waiting: self.waiting().min(u64::from(u8::MAX)) as u8,
            rank: [busy, self.first_waiting()].into_iter().flatten().map(Policy::rank).max().unwrap_or(0),
            weight: self.fair.weight() + real_time * REAL_TIME_WEIGHT,
        }
    }

    /// Charges the thread that runs for its time up to now.
    pub(crate) fn charge(&mut self, now_ns: u64) {
        let ran_ns = now_ns.saturating_sub(self.charged_ns);
        self.charged_ns += ran_ns;
        self.real_time.roll(now_ns, &self.limits);
        let Some(running) = self.running.get() else { return };
        // SAFETY: a thread that is on a CPU is not gone, and the lock of the queue keeps the CPU from leaving it.
        let thread: &Thread<K> = unsafe { at(running) };
        if ran_ns == 0 {
            return;
        }
        thread.run.ran_ns.add(ran_ns);
        if self.idle.is(thread) || thread.run.is_counted.get() == 0 {
            return;
        }
        match thread.run.policy() {
            Policy::Fair(_) => self.fair.charge(thread, ran_ns, self.limits.slice_ns),
            Policy::RealTime(_, turns) => {
                self.real_time.charge(now_ns, ran_ns);
                if turns == Turns::RoundRobin {
                    thread.run.slice_left_ns.set(thread.run.slice_left_ns.get().saturating_sub(ran_ns));
                }
            }
        }
    }

    /// Counts a thread by its present policy. It neither waits nor runs yet.
    fn enter(&mut self, thread: &Thread<K>) -> Policy {
        let policy = thread.effective_policy();
        thread.run.policy.set(u64::from(policy.bits()));
        thread.run.is_counted.set(1);
        match policy {
            Policy::Fair(_) => self.fair.enter(thread, self.limits.slice_ns),
            Policy::RealTime(..) => thread.run.slice_left_ns.set(self.limits.round_robin_ns),
        }
        policy
    }

    /// Counts a thread no more that does not wait.
    fn leave(&mut self, thread: &Thread<K>, request: Request) {
        if let Policy::Fair(_) = thread.run.policy() {
            self.fair.leave(thread, request);
        }
        thread.run.is_counted.set(0);
    }

    fn queue(&mut self, thread: &Thread<K>, end: End) {
        let is_in = match thread.run.policy() {
            Policy::Fair(_) => self.fair.queue(thread),
            Policy::RealTime(priority, _) => self.real_time.insert(thread, priority, end),
        };
        if !is_in {
            impossible!("a thread is in one queue at most, and this one was on its way to one");
            return;
        }
        self.spare.insert(thread);
    }

    fn unqueue(&mut self, thread: &Thread<K>) -> bool {
        let was_in = match thread.run.policy() {
            Policy::Fair(_) => self.fair.unqueue(thread),
            Policy::RealTime(priority, _) => self.real_time.remove(thread, priority),
        };
        if was_in {
            self.spare.remove(thread);
        }
        was_in
    }

    /// Takes note of another affinity of a thread, if it waits here.
    pub(crate) fn rebind(&mut self, thread: &Thread<K>) {
        let waits = match thread.run.policy() {
            Policy::Fair(_) => self.fair.has(thread),
            Policy::RealTime(priority, _) => self.real_time.has_thread(thread, priority),
        };
        if waits {
            self.spare.remove(thread);
            self.spare.insert(thread);
        }
    }

    /// Puts a thread that is ready into the queue, which has not counted it. Returns whether the CPU should choose anew.
    pub(crate) fn insert(&mut self, thread: &Thread<K>) -> bool {
        let is_first = self.waiting() == 0;
        self.enter(thread);
        self.queue(thread, End::Last);
        // A CPU whose thread has no other to share with has set no alarm for the end of its slice: it looks now.
        is_first || self.preempts(thread)
    }

    /// Takes a thread out that waits here, to run it on another CPU. Returns whether it waited here.
    pub(crate) fn remove(&mut self, thread: &Thread<K>) -> bool {
        let waits = self.unqueue(thread);
        if waits {
            self.leave(thread, Request::Kept);
        }
        waits
    }

    /// Puts a thread back that was preempted here. Returns whether the CPU should choose anew.
    pub(crate) fn put_back(&mut self, thread: &Thread<K>) -> bool {
        let has_changed = thread.run.policy.get() != u64::from(thread.effective_policy().bits());
        if has_changed {
            self.leave(thread, Request::Kept);
            self.enter(thread);
        }
        let mut end = End::First;
        if thread.run.slice_left_ns.get() == 0 {
            thread.run.slice_left_ns.set(self.limits.round_robin_ns);
            end = End::Last;
        }
        self.queue(thread, end);
        has_changed && self.preempts(thread)
    }

    /// Counts a thread no more that was preempted here and goes to another CPU.
    pub(crate) fn send_away(&mut self, thread: &Thread<K>) {
        self.leave(thread, Request::Kept);
    }

    /// Counts a thread anew whose policy has changed. Returns whether the CPU should choose anew; `None` if the thread
    /// neither waits nor runs here.
    pub(crate) fn requeue(&mut self, thread: &Thread<K>) -> Option<bool> {
        if self.unqueue(thread) {
            self.leave(thread, Request::Kept);
            self.enter(thread);
            self.queue(thread, End::Last);
            return Some(self.preempts(thread));
        }
        if self.running.is(thread) && thread.run.is_counted.get() == 1 {
            self.leave(thread, Request::Kept);
            self.enter(thread);
            return Some(true);
        }
        None
    }

    /// Tells whether a thread that has come goes before the one that runs.
    fn preempts(&self, new: &Thread<K>) -> bool {
        let Some(running) = self.busy() else { return true };
        match (new.run.policy(), running.run.policy()) {
            (Policy::RealTime(new, _), Policy::RealTime(running, _)) => new > running,
            (Policy::RealTime(..), Policy::Fair(_)) => !self.real_time.is_throttled(&self.limits),
            (Policy::Fair(_), Policy::RealTime(..)) => self.real_time.is_throttled(&self.limits),
            (Policy::Fair(_), Policy::Fair(_)) => self.fair.preempts(new, running),
        }
    }

    /// Chooses the thread to run. The one that runs is one of the candidates if it `stays`; otherwise it is counted no
    /// more. The chosen one, or the idle thread, runs from now on, and does not wait.
    pub(crate) fn choose(&mut self, why: Why, stays: bool, now_ns: u64) -> Option<&Thread<K>> {
        self.charge(now_ns);
        let busy = self.busy().map(core::ptr::NonNull::from);
        // SAFETY: a thread that is on a CPU is not gone, and the lock of the queue keeps the CPU from leaving it.
        let busy: Option<&Thread<K>> = busy.map(|running| unsafe { at(running) });
        let stays = busy.filter(|_| stays);
        match (busy, stays) {
            (Some(running), None) => {
                let request = if why == Why::Preempt { Request::Kept } else { Request::Over };
                self.leave(running, request);
            }
            (Some(running), Some(_)) if why == Why::Yield => match running.run.policy() {
                Policy::Fair(_) => self.fair.next_request(running, self.limits.slice_ns),
                Policy::RealTime(..) => running.run.slice_left_ns.set(0),
            },
            _ => {}
        }
        let next = self.best(stays).map(core::ptr::NonNull::from).or(self.idle.get())?;
        // SAFETY: the thread waits here, or runs here, or is the idle thread: it is not gone.
        let next: &Thread<K> = unsafe { at(next) };
        if !self.running.is(next) {
            if !self.idle.is(next) {
                self.unqueue(next);
            }
        } else if next.run.slice_left_ns.get() == 0 {
            next.run.slice_left_ns.set(self.limits.round_robin_ns);
        }
        if let Policy::Fair(_) = next.run.policy() {
            self.fair.begin(next);
        }
        self.running.set(Some(next.into()));
        Some(next)
    }

    /// Returns the best of the threads that wait and the one that `stays`.
    fn best<'a>(&'a self, stays: Option<&'a Thread<K>>) -> Option<&'a Thread<K>> {
        let stays_as = stays.map(|thread| thread.run.policy());
        let fair_waits = self.fair.waiting() != 0 || matches!(stays_as, Some(Policy::Fair(_)));
        if !(fair_waits && self.real_time.is_throttled(&self.limits)) {
            let waiting = self.real_time.top();
            if let Some(Policy::RealTime(priority, _)) = stays_as {
                let is_over = stays.is_some_and(|thread| thread.run.slice_left_ns.get() == 0);
                if waiting.is_none_or(|top| top < priority || (top == priority && !is_over)) {
                    return stays;
                }
            }
            if waiting.is_some() {
                return self.real_time.first();
            }
        }
        let fair = stays.filter(|_| matches!(stays_as, Some(Policy::Fair(_))));
        self.fair.choice(fair).or(fair)
    }

    /// Returns when the CPU should choose anew, if nothing comes before. `preempted` is the thread that the CPU leaves and
    /// that will wait here.
    pub(crate) fn next_ns(&self, now_ns: u64, preempted: Option<&Thread<K>>) -> Option<u64> {
        let running = self.busy()?;
        let (also_fair, also_priority) = match preempted.map(|thread| thread.run.policy()) {
            Some(Policy::Fair(_)) => (true, None),
            Some(Policy::RealTime(priority, _)) => (false, Some(priority)),
            None => (false, None),
        };
        let fair_waits = also_fair || self.fair.waiting() != 0;
        let real_time_waits = also_priority.is_some() || self.real_time.waiting() != 0;
        let changes_ns = self.real_time.changes_ns(now_ns, &self.limits);
        let (slice_ns, limit_ns) = match running.run.policy() {
            Policy::Fair(_) => {
                let slice_ns = fair_waits.then(|| now_ns + self.fair.left_ns(running));
                (slice_ns, real_time_waits.then_some(changes_ns))
            }
            Policy::RealTime(priority, turns) => {
                let has_peer = also_priority == Some(priority) || self.real_time.has(priority);
                let is_limited = has_peer && turns == Turns::RoundRobin;
                let slice_ns = is_limited.then(|| now_ns + running.run.slice_left_ns.get());
                (slice_ns, fair_waits.then_some(changes_ns))
            }
        };
        let balance_ns = (fair_waits || real_time_waits).then(|| self.balanced_ns + self.limits.balance_ns);
        [slice_ns, limit_ns, balance_ns].into_iter().flatten().min()
    }

    /// Tells whether it is time to balance. If so, the next time is a period later.
    pub(crate) fn begin_balance(&mut self, now_ns: u64) -> bool {
        let is_time = now_ns.saturating_sub(self.balanced_ns) >= self.limits.balance_ns;
        if is_time {
            self.balanced_ns = now_ns;
        }
        is_time && self.waiting() != 0
    }

    /// Returns a thread that waits here, is not bound to one CPU, and for which `fits` is true. Looks at eight of each class
    /// at most, and at others the next time.
    pub(crate) fn spare(&self, fits: impl FnMut(&Thread<K>) -> bool) -> Option<&Thread<K>> {
        self.spare.find(fits)
    }

    /// Checks all that the queue knows of itself, at a time when the CPU has left no thread that it has not put back.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn validate(&self) {
        self.real_time.validate();
        let fair = |thread: &&Thread<K>| {
            matches!(thread.run.policy(), Policy::Fair(_)) && thread.run.is_counted.get() == 1
        };
        self.fair.validate(self.busy().filter(fair));
        let is_spare = |thread: &&Thread<K>| !thread.is_bound();
        let real_time = self.real_time.all().filter(is_spare).count() as u64;
        self.spare.validate(real_time, self.fair.count_that(|thread| is_spare(&thread)));
    }
}
