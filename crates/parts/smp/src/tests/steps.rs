//! Calls on a machine of the most CPUs, on one thread: how long interrupts are off, and handlers that come in between.

use core::cell::{Cell, RefCell};
use std::vec::Vec;

use rhumb_machine::mask::WORD_CPUS;
use rhumb_machine::{CpuId, CpuMask, FirstCpus, IrqOff, MAX_CPUS, Pinned};

use super::machine::{cpu, inbox_for};
use crate::call::{self, Cpus, Inbox, Waited};

/// Turns after which a CPU that waits would wait permanently.
const MOST_TURNS: u64 = 100;

/// CPU 0 runs; each other CPU serves its interrupt when CPU 0 waits.
struct OneThread {
    inboxes: Vec<Inbox>,
    interrupted: RefCell<CpuMask>,
    /// The CPU that the thread is now.
    here: Cell<CpuId>,
    depth: Cell<usize>,
    /// Slots filled since interrupts went off, and the most so far.
    filled: Cell<usize>,
    most_filled: Cell<usize>,
    /// Times that interrupts came on, until an interrupt of CPU 0 is taken then.
    until_handler: Cell<usize>,
    handled: Cell<usize>,
    /// How often one interrupt went to all others.
    broadcasts: Cell<usize>,
}

impl OneThread {
    fn new(cpus: usize, until_handler: usize) -> Self {
        Self {
            inboxes: (0..cpus).map(|_| inbox_for(cpus)).collect(),
            interrupted: RefCell::new(CpuMask::EMPTY),
            here: Cell::new(CpuId::BOOT),
            depth: Cell::new(0),
            filled: Cell::new(0),
            most_filled: Cell::new(0),
            until_handler: Cell::new(until_handler),
            handled: Cell::new(0),
            broadcasts: Cell::new(0),
        }
    }

    /// Takes an interrupt of CPU 0, the handler of which calls all others.
    fn handler(&self) {
        let ran = Cell::new(0);
        self.call(&CpuMask::first(MAX_CPUS), &ran);
        assert_eq!(ran.get(), self.inboxes.len() - 1);
        self.handled.set(self.handled.get() + 1);
    }

    fn call(&self, targets: &CpuMask, ran: &Cell<usize>) {
        struct OnOneThread<'a>(&'a Cell<usize>);
        // SAFETY: all of the machine is one thread.
        unsafe impl Sync for OnOneThread<'_> {}
        impl OnOneThread<'_> {
            fn add(&self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let ran = OnOneThread(ran);
        // SAFETY: the thread is CPU 0 here.
        call::run_on(self, unsafe { Pinned::assume(CpuId::BOOT) }, targets, &|| ran.add(), || ());
    }
}

// SAFETY: each CPU has one inbox, which the thread serves as that CPU alone; a handler comes where interrupts are on.
unsafe impl Cpus for OneThread {
    fn inbox(&self, cpu: CpuId) -> Option<&Inbox> {
        self.inboxes.get(cpu.index())
    }

    fn online(&self) -> FirstCpus {
        FirstCpus(self.inboxes.len())
    }

    fn interrupt(&self, target: CpuId) {
        self.interrupted.borrow_mut().insert(target);
    }

    fn interrupt_others(&self) {
        self.broadcasts.set(self.broadcasts.get() + 1);
        *self.interrupted.borrow_mut() = CpuMask::first(self.inboxes.len()).without(self.here.get());
    }

    fn with_irqs_off<R>(&self, job: impl FnOnce(IrqOff<'_>) -> R) -> R {
        if self.depth.get() == 0 {
            self.filled.set(0);
        }
        self.depth.set(self.depth.get() + 1);
        // SAFETY: the thread is that CPU, and handlers come below alone.
        let result = job(unsafe { IrqOff::assume(self.here.get()) });
        self.depth.set(self.depth.get() - 1);
        if self.depth.get() == 0 && self.here.get() == CpuId::BOOT {
            self.most_filled.set(self.most_filled.get().max(self.filled.get()));
            self.until_handler.set(self.until_handler.get().wrapping_sub(1));
            if self.until_handler.get() == 0 {
                self.handler();
            }
        }
        result
    }

    fn has_waited(&self, waited: &mut Waited, waiting_for: impl FnOnce() -> CpuMask) {
        waited.turns += 1;
        assert!(waited.turns < MOST_TURNS, "no interrupt for {:?}", waiting_for());
        let interrupted = core::mem::take(&mut *self.interrupted.borrow_mut());
        for cpu in interrupted.iter() {
            let before = self.here.replace(cpu);
            // SAFETY: the thread is that CPU until the next line.
            call::serve(self, unsafe { IrqOff::assume(cpu) });
            self.here.set(before);
        }
    }

    fn has_sent(&self, _: Pinned<'_>) {
        self.filled.set(self.filled.get() + 1);
    }

    fn has_served(&self, _: Pinned<'_>) {}
}

/// All CPUs, and all but one of the middle: one interrupt for all, and one for each.
#[test]
fn interrupts_are_off_for_the_cpus_of_one_word() {
    let all = CpuMask::first(MAX_CPUS);
    for (targets, broadcasts) in [(all, 1), (all.without(cpu(500)), 0)] {
        let (machine, ran) = (OneThread::new(MAX_CPUS, usize::MAX), Cell::new(0));
        machine.call(&targets, &ran);
        assert_eq!(ran.get(), targets.len() - 1);
        assert!(machine.most_filled.get() <= WORD_CPUS, "{} slots", machine.most_filled.get());
        assert_eq!(machine.broadcasts.get(), broadcasts);
    }
}

/// A handler that calls comes wherever interrupts are on, between any two steps of a call.
#[test]
fn a_handler_between_the_steps_of_a_call_may_call() {
    for cpus in [65, 128, MAX_CPUS] {
        let mut until_handler = 1;
        loop {
            let (machine, ran) = (OneThread::new(cpus, until_handler), Cell::new(0));
            machine.call(&CpuMask::first(MAX_CPUS), &ran);
            assert_eq!(ran.get(), cpus - 1, "a handler after {until_handler} steps");
            assert!(!machine.inboxes.iter().any(Inbox::has_calls));
            if machine.handled.get() == 0 {
                break;
            }
            until_handler += 1;
        }
        assert!(until_handler > cpus.div_ceil(WORD_CPUS));
    }
}
