//! [`Thread`], and the counted reference [`ThreadRef`] by which a kernel holds one; a leaf where `unsafe` lives.
//!
//! A thread lies where the kernel has memory for it ([`ThreadHome::allocate`]), does not move, and is freed by the last
//! reference. Queues have addresses of threads and no references. Two rules keep these addresses good:
//! 1. A thread that has started and is not gone has a reference to itself, which the kernel gets in the end.
//! 2. The last reference leaves a thread in memory that is in any queue, or that other threads know as the holder of a
//!    mutex. It says so by [`impossible!`], because rule 1 and the code of the queues do not let it come to that.

use core::alloc::Layout;
use core::fmt;
use core::mem::forget;
use core::ops::Deref;
use core::ptr::NonNull;

use rhumb_machine::mask::WORDS;
use rhumb_machine::{CpuId, CpuMask, CpuSet, IrqOff, Machine, impossible};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{
    AcqRel, Acquire, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Relaxed, Release, SeqCst,
};

use crate::field::{Number, Place};
use crate::list::Link;
use crate::policy::{Nice, Policy};
use crate::tree::{Node, Tree};
use crate::word::{Reason, State, StateWord};

pub(crate) mod contended;
mod wait_queue;

pub(crate) use contended::{ByTop, Contended};
pub use wait_queue::WaitQueue;

/// Memory for the threads of a kernel, and the kernel's part of each.
///
/// # Safety
/// [`ThreadHome::allocate`] returns memory of that layout that nothing else uses until [`ThreadHome::free`].
pub unsafe trait ThreadHome: Machine + Clone + 'static {
    /// The kernel's part of a thread: registers, stack, task.
    type Data: Send + Sync + 'static;

    /// Returns memory for a thread, or `None` where there is none. Called with interrupts as the caller of
    /// [`ThreadRef::new`] has them.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Takes memory back.
    ///
    /// # Safety
    /// The memory came from [`ThreadHome::allocate`] with this layout, and nothing uses it any more.
    unsafe fn free(&self, memory: NonNull<u8>, layout: Layout);
}

/// The part of a thread that run queues keep. The CPU that has the thread, or the holder of the lock of the queue that has it,
/// writes here.
pub(crate) struct Run<K: ThreadHome> {
    /// Its place among real-time threads that are ready.
    pub(crate) link: Link<Thread<K>>,
    /// Its place among fair threads that are ready.
    pub(crate) node: Node<Thread<K>>,
    /// Its place among those that are ready and may run on other CPUs.
    pub(crate) spare: Link<Thread<K>>,
    /// The word of the policy with which the queue has counted it.
    pub(crate) policy: Number,
    /// 1 while a queue counts it: from when it enters the queue until it leaves CPU and queue.
    pub(crate) is_counted: Number,
    /// The virtual time of a fair thread.
    pub(crate) virtual_ns: Number,
    /// The virtual time by which its present request is to be served.
    pub(crate) deadline_ns: Number,
    /// The virtual time from which its present request is eligible: when the request began.
    pub(crate) eligible_ns: Number,
    /// 1 once the CPU has begun to serve its present request.
    pub(crate) has_begun: Number,
    /// The share of a nanosecond of virtual time that is not in `virtual_ns` yet, in units of one by the weight.
    pub(crate) residue: Number,
    /// While no queue counts it: how far it was behind its share when it left, in virtual time. An `i64`.
    pub(crate) lag_ns: Number,
    /// While no queue counts it: the virtual time that was left of its request; 0 for none.
    pub(crate) request_left_ns: Number,
    /// The rest of a round-robin slice.
    pub(crate) slice_left_ns: Number,
    /// For how long it has run.
    pub(crate) ran_ns: Number,
}

impl<K: ThreadHome> Run<K> {
    const fn new() -> Self {
        Self {
            link: Link::new(),
            node: Node::new(),
            spare: Link::new(),
            policy: Number::new(0),
            is_counted: Number::new(0),
            virtual_ns: Number::new(0),
            deadline_ns: Number::new(0),
            eligible_ns: Number::new(0),
            has_begun: Number::new(0),
            residue: Number::new(0),
            lag_ns: Number::new(0),
            request_left_ns: Number::new(0),
            slice_left_ns: Number::new(0),
            ran_ns: Number::new(0),
        }
    }
}

impl<K: ThreadHome> Run<K> {
    /// Returns the policy with which a queue counts the thread.
    pub(crate) fn policy(&self) -> Policy {
        Policy::from_bits(self.policy.get() as u32)
    }

    /// Returns what the thread adds to the load of the CPU that counts it.
    pub(crate) fn weight(&self) -> u64 {
        match self.policy() {
            Policy::Fair(nice) => nice.weight(),
            Policy::RealTime(..) => REAL_TIME_WEIGHT,
        }
    }
}

/// The load of a real-time thread.
pub(crate) const REAL_TIME_WEIGHT: u64 = Nice::LEAST.weight();

/// A thread.
#[repr(C, align(64))]
pub struct Thread<K: ThreadHome> {
    pub(crate) word: StateWord,
    /// The CPU in whose queue it is, or on which it runs or ran.
    cpu: AtomicU32,
    /// The word of the policy that it was given.
    base: AtomicU32,
    /// The word of the policy by which it is scheduled: the base, or a more urgent one that it has from a thread that
    /// waits for it.
    effective: AtomicU32,
    pub(crate) run: Run<K>,
    /// Its place in a wait queue.
    pub(crate) waiting: Link<Thread<K>>,
    /// Its place among the timers of a CPU.
    pub(crate) timer: Node<Thread<K>>,
    /// The CPU that has its timer.
    pub(crate) timer_cpu: Number,
    /// The number of its wait, for those that find it in a wait queue or among timers.
    pub(crate) wait: Number,
    /// Its place among those that wait for a mutex.
    pub(crate) urgent: Node<Thread<K>>,
    /// The mutex for which it waits.
    pub(crate) blocked_on: Place<Contended<K>>,
    /// The mutexes that it holds and for which others wait.
    pub(crate) contended: Tree<ByTop<K>>,
    /// How many mutexes it holds.
    pub(crate) holds: Number,
    /// Those that wait for its end.
    pub(crate) joiners: WaitQueue<K>,
    /// Whether it was cancelled, and has not been told so yet.
    pub(crate) is_cancelled: AtomicBool,
    result: AtomicU64,
    has_result: AtomicBool,
    affinity: [AtomicU64; WORDS],
    /// Whether the affinity is one CPU.
    is_bound: AtomicBool,
    /// Lets one CPU at a time write the affinity.
    affinity_turn: Lock<()>,
    /// 1 for the idle thread of a CPU, which neither waits nor ends.
    is_idle: Number,
    references: AtomicUsize,
    kernel: K,
    data: K::Data,
}

impl<K: ThreadHome> Thread<K> {
    /// Returns the kernel's part of the thread.
    pub fn data(&self) -> &K::Data {
        &self.data
    }

    /// Returns its state, which may have changed since.
    pub fn state(&self) -> State {
        self.word.state()
    }

    /// Returns why its last wait ended.
    pub(crate) fn reason(&self) -> Reason {
        self.word.reason()
    }

    /// Returns the policy that it was given.
    pub fn policy(&self) -> Policy {
        Policy::from_bits(self.base.load(Relaxed))
    }

    /// Returns the policy by which it is scheduled: its own, or that of a more urgent thread that waits for it.
    pub fn effective_policy(&self) -> Policy {
        Policy::from_bits(self.effective.load(SeqCst))
    }

    pub(crate) fn set_base(&self, policy: Policy) {
        self.base.store(policy.bits(), Relaxed);
    }

    pub(crate) fn set_effective(&self, policy: Policy) {
        self.effective.store(policy.bits(), SeqCst);
    }

    /// Returns the CPU on which it runs, or ran last, or in whose queue it is.
    pub fn cpu(&self) -> CpuId {
        CpuId::new(self.cpu.load(SeqCst) as usize).unwrap_or(CpuId::BOOT)
    }

    pub(crate) fn set_cpu(&self, cpu: CpuId) {
        self.cpu.store(cpu.index() as u32, SeqCst);
    }

    /// Returns the CPUs on which it may run.
    pub fn affinity(&self) -> CpuMask {
        CpuMask::from_words(self.affinity.iter().map(|word| word.load(SeqCst)))
    }

    /// Returns one word of the CPUs on which it may run.
    pub(crate) fn affinity_word(&self, word: usize) -> u64 {
        self.affinity.get(word).map_or(0, |word| word.load(SeqCst))
    }

    /// Writes the CPUs on which it may run. Meanwhile it may run on the old and the new ones, so that there are always
    /// some.
    pub(crate) fn set_affinity(&self, cpus: &CpuSet, irq_off: IrqOff<'_>) {
        let _turn = self.affinity_turn.lock(irq_off);
        let words = || cpus.words().iter().copied().chain(core::iter::repeat(0));
        for (word, bits) in self.affinity.iter().zip(words()) {
            word.fetch_or(bits, SeqCst);
        }
        for (word, bits) in self.affinity.iter().zip(words()) {
            word.store(bits, SeqCst);
        }
        self.is_bound.store(is_one(cpus), SeqCst);
    }

    /// Tells whether it may run on one CPU alone.
    pub(crate) fn is_bound(&self) -> bool {
        self.is_bound.load(SeqCst)
    }

    pub(crate) fn set_idle(&self) {
        self.is_idle.set(1);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle.get() == 1
    }

    pub(crate) fn may_run_on(&self, cpu: CpuId) -> bool {
        self.affinity_word(cpu.word()) & cpu.bit() != 0
    }

    /// Returns for how long it has run, up to when it last left a CPU or was charged.
    pub fn ran_ns(&self) -> u64 {
        self.run.ran_ns.get()
    }

    /// Tells whether any queue has its address.
    fn is_linked(&self) -> bool {
        let is_queued = self.run.link.is_linked() || self.run.node.is_linked() || self.run.spare.is_linked();
        is_queued || self.waiting.is_linked() || self.timer.is_linked() || self.urgent.is_linked()
    }

    /// Returns the result with which it ended.
    pub fn result(&self) -> Option<u64> {
        self.has_result.load(Acquire).then(|| self.result.load(Relaxed))
    }

    pub(crate) fn set_result(&self, result: u64) {
        self.result.store(result, Relaxed);
        self.has_result.store(true, Release);
    }
}

impl<K: ThreadHome> fmt::Debug for Thread<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Thread");
        fields.field("state", &self.state()).field("policy", &self.effective_policy());
        fields.field("cpu", &self.cpu()).finish_non_exhaustive()
    }
}

fn is_one(cpus: &CpuSet) -> bool {
    cpus.iter().take(2).count() < 2
}

/// The reason why a thread was not made. The data come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewError<D> {
    /// There is no memory for it.
    NoMemory(D),
    /// It was to run on no CPU at all.
    NoCpu(D),
}

/// A reference to a thread. The last one frees it.
pub struct ThreadRef<K: ThreadHome>(NonNull<Thread<K>>);

// SAFETY: the reference gives no more than `&Thread` does, and what it drops, a kernel and its data, are `Send`.
unsafe impl<K: ThreadHome> Send for ThreadRef<K> {}
// SAFETY: as above.
unsafe impl<K: ThreadHome> Sync for ThreadRef<K> {}

impl<K: ThreadHome> ThreadRef<K> {
    /// Makes a thread, which [`Scheduler::start`](crate::Scheduler::start) starts. It may run on `cpus`.
    ///
    /// # Errors
    /// [`NewError`], with the data.
    pub fn new(kernel: &K, policy: Policy, cpus: &CpuSet, data: K::Data) -> Result<Self, NewError<K::Data>> {
        let Some(first) = cpus.iter().next() else { return Err(NewError::NoCpu(data)) };
        let first = if first.index() < kernel.cpu_count() { first } else { CpuId::BOOT };
        let layout = Layout::new::<Thread<K>>();
        let Some(memory) = kernel.allocate(layout) else { return Err(NewError::NoMemory(data)) };
        let place = memory.cast::<Thread<K>>();
        let thread = Thread {
            word: StateWord::new(),
            cpu: AtomicU32::new(first.index() as u32),
            base: AtomicU32::new(policy.bits()),
            effective: AtomicU32::new(policy.bits()),
            run: Run::new(),
            waiting: Link::new(),
            timer: Node::new(),
            timer_cpu: Number::new(0),
            wait: Number::new(0),
            urgent: Node::new(),
            blocked_on: Place::nowhere(),
            contended: Tree::new(),
            holds: Number::new(0),
            joiners: WaitQueue::new(),
            is_cancelled: AtomicBool::new(false),
            result: AtomicU64::new(0),
            has_result: AtomicBool::new(false),
            affinity: core::array::from_fn(|word| {
                AtomicU64::new(cpus.words().get(word).copied().unwrap_or(0))
            }),
            is_bound: AtomicBool::new(is_one(cpus)),
            affinity_turn: Lock::new(()),
            is_idle: Number::new(0),
            references: AtomicUsize::new(1),
            kernel: kernel.clone(),
            data,
        };
        // SAFETY: the kernel returned memory of this layout that nothing else uses.
        unsafe { place.write(thread) };
        Ok(Self(place))
    }

    /// Makes the reference that a thread has to itself: forgets one, until [`ThreadRef::own`].
    pub(crate) fn give_to_itself(self) -> NonNull<Thread<K>> {
        let place = self.0;
        forget(self);
        place
    }

    /// Returns the reference that a thread had to itself.
    ///
    /// # Safety
    /// Called once for each [`ThreadRef::give_to_itself`].
    pub(crate) unsafe fn own(place: NonNull<Thread<K>>) -> Self {
        Self(place)
    }

    /// Tells whether both refer to one thread.
    pub fn is(&self, other: &Thread<K>) -> bool {
        self.0 == NonNull::from(other)
    }
}

impl<K: ThreadHome> Thread<K> {
    /// Returns a reference to the thread.
    pub fn to_ref(&self) -> ThreadRef<K> {
        self.references.fetch_add(1, Relaxed);
        ThreadRef(NonNull::from(self))
    }

    /// Returns a reference to the thread, unless its last one is gone: for lists that a thread leaves as it is dropped.
    pub fn try_to_ref(&self) -> Option<ThreadRef<K>> {
        let mut references = self.references.load(Relaxed);
        while references != 0 {
            match self.references.compare_exchange_weak(references, references + 1, Relaxed, Relaxed) {
                Ok(_) => return Some(ThreadRef(NonNull::from(self))),
                Err(now) => references = now,
            }
        }
        None
    }
}

impl<K: ThreadHome> Clone for ThreadRef<K> {
    fn clone(&self) -> Self {
        self.to_ref()
    }
}

impl<K: ThreadHome> Deref for ThreadRef<K> {
    type Target = Thread<K>;

    fn deref(&self) -> &Thread<K> {
        // SAFETY: the thread is not freed before its last reference is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl<K: ThreadHome> fmt::Debug for ThreadRef<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<K: ThreadHome> Drop for ThreadRef<K> {
    fn drop(&mut self) {
        if self.references.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        if self.is_linked() {
            impossible!("a thread without references has not started or is gone, and both are in no queue");
            return;
        }
        if self.holds.get() != 0 {
            // Others may wait for it permanently, and know its address: it ended with a mutex whose guard it forgot.
            return;
        }
        let kernel = self.kernel.clone();
        // SAFETY: this was the last reference, and no queue has the address. The kernel gave the memory, for a thread.
        unsafe {
            self.0.drop_in_place();
            kernel.free(self.0.cast(), Layout::new::<Thread<K>>());
        }
    }
}

/// Returns the thread at an address that a queue or a CPU has.
///
/// # Safety
/// The thread is not gone for as long as the reference is used.
pub(crate) unsafe fn at<'a, K: ThreadHome>(place: NonNull<Thread<K>>) -> &'a Thread<K> {
    // SAFETY: a thread that is not gone has a reference to itself (rule 1 of the module).
    unsafe { place.as_ref() }
}
