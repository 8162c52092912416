//! Virtual time: one thread is each CPU in turn, and the clock goes from alarm to alarm. The same run each time.

use core::sync::atomic::Ordering::SeqCst;
use std::vec::Vec;

use rhumb_machine::{CpuMask, Machine};

use crate::run_queue::Why;
use crate::tests::world::{K, Rig, be, cpu_id};
use crate::word::Reason;
use crate::{Kernel, Limits, Policy, State, ThreadRef};

pub(crate) struct Sim {
    pub(crate) rig: Rig,
    pub(crate) cpus: usize,
    pub(crate) threads: Vec<ThreadRef<K>>,
}

impl Sim {
    pub(crate) fn new(cpus: usize, limits: Limits) -> Self {
        let rig = Rig::new(cpus, 1, 0, limits);
        (0..cpus).for_each(|cpu| rig.bring_online(cpu));
        be(0);
        Self { rig, cpus, threads: Vec::new() }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.rig.world.clock_ns.load(SeqCst)
    }

    /// Starts a thread that may run anywhere, and returns its number.
    pub(crate) fn start(&mut self, policy: Policy) -> usize {
        self.start_on(policy, &self.rig.all())
    }

    pub(crate) fn start_on(&mut self, policy: Policy, cpus: &CpuMask) -> usize {
        let thread = self.rig.thread(policy, cpus);
        self.rig.scheduler.start(&thread).unwrap();
        self.threads.push(thread);
        self.deliver();
        self.threads.len() - 1
    }

    /// Has a CPU choose, and settles the thread that it leaves.
    pub(crate) fn choose(&self, cpu: usize, why: Why) {
        be(cpu);
        let guard = self.rig.world.irq_off();
        let irq_off = guard.irq_off();
        if self.rig.scheduler.decide(why, irq_off).is_some() {
            drop(self.rig.scheduler.finish(irq_off));
        }
    }

    /// Delivers the interrupts that are pending, and those that follow from them.
    pub(crate) fn deliver(&self) {
        while let Some(cpu) = (0..self.cpus).find(|&cpu| self.rig.world.take_request(cpu)) {
            self.choose(cpu, Why::Preempt);
        }
    }

    /// Returns the thread that runs on a CPU, but for the idle one.
    pub(crate) fn running(&self, cpu: usize) -> Option<usize> {
        let running = self.rig.world.per_cpu(cpu_id(cpu)).running.get();
        self.threads.iter().position(|thread| running == Some((&**thread).into()))
    }

    /// Returns the CPU on which a thread runs.
    pub(crate) fn cpu_of(&self, thread: usize) -> Option<usize> {
        (0..self.cpus).find(|&cpu| self.running(cpu) == Some(thread))
    }

    /// Runs until `until_ns`, and calls `look` whenever a CPU has chosen.
    pub(crate) fn run(&self, until_ns: u64, mut look: impl FnMut(&Self)) {
        loop {
            let alarms = (0..self.cpus).map(|cpu| (self.rig.world.alarm_ns(cpu), cpu));
            let (at_ns, cpu) = alarms.min().unwrap();
            if at_ns > until_ns {
                break;
            }
            self.rig.world.clock_ns.fetch_max(at_ns, SeqCst);
            be(cpu);
            let guard = self.rig.world.irq_off();
            self.rig.world.set_alarm(None, guard.irq_off());
            self.rig.scheduler.alarm(guard.irq_off());
            drop(guard);
            self.deliver();
            look(self);
        }
        self.rig.world.clock_ns.fetch_max(until_ns, SeqCst);
        for cpu in 0..self.cpus {
            self.choose(cpu, Why::Preempt);
        }
        self.deliver();
        look(self);
    }

    /// Has a thread that runs wait.
    pub(crate) fn block(&self, thread: usize) {
        let cpu = self.cpu_of(thread).unwrap();
        self.threads[thread].word.prepare();
        self.choose(cpu, Why::Block);
        self.deliver();
    }

    /// Wakes a thread that waits, from a CPU.
    pub(crate) fn wake(&self, thread: usize, from: usize) -> bool {
        be(from);
        let guard = self.rig.world.irq_off();
        let thread = &self.threads[thread];
        let ticket = thread.word.ticket();
        let is_woken = ticket
            .is_some_and(|ticket| self.rig.scheduler.wake(thread, ticket, Reason::Woken, guard.irq_off()));
        drop(guard);
        self.deliver();
        is_woken
    }

    /// Has a thread that runs end.
    pub(crate) fn end(&self, thread: usize) {
        let cpu = self.cpu_of(thread).unwrap();
        self.threads[thread].word.end();
        self.choose(cpu, Why::End);
        self.deliver();
        assert_eq!(self.threads[thread].state(), State::Gone);
    }

    pub(crate) fn ran_ns(&self, thread: usize) -> u64 {
        self.threads[thread].ran_ns()
    }

    /// Checks each queue, and that each thread is where its state says.
    pub(crate) fn validate(&self) {
        let mut waiting = 0;
        let guard = self.rig.world.irq_off();
        for cpu in 0..self.cpus {
            let queue = self.rig.world.per_cpu(cpu_id(cpu)).queue.lock(guard.irq_off());
            queue.validate();
            waiting += u64::from(queue.load().waiting);
        }
        let count = |state| self.threads.iter().filter(|thread| thread.state() == state).count();
        assert_eq!(waiting, count(State::Ready) as u64);
        let running = (0..self.cpus).filter_map(|cpu| self.running(cpu)).count();
        assert_eq!(running, count(State::Running));
    }
}
