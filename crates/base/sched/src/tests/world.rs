//! A kernel for tests: its threads are threads of the host, or of the model checker, and its CPUs are batons.
//!
//! A thread of the scheduler runs while it has the baton, which names its CPU. A switch gives the baton to the next thread
//! and waits to get one back. A thread that gets a baton while it has one is on two CPUs: that fails the test. The clock
//! is virtual: each look at it moves it, and a CPU that halts moves it to its alarm.
//!
//! The tests of [`super::sim`] use the same kernel on one thread that is each CPU in turn, and never switch stacks.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::vec::Vec;

#[cfg(shuttle)]
use shuttle::{sync, thread, thread_local};
#[cfg(not(shuttle))]
use std::{sync, thread, thread_local};

use rhumb_machine::{CpuId, CpuMask, IrqOff, Machine, NodeId, Pinned, VirtAddr};
use sync::{Arc, Condvar, Mutex};

use crate::{Idle, Kernel, Limits, PerCpu, Policy, Scheduler, State, Thread, ThreadHome, ThreadRef};

thread_local! {
    /// The CPU that this thread is, and how often it has turned interrupts off.
    static HERE: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// Makes this thread a CPU.
pub(crate) fn be(cpu: usize) {
    HERE.with(|here| here.set((cpu, here.get().1)));
}

fn here() -> usize {
    HERE.with(|here| here.get().0)
}

fn depth(change: impl FnOnce(u32) -> u32) -> u32 {
    HERE.with(|here| {
        let (cpu, depth) = here.get();
        here.set((cpu, change(depth)));
        depth
    })
}

pub(crate) fn cpu_id(cpu: usize) -> CpuId {
    CpuId::new(cpu).unwrap()
}

/// The right to run on a CPU.
#[derive(Debug)]
pub(crate) struct Baton {
    state: Mutex<(bool, Option<usize>)>,
    given: Condvar,
}

impl Baton {
    pub(crate) fn new(is_on_cpu: bool) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((is_on_cpu, None)), given: Condvar::new() })
    }

    fn leave(&self) {
        self.state.lock().unwrap().0 = false;
    }

    fn give(&self, cpu: usize) {
        let mut state = self.state.lock().unwrap();
        assert!(!state.0, "a thread runs on two CPUs");
        *state = (true, Some(cpu));
        self.given.notify_one();
    }

    fn take(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(cpu) = state.1.take() {
                return cpu;
            }
            state = self.given.wait(state).unwrap();
        }
    }
}

/// A request to reschedule, which ends a halt.
#[derive(Default)]
struct Request {
    is_pending: Mutex<bool>,
    came: Condvar,
}

pub(crate) type K = &'static World;

pub(crate) struct World {
    cpus: Vec<PerCpu<K>>,
    nodes: usize,
    pub(crate) clock_ns: AtomicU64,
    /// By how much each look moves the clock.
    look_ns: u64,
    alarms: Vec<AtomicU64>,
    requests: Vec<Request>,
    /// Threads in memory.
    pub(crate) threads: AtomicUsize,
    pub(crate) is_over: AtomicBool,
    /// Whether there is no memory for threads.
    pub(crate) is_full: AtomicBool,
    pub(crate) interrupts: AtomicU64,
}

// SAFETY: a thread is the CPU whose baton it has, which no other thread has, or the one thread of the test is all CPUs in
// turn. Nothing interrupts it.
unsafe impl Machine for World {
    fn direct_map_base(&self) -> VirtAddr {
        VirtAddr::ZERO
    }
    fn cpu_count(&self) -> usize {
        self.cpus.len()
    }
    fn node_of(&self, cpu: CpuId) -> NodeId {
        NodeId::new(cpu.index() * self.nodes / self.cpus.len().max(1)).unwrap()
    }
    fn preempt_disable(&self) -> CpuId {
        depth(|depth| depth + 1);
        cpu_id(here())
    }
    unsafe fn preempt_enable(&self) {
        depth(|depth| depth - 1);
    }
    fn irq_save(&self) -> CpuId {
        self.preempt_disable()
    }
    unsafe fn irq_restore(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.preempt_enable() }
    }
    fn now_ns(&self) -> u64 {
        self.clock_ns.fetch_add(self.look_ns, SeqCst)
    }
}

/// The payload with which a thread of the host unwinds when its thread of the scheduler has ended.
struct Ended;

// SAFETY: memory is the host's.
unsafe impl ThreadHome for K {
    type Data = Arc<Baton>;

    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        if self.is_full.load(SeqCst) {
            return None;
        }
        self.threads.fetch_add(1, SeqCst);
        // SAFETY: a thread has a size.
        NonNull::new(unsafe { std::alloc::alloc(layout) })
    }
    unsafe fn free(&self, memory: NonNull<u8>, layout: Layout) {
        self.threads.fetch_sub(1, SeqCst);
        // SAFETY: the caller's promise.
        unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };
    }
}

// SAFETY: the CPUs' data are in one vector; batons make the switches; the depth counts guards.
unsafe impl Kernel for K {
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Self> {
        &self.cpus[cpu.index()]
    }
    fn request_reschedule(&self, cpu: CpuId, _: Pinned<'_>) {
        self.interrupts.fetch_add(1, SeqCst);
        let request = &self.requests[cpu.index()];
        *request.is_pending.lock().unwrap() = true;
        request.came.notify_all();
    }
    fn set_alarm(&self, at_ns: Option<u64>, irq_off: IrqOff<'_>) {
        self.alarms[irq_off.cpu().index()].store(at_ns.unwrap_or(u64::MAX), SeqCst);
    }
    fn may_switch(&self) -> bool {
        depth(|depth| depth) == 0
    }
    unsafe fn switch(&self, from: NonNull<Thread<Self>>, to: NonNull<Thread<Self>>) {
        // SAFETY: both are in memory until the next thread has its baton.
        let (from, to) = unsafe { (from.as_ref(), to.as_ref()) };
        let has_ended = from.state() == State::Ended;
        let (mine, next) = (Arc::clone(from.data()), Arc::clone(to.data()));
        mine.leave();
        // From here on, either thread may be gone.
        next.give(here());
        if has_ended {
            resume_unwind(Box::new(Ended));
        }
        be(mine.take());
    }
}

impl World {
    pub(crate) fn alarm_ns(&self, cpu: usize) -> u64 {
        self.alarms[cpu].load(SeqCst)
    }

    pub(crate) fn take_request(&self, cpu: usize) -> bool {
        core::mem::take(&mut *self.requests[cpu].is_pending.lock().unwrap())
    }

    /// Waits for a request, or moves the clock to the alarm.
    fn halt(&self, cpu: usize) {
        let request = &self.requests[cpu];
        let mut is_pending = request.is_pending.lock().unwrap();
        while !*is_pending && !self.is_over.load(SeqCst) {
            let alarm_ns = self.alarm_ns(cpu);
            if alarm_ns != u64::MAX {
                self.clock_ns.fetch_max(alarm_ns, SeqCst);
                return;
            }
            is_pending = request.came.wait(is_pending).unwrap();
        }
    }
}

/// A scheduler in its world.
#[derive(Clone, Copy)]
pub(crate) struct Rig {
    pub(crate) world: K,
    pub(crate) scheduler: &'static Scheduler<K>,
}

impl Rig {
    pub(crate) fn new(cpus: usize, nodes: usize, look_ns: u64, limits: Limits) -> Self {
        let world = Box::leak(Box::new(World {
            cpus: (0..cpus).map(|_| PerCpu::new(limits)).collect(),
            nodes,
            clock_ns: AtomicU64::new(0),
            look_ns,
            alarms: (0..cpus).map(|_| AtomicU64::new(u64::MAX)).collect(),
            requests: (0..cpus).map(|_| Request::default()).collect(),
            threads: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
        }));
        // SAFETY: a rig has one scheduler, and no test has threads of two rigs meet.
        let scheduler = unsafe { Scheduler::new(&*world) };
        Self { world, scheduler: Box::leak(Box::new(scheduler)) }
    }

    pub(crate) fn all(&self) -> CpuMask {
        CpuMask::first(self.world.cpus.len())
    }

    /// Makes a thread that the test's own thread is, in turn.
    #[cfg(not(shuttle))]
    pub(crate) fn thread(&self, policy: Policy, cpus: &CpuMask) -> ThreadRef<K> {
        ThreadRef::new(&self.world, policy, cpus, Baton::new(false)).unwrap()
    }

    /// Brings a CPU online on the calling thread.
    pub(crate) fn bring_online(&self, cpu: usize) {
        be(cpu);
        let idle = ThreadRef::new(&self.world, Policy::default(), &self.all(), Baton::new(true)).unwrap();
        let guard = self.world.irq_off();
        // SAFETY: the calling code is no thread, and does as an idle thread does.
        unsafe { self.scheduler.bring_online(&idle, guard.irq_off()) }.unwrap();
    }

    /// Is a CPU's idle thread until the test is over.
    fn be_idle(&self, cpu: usize) {
        self.bring_online(cpu);
        while !self.world.is_over.load(SeqCst) {
            {
                let guard = self.world.irq_off();
                if self.scheduler.begin_idle(guard.irq_off()) == Idle::Halt {
                    self.world.halt(here());
                }
            }
            self.poll();
            self.scheduler.reschedule();
        }
    }

    /// Takes the interrupts that are pending on this CPU.
    pub(crate) fn poll(&self) {
        let cpu = here();
        if self.world.alarm_ns(cpu) <= self.world.now_ns() {
            self.world.alarms[cpu].store(u64::MAX, SeqCst);
            let guard = self.world.irq_off();
            self.scheduler.alarm(guard.irq_off());
        }
        if self.world.take_request(cpu) {
            self.scheduler.reschedule();
        }
    }

    /// Makes a thread that does `work`, and does not start it.
    pub(crate) fn spawn(
        &self,
        policy: Policy,
        cpus: &CpuMask,
        work: impl FnOnce(Rig) + Send + 'static,
    ) -> (ThreadRef<K>, thread::JoinHandle<()>) {
        let rig = *self;
        let baton = Baton::new(false);
        let thread = ThreadRef::new(&rig.world, policy, cpus, Arc::clone(&baton)).unwrap();
        let host = thread::spawn(move || {
            be(baton.take());
            depth(|depth| depth + 1);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: the first thing that the thread does, where it was switched to.
                unsafe { rig.scheduler.begin() };
                work(rig);
                // SAFETY: the work is over, and what is left on this stack is dropped as the host's thread unwinds.
                let _ = unsafe { rig.scheduler.end(7) };
            }));
            match outcome {
                Err(payload) if payload.is::<Ended>() => {}
                Err(payload) if cfg!(shuttle) => resume_unwind(payload),
                // The threads that wait for this one would wait permanently.
                _ => std::process::abort(),
            }
        });
        (thread, host)
    }

    /// Runs `work` on the calling thread, beside the CPUs, until it returns what is to end before the CPUs stop. Then no
    /// thread is left but the idle ones.
    pub(crate) fn run(&self, work: impl FnOnce() -> Vec<(ThreadRef<K>, thread::JoinHandle<()>)>) {
        self.run_with_left_over(0, work);
    }

    /// Does as [`Rig::run`], and expects so many threads more in memory at the end.
    pub(crate) fn run_with_left_over(
        &self,
        left_over: usize,
        work: impl FnOnce() -> Vec<(ThreadRef<K>, thread::JoinHandle<()>)>,
    ) {
        let rig = *self;
        let cpus = self.world.cpus.len();
        let threads = work();
        let idle: Vec<_> = (0..cpus).map(|cpu| thread::spawn(move || rig.be_idle(cpu))).collect();
        // The model has threads start while CPUs come online.
        while cfg!(not(shuttle)) && !(0..cpus).all(|cpu| rig.scheduler.is_online(cpu_id(cpu))) {
            thread::yield_now();
        }
        for (thread, _) in &threads {
            // The test's thread is no CPU: it starts threads as an interrupt on a CPU that is not there yet would.
            while self.scheduler.start(thread).is_err() {
                thread::yield_now();
            }
        }
        for (thread, host) in threads {
            host.join().unwrap();
            drop(thread);
        }
        self.world.is_over.store(true, SeqCst);
        for request in &self.world.requests {
            let _pending = request.is_pending.lock().unwrap();
            request.came.notify_all();
        }
        for idle in idle {
            idle.join().unwrap();
        }
        let expected = cpus + left_over;
        assert_eq!(self.world.threads.load(SeqCst), expected, "threads in memory");
    }
}

impl Rig {
    /// Waits until the wait is ended.
    pub(crate) fn wait_for_ever(&self) {
        let begin = |thread: &Thread<K>, _: IrqOff<'_>| {
            thread.word.prepare();
            Some(crate::run_queue::Why::Block)
        };
        let waited = self.scheduler.with_switch(begin, |_, _| {});
        assert!(waited.is_ok());
    }
}
