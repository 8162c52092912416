//! [`Fair`]: the fair threads of one CPU, by earliest eligible virtual deadline first.
//!
//! Each thread has a weight, and virtual time passes for it by the real time that it runs, divided by its weight. The
//! queue's virtual time is the mean of the threads' virtual times, by weight: where a perfectly shared CPU would have
//! brought each. A thread's *lag* is how far it is behind that mean.
//!
//! A thread asks for one slice after the other. A request is eligible once the mean has come to where the thread was as
//! the request began, and stays eligible until it is served; its deadline is when a perfectly shared CPU would have served
//! it. Of the eligible requests, the CPU serves that with the earliest deadline. So a thread that comes in between takes
//! the CPU only by an earlier deadline, and the request that it interrupts goes on before later ones: no slice is cut into
//! pieces. Of two equal requests, one that has begun goes first, and then the one that has waited longer. Then no thread is ever further behind or ahead of its share than by one slice (Stoica and
//! Abdel-Wahab, "Earliest Eligible Virtual Deadline First", 1995, theorem 1). From this follows that no thread starves.
//!
//! ```text
//!   tree by deadline, each node with the earliest begin of a request below it: the first eligible one is on one path
//!   mean = zero + sum / weight     sum = Σ wᵢ (vᵢ - zero)     b is eligible if (b - zero) weight <= sum     bᵢ <= vᵢ
//! ```
//!
//! A thread that blocks takes its lag with it, so that neither sleeping nor waking gains or loses a share; a thread that
//! goes to another CPU does the same.
//!
//! Why not the least virtual time first: a heavy thread among many light ones would wait for a slice of each of them.
//! Why not the earliest deadline alone: a heavy thread would run ahead of its share by many slices. Why a tree with one
//! more number, and not two heaps: when the mean moves, any number of threads become eligible at once.

use core::marker::PhantomData;

use crate::list::End;
use crate::policy::NORMAL_WEIGHT;
use crate::thread::{Thread, ThreadHome};
use crate::tree::{Node, Noded, Tree, order};

pub(crate) struct ByDeadline<K>(PhantomData<K>);

impl<K: ThreadHome> Noded for ByDeadline<K> {
    type Item = Thread<K>;

    fn node(thread: &Thread<K>) -> &Node<Thread<K>> {
        &thread.run.node
    }
}

/// The zero point follows the mean when it is this far behind, so that products stay far below 2^127.
const FAR_NS: i128 = 1 << 40;

/// The fair threads of one CPU: those that wait, and the one that runs.
pub(crate) struct Fair<K: ThreadHome> {
    /// Those that wait.
    waiting: Tree<ByDeadline<K>>,
    /// The sum of the weights of all.
    weight: u64,
    /// The sum of their virtual times since `zero_ns`, by weight.
    sum: i128,
    zero_ns: u64,
}

/// The longest real time that is charged at once, 104 days: its product with a weight is still one word.
const MOST_NS: u64 = 1 << 53;

/// Returns the virtual time that passes in `real_ns` for a thread of this weight, and what is left over.
fn virtual_of(real_ns: u64, residue: u64, weight: u64) -> (u64, u64) {
    let scaled = real_ns.min(MOST_NS) * NORMAL_WEIGHT + residue;
    let weight = weight.max(1);
    (scaled / weight, scaled % weight)
}

/// Returns the real time in which `virtual_ns` pass for a thread of this weight, rounded up.
fn real_of(virtual_ns: u64, weight: u64) -> u64 {
    virtual_ns.saturating_mul(weight).div_ceil(NORMAL_WEIGHT)
}

impl<K: ThreadHome> Fair<K> {
    pub(crate) const fn new() -> Self {
        Self { waiting: Tree::new(), weight: 0, sum: 0, zero_ns: 0 }
    }

    /// Returns how many threads wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len()
    }

    /// Returns the sum of the weights of those that wait and the one that runs.
    pub(crate) const fn weight(&self) -> u64 {
        self.weight
    }

    /// Returns how far a virtual time is behind the zero point.
    fn since_zero(&self, virtual_ns: u64) -> i128 {
        i128::from(virtual_ns.wrapping_sub(self.zero_ns) as i64)
    }

    /// Returns the mean of the virtual times, rounded down.
    pub(crate) fn mean_ns(&self) -> u64 {
        let since = if self.weight == 0 { 0 } else { self.sum.div_euclid(i128::from(self.weight)) };
        self.zero_ns.wrapping_add(since as u64)
    }

    fn is_eligible(&self, thread: &Thread<K>) -> bool {
        self.since_zero(thread.run.eligible_ns.get()) * i128::from(self.weight) <= self.sum
    }

    /// Moves the zero point to the mean, where the mean has gone far from it.
    fn follow(&mut self) {
        let mean_ns = self.mean_ns();
        let by = self.since_zero(mean_ns);
        if by.abs() >= FAR_NS {
            self.sum -= by * i128::from(self.weight);
            self.zero_ns = mean_ns;
        }
    }

    /// Counts a thread that was not counted, with its lag. It is neither waiting nor running yet.
    pub(crate) fn enter(&mut self, thread: &Thread<K>, slice_ns: u64) {
        let weight = thread.run.weight();
        let run = &thread.run;
        let request_ns = virtual_of(slice_ns, 0, weight).0.max(1);
        let most = 2 * i128::from(request_ns);
        let mut lag = i128::from(run.lag_ns.get() as i64).clamp(-most, most);
        if self.weight != 0 {
            // The mean moves towards the thread as it comes: its lag afterwards is to be what it was.
            lag = lag * i128::from(self.weight + weight) / i128::from(self.weight);
        }
        let virtual_ns = self.mean_ns().wrapping_sub(lag as u64);
        let left_ns = match run.request_left_ns.get() {
            0 => request_ns,
            left_ns => left_ns.min(request_ns),
        };
        run.virtual_ns.set(virtual_ns);
        let deadline_ns = virtual_ns.wrapping_add(left_ns);
        run.deadline_ns.set(deadline_ns);
        run.eligible_ns.set(deadline_ns.wrapping_sub(request_ns));
        run.has_begun.set(u64::from(left_ns < request_ns));
        run.residue.set(0);
        self.sum += self.since_zero(virtual_ns) * i128::from(weight);
        self.weight += weight;
        self.follow();
    }

    /// Counts a thread no more. It keeps its lag, and with `keeps_request` the rest of its request. It is not waiting.
    pub(crate) fn leave(&mut self, thread: &Thread<K>, request: Request) {
        let weight = thread.run.weight();
        let run = &thread.run;
        let virtual_ns = run.virtual_ns.get();
        let left_ns = match request {
            Request::Kept => run.deadline_ns.get().wrapping_sub(virtual_ns),
            Request::Over => 0,
        };
        run.lag_ns.set(self.mean_ns().wrapping_sub(virtual_ns));
        run.request_left_ns.set(left_ns);
        let mean_ns = self.mean_ns();
        self.sum -= self.since_zero(virtual_ns) * i128::from(weight);
        self.weight -= weight;
        if self.weight == 0 {
            self.sum = 0;
            self.zero_ns = mean_ns;
        }
    }

    /// Puts a thread that is counted and does not run among those that wait.
    pub(crate) fn queue(&mut self, thread: &Thread<K>) -> bool {
        let (deadline_ns, eligible_ns) = (thread.run.deadline_ns.get(), thread.run.eligible_ns.get());
        let end = if thread.run.has_begun.get() == 1 { End::First } else { End::Last };
        // SAFETY: the last reference to a thread frees it only while it is in no tree.
        unsafe { self.waiting.insert_at(end, thread, deadline_ns, eligible_ns) }
    }

    /// Takes a thread from those that wait.
    pub(crate) fn unqueue(&mut self, thread: &Thread<K>) -> bool {
        self.waiting.remove(thread)
    }

    /// Returns the thread to serve: one of those that wait, or `running`.
    pub(crate) fn choice(&self, running: Option<&Thread<K>>) -> Option<&Thread<K>> {
        let waiting = self.waiting.first_with(self.mean_ns());
        let Some(running) = running else {
            // The mean is not before the least virtual time, nor that before its request began: one is eligible where any waits. Rounding cannot change
            // that: the mean is rounded down to a whole number, and virtual times are whole numbers.
            return waiting.or_else(|| self.waiting.first());
        };
        let waiting = waiting?;
        let by_deadline = order(waiting.run.deadline_ns.get(), running.run.deadline_ns.get());
        let is_earlier = by_deadline.is_lt() || (by_deadline.is_eq() && running.run.has_begun.get() == 0);
        (is_earlier || !self.is_eligible(running)).then_some(waiting)
    }

    /// Notes that the CPU serves the request of a thread from now on.
    pub(crate) fn begin(&self, thread: &Thread<K>) {
        thread.run.has_begun.set(1);
    }

    /// Tells whether a thread that has come is served before the one that runs.
    pub(crate) fn preempts(&self, new: &Thread<K>, running: &Thread<K>) -> bool {
        let is_earlier = order(new.run.deadline_ns.get(), running.run.deadline_ns.get()).is_lt();
        self.is_eligible(new) && (is_earlier || !self.is_eligible(running))
    }

    /// Charges the thread that runs.
    pub(crate) fn charge(&mut self, running: &Thread<K>, ran_ns: u64, slice_ns: u64) {
        let weight = running.run.weight();
        let run = &running.run;
        let (more_ns, residue) = virtual_of(ran_ns, run.residue.get(), weight);
        run.residue.set(residue);
        run.virtual_ns.add(more_ns);
        self.sum += i128::from(more_ns) * i128::from(weight);
        if order(run.virtual_ns.get(), run.deadline_ns.get()).is_ge() {
            self.next_request(running, slice_ns);
        }
        self.follow();
    }

    /// Begins the next request of the thread that runs: where the last one is over, or the thread yields the rest of it.
    pub(crate) fn next_request(&mut self, running: &Thread<K>, slice_ns: u64) {
        let request_ns = virtual_of(slice_ns, 0, running.run.weight()).0.max(1);
        let run = &running.run;
        let virtual_ns = run.virtual_ns.get();
        // A thread that yields again and again gives up one request, and no later ones.
        let left_ns = (run.deadline_ns.get().wrapping_sub(virtual_ns) as i64).clamp(0, request_ns as i64);
        run.deadline_ns.set(virtual_ns.wrapping_add(left_ns as u64).wrapping_add(request_ns));
        run.eligible_ns.set(virtual_ns);
        run.has_begun.set(0);
    }

    /// Returns how long the thread that runs may go on until its request is over.
    pub(crate) fn left_ns(&self, running: &Thread<K>) -> u64 {
        let run = &running.run;
        real_of(run.deadline_ns.get().wrapping_sub(run.virtual_ns.get()), running.run.weight())
    }

    /// Tells whether this thread waits.
    pub(crate) fn has(&self, thread: &Thread<K>) -> bool {
        self.waiting.contains(thread)
    }

    /// Returns how many of those that wait fit.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn count_that(&self, fits: impl Fn(&Thread<K>) -> bool) -> u64 {
        let mut count = 0;
        self.waiting.last_that(usize::MAX, |thread| {
            count += u64::from(fits(thread));
            false
        });
        count
    }

    /// Checks the tree, and that the sums are those of the threads that wait and of `running`.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn validate(&self, running: Option<&Thread<K>>) {
        self.waiting.validate();
        let (mut weight, mut sum) = (0, 0);
        let mut add = |thread: &Thread<K>| {
            weight += thread.run.weight();
            sum += self.since_zero(thread.run.virtual_ns.get()) * i128::from(thread.run.weight());
            false
        };
        self.waiting.last_that(usize::MAX, &mut add);
        running.map(add);
        assert_eq!((weight, sum), (self.weight, self.sum));
    }
}

/// The fate of the rest of a request when its thread leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// The thread goes on with it elsewhere.
    Kept,
    /// It is over, because the thread blocks.
    Over,
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
