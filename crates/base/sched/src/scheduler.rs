//! [`Scheduler`]: starting, waking, choosing, and the hand-over of threads between CPUs.
//!
//! One way leads onto a CPU: `Scheduler::decide` takes a thread out of this CPU's queue under its lock. One way leads
//! off: `Scheduler::finish`, on the next thread's stack, settles the word of the thread that was left, and puts it
//! into a queue if it is ready. Between the two the thread is in no queue. See [`word`](crate::word).
//!
//! Locking: the queue's lock is the innermost one. No CPU holds two of them. A thread on its way from one queue to
//! another is Ready, in no queue, and belongs to the CPU that moves it.
//!
//! A change of a policy or of an affinity, and the entry of a thread into a queue, see each other: the changer writes
//! the policy, then reads the thread's CPU; the CPU that enters it writes the thread's CPU, then reads the policy. All
//! four are sequentially consistent, so one of the two sees what the other wrote.

use core::ptr::NonNull;

use rhumb_machine::mask::WORDS;
use rhumb_machine::{CpuId, CpuSet, IrqOff};
use rhumb_sync::Lock;
use rhumb_sync::atomic::{AtomicU64, Relaxed, SeqCst};

use crate::kernel::Kernel;
use crate::per_cpu::PerCpu;
use crate::policy::Policy;
use crate::run_queue::Why;
use crate::thread::{Thread, ThreadRef, at};
use crate::timers::NEVER;
use crate::word::{Reason, Settled, State, Ticket, Wake};

/// One word of a set of CPUs, on a line of its own.
#[repr(align(64))]
pub(crate) struct Word(pub(crate) AtomicU64);

/// The decision whether a CPU is to choose another thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a CPU that is not asked goes on with what it runs"]
pub(crate) enum Reschedule {
    /// All CPUs run what they should.
    No,
    /// This CPU may have a better one.
    Cpu(CpuId),
}

impl Reschedule {
    const fn of(cpu: CpuId, looks: bool) -> Self {
        if looks { Self::Cpu(cpu) } else { Self::No }
    }
}

/// A switch that a CPU has decided on.
#[derive(Debug)]
#[must_use = "the CPU counts the thread as running"]
pub(crate) struct Switch<K: Kernel> {
    pub(crate) from: NonNull<Thread<K>>,
    pub(crate) to: NonNull<Thread<K>>,
}

/// The reason why a request was refused. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchedError {
    /// The thread has been started before.
    Started,
    /// No CPU that is online is among those on which the thread may run.
    NoCpu,
}

/// A scheduler for the CPUs of one kernel.
pub struct Scheduler<K: Kernel> {
    pub(crate) kernel: K,
    /// The CPUs that are online for this scheduler.
    online: [Word; WORDS],
    /// The CPUs that halt, or are about to.
    pub(crate) idle: [Word; WORDS],
    /// Keeps the graph of those that wait for contended mutexes and those that hold them.
    pub(crate) inheritance: Lock<()>,
}

impl<K: Kernel> Scheduler<K> {
    rhumb_sync::const_fn! {
        /// Makes a scheduler with no CPU online.
        ///
        /// # Safety
        /// Threads, wait queues and mutexes that are used with this scheduler are used with no other.
        pub unsafe fn new(kernel: K) -> Self {
            Self {
                kernel,
                online: rhumb_sync::atomics!(Word(AtomicU64::new(0))),
                idle: rhumb_sync::atomics!(Word(AtomicU64::new(0))),
                inheritance: Lock::new(()),
            }
        }
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    pub(crate) fn per_cpu(&self, cpu: CpuId) -> &PerCpu<K> {
        self.kernel.per_cpu(cpu)
    }

    pub(crate) fn online_word(&self, word: usize) -> u64 {
        self.online.get(word).map_or(0, |word| word.0.load(Relaxed))
    }

    /// Tells whether a CPU is online for this scheduler.
    pub fn is_online(&self, cpu: CpuId) -> bool {
        self.online_word(cpu.word()) & cpu.bit() != 0
    }

    /// Brings this CPU online: the code that runs becomes the thread `idle`, which runs when no other does. From then on
    /// threads may come here.
    ///
    /// # Errors
    /// [`SchedError::Started`], if the thread has been started before, or this CPU is online.
    ///
    /// # Safety
    /// The code that runs is not part of any other thread. It is the code of an idle thread: it calls
    /// [`Scheduler::begin_idle`], halts if told to, calls [`Scheduler::reschedule`], and does so again, permanently.
    pub unsafe fn bring_online(&self, idle: &ThreadRef<K>, irq_off: IrqOff<'_>) -> Result<(), SchedError> {
        let cpu = self.kernel.cpu_of(irq_off.pinned());
        if self.is_online(cpu) || !idle.word.start() {
            return Err(SchedError::Started);
        }
        idle.word.run();
        idle.set_cpu(cpu);
        idle.set_idle();
        let place = idle.clone().give_to_itself();
        let here = self.per_cpu(cpu);
        let queue = here.queue.lock(irq_off);
        queue.idle.set(Some(place));
        queue.running.set(Some(place));
        here.running.set(Some(place));
        here.publish(&queue);
        drop(queue);
        self.online[cpu.word()].0.fetch_or(cpu.bit(), SeqCst);
        Ok(())
    }

    /// Returns the thread that runs on this CPU.
    pub(crate) fn running<'a>(&self, irq_off: IrqOff<'a>) -> Option<&'a Thread<K>> {
        let place = self.per_cpu(self.kernel.cpu_of(irq_off.pinned())).running.get()?;
        // SAFETY: the thread runs, so it is not gone, and with interrupts off this CPU does not leave it.
        Some(unsafe { at(place) })
    }

    /// Returns a reference to the thread that runs on this CPU; `None` before the CPU is online.
    pub fn current(&self) -> Option<ThreadRef<K>> {
        let guard = self.kernel.irq_off();
        self.running(guard.irq_off()).map(Thread::to_ref)
    }

    /// Starts a thread: it runs soon, on one of its CPUs.
    ///
    /// # Errors
    /// [`SchedError`].
    pub fn start(&self, thread: &ThreadRef<K>) -> Result<(), SchedError> {
        if !self.has_cpu(&thread.affinity()) {
            return Err(SchedError::NoCpu);
        }
        if !thread.word.start() {
            return Err(SchedError::Started);
        }
        let place = thread.clone().give_to_itself();
        let guard = self.kernel.irq_off();
        let irq_off = guard.irq_off();
        // SAFETY: the thread has the reference to itself that it was given now, until it is gone.
        let thread = unsafe { at(place) };
        let cpu = self.place_new(thread, irq_off.pinned());
        let started = self.enqueue_at(thread, cpu, irq_off);
        self.act(started, irq_off);
        Ok(())
    }

    fn has_cpu(&self, cpus: &CpuSet) -> bool {
        cpus.words().iter().enumerate().any(|(word, &bits)| bits & self.online_word(word) != 0)
    }

    /// Ends the wait `ticket` of a thread.
    pub(crate) fn wake(
        &self,
        thread: &Thread<K>,
        ticket: Ticket,
        reason: Reason,
        irq_off: IrqOff<'_>,
    ) -> bool {
        match thread.word.wake(ticket, reason) {
            Wake::NotWaiting => false,
            // From here on the thread may run, end and be freed: nothing is done with it.
            Wake::OnCpu => true,
            Wake::OffCpu => {
                let woken = self.enqueue(thread, irq_off);
                self.act(woken, irq_off);
                true
            }
        }
    }

    /// Puts a thread that is ready, that no queue has, and that belongs to the caller, into a queue.
    pub(crate) fn enqueue(&self, thread: &Thread<K>, irq_off: IrqOff<'_>) -> Reschedule {
        self.enqueue_at(thread, self.place(thread, irq_off.pinned()), irq_off)
    }

    /// Puts a thread into the queue of `cpu`, or of another CPU where it may not run there any more.
    pub(crate) fn enqueue_at(&self, thread: &Thread<K>, cpu: CpuId, irq_off: IrqOff<'_>) -> Reschedule {
        let mut cpu = cpu;
        loop {
            if let Some(entered) = self.enqueue_on(thread, cpu, irq_off) {
                return entered;
            }
            // It may have been claimed as an idle CPU. It says so again when it has looked.
            self.act(Reschedule::Cpu(cpu), irq_off);
            cpu = self.place(thread, irq_off.pinned());
        }
    }

    /// Puts a thread into the queue of `cpu`; `None` if it may not run there, because its affinity has changed meanwhile.
    fn enqueue_on(&self, thread: &Thread<K>, cpu: CpuId, irq_off: IrqOff<'_>) -> Option<Reschedule> {
        let there = self.per_cpu(cpu);
        let mut queue = there.queue.lock(irq_off);
        thread.set_cpu(cpu);
        if !thread.may_run_on(cpu) {
            return None;
        }
        queue.charge(self.kernel.time_ns());
        let looks = queue.insert(thread);
        there.publish(&queue);
        Some(Reschedule::of(cpu, looks))
    }

    /// Asks the CPU of a decision to reschedule, unless it has been asked and has not done so yet.
    pub(crate) fn act(&self, decision: Reschedule, irq_off: IrqOff<'_>) {
        if let Reschedule::Cpu(cpu) = decision
            && !self.per_cpu(cpu).is_wanted.swap(true, SeqCst)
        {
            self.kernel.request_reschedule(cpu, irq_off.pinned());
        }
    }

    /// Tells whether this CPU has been asked to reschedule, and has not done so yet: for preemption points.
    pub fn is_wanted(&self, irq_off: IrqOff<'_>) -> bool {
        self.per_cpu(self.kernel.cpu_of(irq_off.pinned())).is_wanted.load(Relaxed)
    }

    /// Gives a thread another effective policy, where it waits, runs, or is on its way.
    pub(crate) fn set_effective(&self, thread: &Thread<K>, policy: Policy, irq_off: IrqOff<'_>) {
        thread.set_effective(policy);
        let mut cpu = thread.cpu();
        loop {
            let there = self.per_cpu(cpu);
            let mut queue = there.queue.lock(irq_off);
            queue.charge(self.kernel.time_ns());
            if let Some(looks) = queue.requeue(thread) {
                there.publish(&queue);
                drop(queue);
                self.act(Reschedule::of(cpu, looks), irq_off);
                return;
            }
            drop(queue);
            let now = thread.cpu();
            if now == cpu {
                return;
            }
            cpu = now;
        }
    }

    /// Restricts a thread to `cpus`. If it runs or waits on another CPU, it leaves that one soon.
    ///
    /// # Errors
    /// [`SchedError::NoCpu`].
    pub fn set_affinity(&self, thread: &Thread<K>, cpus: &CpuSet) -> Result<(), SchedError> {
        if !self.has_cpu(cpus) {
            return Err(SchedError::NoCpu);
        }
        let guard = self.kernel.irq_off();
        let irq_off = guard.irq_off();
        thread.set_affinity(cpus, irq_off);
        let mut cpu = thread.cpu();
        loop {
            let there = self.per_cpu(cpu);
            let mut queue = there.queue.lock(irq_off);
            queue.rebind(thread);
            let leaves = !thread.may_run_on(cpu);
            queue.charge(self.kernel.time_ns());
            let waited = leaves && queue.remove(thread);
            let runs = leaves && queue.running.is(thread);
            there.publish(&queue);
            drop(queue);
            if waited {
                let moved = self.enqueue(thread, irq_off);
                self.act(moved, irq_off);
                return Ok(());
            }
            if runs {
                self.act(Reschedule::Cpu(cpu), irq_off);
                return Ok(());
            }
            let now = thread.cpu();
            if now == cpu {
                return Ok(());
            }
            cpu = now;
        }
    }

    /// Chooses the thread that this CPU runs from now on, and returns the switch to it, if it is another one.
    pub(crate) fn decide(&self, why: Why, irq_off: IrqOff<'_>) -> Option<Switch<K>> {
        let cpu = self.kernel.cpu_of(irq_off.pinned());
        let here = self.per_cpu(cpu);
        let from = here.running.get()?;
        let now_ns = self.kernel.time_ns();
        let mut queue = here.queue.lock(irq_off);
        here.is_wanted.store(false, SeqCst);
        // SAFETY: the thread runs, and this CPU does not leave it before the switch.
        let thread: &Thread<K> = unsafe { at(from) };
        let stays = match why {
            Why::Preempt | Why::Yield => thread.may_run_on(cpu),
            // A wake-up that has come already is the cheapest of all.
            Why::Block => thread.state() == State::Running,
            Why::End => false,
        };
        let next = queue.choose(why, stays, now_ns).map(NonNull::from);
        if thread.is_idle() && next != Some(from) {
            self.end_idle(cpu);
        }
        let preempted = (stays && next != Some(from)).then_some(thread).filter(|thread| !thread.is_idle());
        let choose_ns = queue.next_ns(now_ns, preempted);
        here.choose_ns.set(choose_ns.unwrap_or(NEVER));
        let alarms = [choose_ns, here.timers.first_ns()];
        let alarm_ns = alarms.into_iter().flatten().min();
        here.publish(&queue);
        drop(queue);
        if here.changes_alarm(alarm_ns) {
            self.kernel.set_alarm(alarm_ns, irq_off);
        }
        let to = next?;
        if to == from {
            return None;
        }
        // SAFETY: the thread was in this CPU's queue, or is its idle thread: it is not gone.
        let next = unsafe { at(to) };
        next.word.run();
        here.running.set(Some(to));
        here.left.set(Some(from));
        Some(Switch { from, to })
    }

    /// Settles the thread that this CPU has left, now that it runs on another stack. Returns a thread that is gone.
    pub(crate) fn finish(&self, irq_off: IrqOff<'_>) -> Option<ThreadRef<K>> {
        let cpu = self.kernel.cpu_of(irq_off.pinned());
        let here = self.per_cpu(cpu);
        let left = here.left.take()?;
        // SAFETY: the thread is not gone before it is settled.
        let thread: &Thread<K> = unsafe { at(left) };
        match thread.word.settle() {
            Settled::Blocked => None,
            Settled::Ready => {
                self.put_back(thread, cpu, irq_off);
                None
            }
            // SAFETY: the reference was given when the thread started, and is taken here once, because a thread is gone
            // once.
            Settled::Gone => Some(unsafe { ThreadRef::own(left) }),
        }
    }

    /// Puts a thread that this CPU has left and that is ready back into a queue. A real-time thread goes where it can run at
    /// once, if there is such a CPU near.
    fn put_back(&self, thread: &Thread<K>, cpu: CpuId, irq_off: IrqOff<'_>) {
        let here = self.per_cpu(cpu);
        let elsewhere = self.less_urgent_near(thread, cpu).filter(|&elsewhere| elsewhere != cpu);
        let mut queue = here.queue.lock(irq_off);
        if queue.idle.is(thread) {
            return;
        }
        if thread.run.is_counted.get() == 1 {
            if elsewhere.is_none() && thread.may_run_on(cpu) {
                let looks = queue.put_back(thread);
                here.publish(&queue);
                drop(queue);
                self.act(Reschedule::of(cpu, looks), irq_off);
                return;
            }
            queue.send_away(thread);
            here.publish(&queue);
        }
        drop(queue);
        let back = elsewhere.unwrap_or_else(|| self.place(thread, irq_off.pinned()));
        let back = self.enqueue_at(thread, back, irq_off);
        self.act(back, irq_off);
    }
}
