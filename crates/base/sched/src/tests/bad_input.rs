//! Requests that are refused, and change nothing.

use core::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

use rhumb_machine::{CpuMask, Machine};

use crate::tests::sim::Sim;
use crate::tests::world::{Baton, Rig, be, cpu_id};
use crate::{CannotSwitch, Limits, NewError, Policy, SchedError, State, ThreadRef};

/// Without memory there is no thread, and the kernel's part of it comes back. Nor is there one that may run nowhere.
#[test]
fn a_thread_that_cannot_be_made_gives_its_data_back() {
    let rig = Rig::new(1, 1, 0, Limits::USUAL);
    let data = Baton::new(false);
    let make = |cpus: &CpuMask| ThreadRef::new(&rig.world, Policy::default(), cpus, Arc::clone(&data));
    assert!(matches!(make(&CpuMask::EMPTY), Err(NewError::NoCpu(_))));
    rig.world.is_full.store(true, SeqCst);
    assert!(matches!(make(&rig.all()), Err(NewError::NoMemory(_))));
    assert_eq!((rig.world.threads.load(SeqCst), Arc::strong_count(&data)), (0, 1));
    rig.world.is_full.store(false, SeqCst);
    let thread = make(&rig.all()).unwrap();
    assert_eq!((rig.world.threads.load(SeqCst), Arc::strong_count(&data)), (1, 2));
    drop(thread);
    assert_eq!((rig.world.threads.load(SeqCst), Arc::strong_count(&data)), (0, 1));
}

#[test]
fn a_thread_starts_once_and_only_where_it_may_run() {
    let mut sim = Sim::new(2, Limits::USUAL);
    let scheduler = sim.rig.scheduler;
    let far = sim.rig.thread(Policy::default(), &CpuMask::only(cpu_id(900)));
    assert_eq!((scheduler.start(&far), far.state()), (Err(SchedError::NoCpu), State::Created));
    assert_eq!(scheduler.set_affinity(&far, &CpuMask::only(cpu_id(2))), Err(SchedError::NoCpu));
    assert!(far.affinity().contains(cpu_id(900)), "it is as before");
    assert_eq!(scheduler.set_affinity(&far, &sim.rig.all()), Ok(()));
    assert_eq!(scheduler.start(&far), Ok(()));
    assert_eq!(scheduler.start(&far), Err(SchedError::Started));
    sim.deliver();
    let number = sim.start(Policy::default());
    assert!(!sim.wake(number, 0), "it does not wait");
    sim.threads.push(far);
    sim.validate();
}

/// A CPU comes online once, and its idle thread neither ends nor sleeps.
#[test]
fn an_idle_thread_is_always_there() {
    let rig = Rig::new(2, 1, 0, Limits::USUAL);
    be(0);
    assert!(rig.scheduler.current().is_none());
    rig.scheduler.reschedule();
    // SAFETY: it is refused.
    assert_eq!(unsafe { rig.scheduler.end(0) }, Err(CannotSwitch), "the CPU is not online");
    rig.bring_online(0);
    let other = rig.thread(Policy::default(), &rig.all());
    let guard = rig.world.irq_off();
    // SAFETY: it is refused.
    let again = unsafe { rig.scheduler.bring_online(&other, guard.irq_off()) };
    assert_eq!((again, other.state()), (Err(SchedError::Started), State::Created));
    drop(guard);
    // SAFETY: it is refused.
    assert_eq!(unsafe { rig.scheduler.end(0) }, Err(CannotSwitch));
    assert_eq!(rig.scheduler.sleep_until(5), Err(crate::WaitError::CannotSwitch));
    rig.scheduler.yield_now();
    assert!(rig.scheduler.current().unwrap().is_idle());
}
