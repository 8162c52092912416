//! [`Spare`]: the threads that wait on one CPU and may run on others, for those that look for work to move.
//!
//! A list for each class. A search looks at a few threads from the front, and puts each behind all others as it looks: so
//! the next search goes on where this one ended, and threads that may not go to one CPU hide no others for long. Threads
//! that are bound to one CPU are in no list, however many they are.

use core::marker::PhantomData;

use crate::list::{End, Link, Linked, List};
use crate::policy::Policy;
use crate::thread::{Thread, ThreadHome};
use crate::tree::order;

struct BySpare<K>(PhantomData<K>);

impl<K: ThreadHome> Linked for BySpare<K> {
    type Item = Thread<K>;

    fn link(thread: &Thread<K>) -> &Link<Thread<K>> {
        &thread.run.spare
    }
}

/// How many threads of each class are looked at for one that may go to another CPU.
const LOOKS: u64 = 8;

/// The threads that wait on one CPU and are not bound to it.
pub(crate) struct Spare<K: ThreadHome> {
    real_time: List<BySpare<K>>,
    fair: List<BySpare<K>>,
}

impl<K: ThreadHome> Spare<K> {
    pub(crate) const fn new() -> Self {
        Self { real_time: List::new(), fair: List::new() }
    }

    /// Notes a thread that waits here, unless it is bound to one CPU.
    pub(crate) fn insert(&self, thread: &Thread<K>) {
        if thread.is_bound() {
            return;
        }
        let list = match thread.run.policy() {
            Policy::Fair(_) => &self.fair,
            Policy::RealTime(..) => &self.real_time,
        };
        // SAFETY: the last reference to a thread frees it only while it is in no list.
        unsafe { list.insert(thread, End::Last) };
    }

    /// Forgets a thread, which waits no more, or whose binding has changed.
    pub(crate) fn remove(&self, thread: &Thread<K>) {
        if !self.real_time.remove(thread) {
            self.fair.remove(thread);
        }
    }

    /// Returns a thread for which `fits` is true: the most urgent one of eight real-time ones, or that of eight fair ones
    /// that would wait longest.
    pub(crate) fn find(&self, mut fits: impl FnMut(&Thread<K>) -> bool) -> Option<&Thread<K>> {
        let is_more_urgent =
            |one: &Thread<K>, other: &Thread<K>| one.run.policy().rank() > other.run.policy().rank();
        let is_later = |one: &Thread<K>, other: &Thread<K>| {
            order(one.run.deadline_ns.get(), other.run.deadline_ns.get()).is_gt()
        };
        let real_time = Self::best(&self.real_time, &mut fits, is_more_urgent);
        real_time.or_else(|| Self::best(&self.fair, &mut fits, is_later))
    }

    fn best<'a>(
        list: &'a List<BySpare<K>>,
        fits: &mut impl FnMut(&Thread<K>) -> bool,
        is_better: impl Fn(&Thread<K>, &Thread<K>) -> bool,
    ) -> Option<&'a Thread<K>> {
        let mut best: Option<&Thread<K>> = None;
        for _ in 0..LOOKS.min(list.len()) {
            let thread = list.first()?;
            list.remove(thread);
            // SAFETY: as in `insert`.
            unsafe { list.insert(thread, End::Last) };
            if fits(thread) && best.is_none_or(|best| is_better(thread, best)) {
                best = Some(thread);
            }
        }
        best
    }

    /// Checks the lists, and that they have so many threads, none of which is bound.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn validate(&self, real_time: u64, fair: u64) {
        for (list, count) in [(&self.real_time, real_time), (&self.fair, fair)] {
            list.validate();
            assert_eq!(list.len(), count);
            assert!(list.iter().all(|thread| !thread.is_bound()));
        }
    }
}
