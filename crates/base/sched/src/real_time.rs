//! [`RealTime`]: the real-time threads that are ready on one CPU, and how much of the CPU they may take.
//!
//! A list for each priority, and a word that says which lists have threads. Each step takes constant time.
//!
//! **The limit.** In each period, when real-time threads have run for their budget, fair threads that wait come first
//! until the period ends. Where none waits, real-time threads go on. So a real-time thread that loops permanently leaves
//! one twentieth of its CPU to the shell with which it can be ended.

use crate::limits::Limits;
use crate::list::{End, Link, Linked, List};
use crate::policy::Priority;
use crate::thread::{Thread, ThreadHome};

pub(crate) struct ByPriority<K>(core::marker::PhantomData<K>);

impl<K: ThreadHome> Linked for ByPriority<K> {
    type Item = Thread<K>;

    fn link(thread: &Thread<K>) -> &Link<Thread<K>> {
        &thread.run.link
    }
}

/// The real-time threads that are ready on one CPU.
pub(crate) struct RealTime<K: ThreadHome> {
    lists: [List<ByPriority<K>>; Priority::COUNT],
    /// A bit for each list that has threads.
    present: u64,
    waiting: u64,
    period_began_ns: u64,
    spent_ns: u64,
}

impl<K: ThreadHome> RealTime<K> {
    pub(crate) const fn new() -> Self {
        let lists = [const { List::new() }; Priority::COUNT];
        Self { lists, present: 0, waiting: 0, period_began_ns: 0, spent_ns: 0 }
    }

    /// Returns how many threads wait.
    pub(crate) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Returns the priority of the most urgent thread that waits.
    pub(crate) fn top(&self) -> Option<Priority> {
        Priority::new(self.present.checked_ilog2()? as u8)
    }

    /// Returns the most urgent thread that waits, the first of its priority.
    pub(crate) fn first(&self) -> Option<&Thread<K>> {
        self.lists[self.top()?.index()].first()
    }

    /// Tells whether a thread of this priority waits.
    pub(crate) fn has(&self, priority: Priority) -> bool {
        self.present & 1 << priority.index() != 0
    }

    pub(crate) fn insert(&mut self, thread: &Thread<K>, priority: Priority, end: End) -> bool {
        // SAFETY: the last reference to a thread frees it only while it is in no list.
        let is_in = unsafe { self.lists[priority.index()].insert(thread, end) };
        self.present |= 1 << priority.index();
        self.waiting += u64::from(is_in);
        is_in
    }

    pub(crate) fn remove(&mut self, thread: &Thread<K>, priority: Priority) -> bool {
        let list = &self.lists[priority.index()];
        let is_out = list.remove(thread);
        if list.is_empty() {
            self.present &= !(1 << priority.index());
        }
        self.waiting -= u64::from(is_out);
        is_out
    }

    /// Tells whether this thread waits.
    pub(crate) fn has_thread(&self, thread: &Thread<K>, priority: Priority) -> bool {
        self.lists[priority.index()].contains(thread)
    }

    /// Returns all that wait.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Thread<K>> {
        self.lists.iter().flat_map(List::iter)
    }

    /// Begins a new period, if the last one is over.
    pub(crate) fn roll(&mut self, now_ns: u64, limits: &Limits) {
        let since = now_ns.saturating_sub(self.period_began_ns);
        if since >= limits.real_time_period_ns {
            self.period_began_ns = now_ns - since % limits.real_time_period_ns.max(1);
            self.spent_ns = 0;
        }
    }

    /// Charges a real-time thread's run, up to now. Time before this period is forgotten.
    pub(crate) fn charge(&mut self, now_ns: u64, ran_ns: u64) {
        self.spent_ns += ran_ns.min(now_ns.saturating_sub(self.period_began_ns));
    }

    /// Tells whether fair threads that wait come first.
    pub(crate) const fn is_throttled(&self, limits: &Limits) -> bool {
        self.spent_ns >= limits.real_time_budget_ns
    }

    /// Returns when that changes: the end of the budget, if a real-time thread runs on, or of the period.
    pub(crate) const fn changes_ns(&self, now_ns: u64, limits: &Limits) -> u64 {
        if self.is_throttled(limits) {
            self.period_began_ns.saturating_add(limits.real_time_period_ns)
        } else {
            now_ns.saturating_add(limits.real_time_budget_ns - self.spent_ns)
        }
    }

    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn validate(&self) {
        let mut waiting = 0;
        for (index, list) in self.lists.iter().enumerate() {
            list.validate();
            assert_eq!(list.is_empty(), self.present & 1 << index == 0);
            waiting += list.len();
        }
        assert_eq!(waiting, self.waiting);
    }
}
