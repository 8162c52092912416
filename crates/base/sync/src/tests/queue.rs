//! The queue of a lock, look by look: the order in which CPUs are served does not depend on time.

use rhumb_machine::{CpuId, IrqOff};

use std::vec::Vec;

use crate::queue::PATIENCE;
use crate::{Guard, Place, QueueLock};

fn irq_off(cpu: usize) -> IrqOff<'static> {
    // SAFETY: each CPU of the tests is a thread, or a number in a test without threads, and has no interrupts.
    unsafe { IrqOff::assume(CpuId::new(cpu).unwrap()) }
}

/// CPUs before one lock.
struct Queue<'a> {
    lock: &'a QueueLock<u32>,
    places: Vec<Place>,
}

impl<'a> Queue<'a> {
    fn new(lock: &'a QueueLock<u32>, cpus: usize) -> Self {
        Self { lock, places: (0..cpus).map(|_| Place::new()).collect() }
    }

    fn look(&self, cpu: usize) -> Option<Guard<'a, u32, IrqOff<'static>>> {
        let taken = self.lock.look(irq_off(cpu), &self.places[cpu]).ok();
        assert!(taken.is_none() || self.lock.try_lock(irq_off(99)).is_err());
        taken
    }
}

#[test]
fn cpus_are_served_in_the_order_in_which_they_came() {
    const ORDER: [usize; 4] = [2, 3, 0, 1];
    let lock = QueueLock::new(0);
    let queue = Queue::new(&lock, 4);
    let mut held = queue.look(ORDER[0]).unwrap();
    assert!(ORDER[1..].iter().all(|&cpu| queue.look(cpu).is_none()));
    for turn in 1..12 {
        let next = ORDER[turn % 4];
        drop(held);
        // The CPU that had it comes last, and the looks of the others change nothing.
        for cpu in [ORDER[(turn - 1) % 4], ORDER[(turn + 1) % 4], ORDER[(turn + 2) % 4]] {
            assert!(queue.look(cpu).is_none());
            assert!(lock.waits(&queue.places[cpu]));
        }
        assert!(lock.try_lock(irq_off(9)).is_err(), "a try overtakes");
        assert!(!lock.waits(&queue.places[next]));
        held = queue.look(next).unwrap();
        *held += 1;
    }
    assert_eq!(*held, 11);
    assert_eq!(lock.waiting(), 3);
}

/// A handler that runs on a CPU that waits takes the CPU's ticket, and the CPU's next look draws another one.
#[test]
fn a_handler_takes_the_lock_in_the_turn_of_its_cpu() {
    let lock = QueueLock::new(0);
    let queue = Queue::new(&lock, 3);
    let held = queue.look(0).unwrap();
    assert!(queue.look(1).is_none());
    assert!(queue.look(2).is_none());
    // The handler on CPU 1 waits, too: by the ticket that there is.
    assert!(queue.look(1).is_none());
    assert_eq!(lock.waiting(), 2);
    drop(held);
    let handler = queue.look(1).unwrap();
    drop(handler);
    // The interrupted code goes on: behind CPU 2.
    assert!(!lock.waits(&queue.places[1]) && queue.look(1).is_none());
    let held = queue.look(2).unwrap();
    drop(held);
    assert!(queue.look(1).is_some());
    assert!(lock.try_lock(irq_off(1)).is_ok(), "no ticket is left behind");
}

/// In histories of looks and handlers, in any order: a CPU that waits is overtaken by each other CPU once at most.
#[test]
fn no_cpu_is_overtaken_twice_by_another() {
    const CPUS: usize = 5;
    for seed in 1..200_u64 {
        let lock = QueueLock::new(0);
        let queue = Queue::new(&lock, CPUS);
        let mut random = seed;
        let mut held: Option<(usize, Guard<'_, u32, IrqOff<'static>>)> = None;
        // For each CPU that waits: how often each other one has had the lock since its first look.
        let mut overtaken = [None::<[u32; CPUS]>; CPUS];
        for _ in 0..400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let cpu = (random >> 33) as usize % CPUS;
            if held.as_ref().is_some_and(|&(holder, _)| holder == cpu) {
                // Interrupts are off: it goes on to the end.
                held = None;
            } else if let Some(guard) = queue.look(cpu) {
                assert!(held.is_none(), "two hold it");
                overtaken[cpu] = None;
                for counts in overtaken.iter_mut().flatten() {
                    counts[cpu] += 1;
                    assert!(counts[cpu] <= 1, "seed {seed}");
                }
                held = Some((cpu, guard));
            } else {
                let _ = lock.waits(&queue.places[cpu]);
                overtaken[cpu].get_or_insert([0; CPUS]);
            }
        }
    }
}

#[test]
fn a_turn_that_is_not_used_is_passed_over() {
    let lock = QueueLock::new(0);
    let queue = Queue::new(&lock, 4);
    let held = queue.look(0).unwrap();
    assert!([1, 2, 3].iter().all(|&cpu| queue.look(cpu).is_none()));
    // Only a lock that is free: CPU 1 cannot use its turn yet.
    (0..3 * PATIENCE).for_each(|_| assert!(lock.waits(&queue.places[3])));
    drop(held);
    (1..PATIENCE).for_each(|_| assert!(lock.waits(&queue.places[3])));
    assert!(queue.look(3).is_none() && lock.waits(&queue.places[2]));
    let held = queue.look(1).unwrap();
    drop(held);
    // CPU 2 does not look any more.
    (0..=PATIENCE).for_each(|_| assert!(lock.waits(&queue.places[3])));
    assert!(!lock.waits(&queue.places[3]));
    let held = queue.look(3).unwrap();
    // It looks again: it is in the queue, behind CPU 0.
    assert!(queue.look(0).is_none() && queue.look(2).is_none());
    drop(held);
    assert!(queue.look(2).is_none());
    drop(queue.look(0).unwrap());
    drop(queue.look(2).unwrap());
    assert_eq!(lock.waiting(), 0);
}

/// However long ago that was, its number does not come again.
#[test]
fn a_ticket_that_was_passed_over_is_none() {
    for served in [1, 1 << 31, (1 << 31) + 2, 1 << 32, 1 << 40] {
        let (before, place) = (QueueLock::new(0), Place::new());
        let _held = before.look(irq_off(0), &Place::new());
        assert!(before.look(irq_off(1), &place).is_err());
        // The same queue, so many turns later.
        let after = QueueLock::after(served, 0);
        assert!(after.look(irq_off(1), &place).is_ok());
    }
}

#[test]
fn no_change_in_a_turn_is_lost() {
    let lock = QueueLock::new(0);
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let lock = &lock;
            scope.spawn(move || {
                let place = Place::new();
                for _ in 0..2_000 {
                    let mut value = loop {
                        match lock.look(irq_off(cpu), &place) {
                            Ok(value) => break value,
                            Err(_) => {
                                while lock.waits(&place) {
                                    std::thread::yield_now();
                                }
                            }
                        }
                    };
                    *value += 1;
                }
            });
        }
    });
    assert_eq!(*lock.try_lock(irq_off(0)).ok().unwrap(), 8_000);
}
