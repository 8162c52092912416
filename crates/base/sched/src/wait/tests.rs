//! Waits that end in the middle of a wake-up, step by step.

use rhumb_machine::{CpuMask, Machine};

use super::WaitQueue;
use crate::run_queue::Why;
use crate::tests::sim::Sim;
use crate::tests::world::{K, be, cpu_id};
use crate::word::{Reason, Ticket, Wake};
use crate::{Limits, Policy, State};

/// Has the thread that runs on `cpu` wait in `queue`.
fn wait(sim: &Sim, queue: &WaitQueue<K>, cpu: usize) -> Ticket {
    be(cpu);
    let guard = sim.rig.world.irq_off();
    let ticket = queue.enter(&sim.threads[sim.running(cpu).unwrap()], guard.irq_off());
    drop(guard);
    sim.choose(cpu, Why::Block);
    ticket
}

/// A thread whose time is over is still in the queue when a wake-up comes: the wake-up reaches the next thread, and tells
/// the caller so. A second one finds none.
#[test]
fn a_wake_up_passes_over_a_thread_whose_wait_has_ended() {
    let mut sim = Sim::new(2, Limits::USUAL);
    let queue = WaitQueue::<K>::new();
    for cpu in 0..2 {
        sim.start_on(Policy::default(), &CpuMask::only(cpu_id(cpu)));
    }
    let late = wait(&sim, &queue, 0);
    wait(&sim, &queue, 1);
    assert_eq!(sim.threads[0].word.wake(late, Reason::TimedOut), Wake::OffCpu);
    assert!(queue.wake_one(sim.rig.scheduler));
    sim.deliver();
    assert_eq!((sim.threads[1].state(), sim.threads[1].reason()), (State::Running, Reason::Woken));
    assert_eq!(sim.threads[0].reason(), Reason::TimedOut);
    assert!(!queue.wake_one(sim.rig.scheduler));
    let guard = sim.rig.world.irq_off();
    assert!(queue.is_empty(guard.irq_off()));
}

/// Threads that come back into the queue while all are woken are not woken again by the same call.
#[test]
fn all_that_wait_now_are_woken_first_come_first() {
    let mut sim = Sim::new(1, Limits::USUAL);
    let queue = WaitQueue::<K>::new();
    for _ in 0..40 {
        sim.start(Policy::default());
    }
    let mut order = std::vec::Vec::new();
    for _ in 0..40 {
        order.push(sim.running(0).unwrap());
        wait(&sim, &queue, 0);
    }
    assert!(queue.wake_one(sim.rig.scheduler));
    sim.deliver();
    assert_eq!(sim.running(0), Some(order[0]), "the first that waited");
    assert_eq!(queue.wake_up_to(sim.rig.scheduler, 20), 20);
    assert_eq!(queue.wake_all(sim.rig.scheduler), 19);
    assert_eq!(queue.wake_all(sim.rig.scheduler), 0);
    sim.deliver();
    sim.validate();
}
