//! Every interleaving of small cases: `RUSTFLAGS="--cfg loom" cargo test -p rhumb-smp --lib --release loom`.

use ::loom::cell::UnsafeCell;
use ::loom::sync::Arc;
use ::loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use ::loom::thread;

use rhumb_machine::CpuMask;

use super::machine::{Threads, become_cpu, cpu};
use crate::start::{Progress, StartWord, Starts};
use rhumb_sync::atomic::{AtomicU64, Ordering, fence};

/// All interleavings with up to this many switches at awkward moments.
fn check(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}

/// Runs `body` on two CPUs that are threads; both idle afterwards until both are done.
fn on_two_cpus(body: impl Fn(&Threads, usize) + Clone + Send + 'static) {
    let machine = Arc::new(Threads::new(2));
    let other = {
        let (machine, body) = (machine.clone(), body.clone());
        thread::spawn(move || {
            become_cpu(cpu(1));
            body(&machine, 1);
            machine.idle(cpu(1));
        })
    };
    become_cpu(cpu(0));
    body(&machine, 0);
    machine.idle(cpu(0));
    other.join().unwrap();
    assert!(machine.is_quiet());
}

#[test]
fn two_cpus_call_each_other() {
    check(3, || {
        on_two_cpus(|machine, me| {
            let ran = AtomicUsize::new(0);
            machine.call(cpu(me), &CpuMask::only(cpu(1 - me)), &|| {
                // A plain load and store: two runs, or a run that the caller does not see, would lose one.
                ran.store(ran.load(Relaxed) + 1, Relaxed);
            });
            assert_eq!(ran.load(Relaxed), 1);
        });
    });
}

/// Both call, and what each serves calls back: its slot may be full by the call that its own CPU waits for.
#[test]
fn a_call_within_a_served_call() {
    check(2, || {
        let machine = Arc::new(Threads::new(2));
        let other = {
            let machine = machine.clone();
            thread::spawn(move || {
                become_cpu(cpu(1));
                call_and_be_called_back(&machine, 1);
                machine.idle(cpu(1));
            })
        };
        become_cpu(cpu(0));
        call_and_be_called_back(&machine, 0);
        machine.idle(cpu(0));
        other.join().unwrap();
        assert!(machine.is_quiet());
    });
}

fn call_and_be_called_back(machine: &Threads, me: usize) {
    let (there, back) = (AtomicUsize::new(0), AtomicUsize::new(0));
    machine.call(cpu(me), &CpuMask::only(cpu(1 - me)), &|| {
        there.fetch_add(1, Relaxed);
        machine.call(cpu(1 - me), &CpuMask::only(cpu(me)), &|| {
            back.fetch_add(1, Relaxed);
        });
    });
    assert_eq!((there.load(Relaxed), back.load(Relaxed)), (1, 1));
}

/// A CPU acknowledges a call and then stops permanently in it: the caller goes on.
#[test]
fn a_stop_while_calling() {
    check(3, || {
        let machine = Arc::new(Threads::new(2));
        let stopped = Arc::new(AtomicU64::new(0));
        let other = {
            let (machine, stopped) = (machine.clone(), stopped.clone());
            thread::spawn(move || {
                become_cpu(cpu(1));
                // It calls at the moment when it is told to stop; the call is served all the same.
                machine.call(cpu(1), &CpuMask::only(cpu(0)), &|| ());
                while stopped.load(Ordering::Acquire) == 0 {
                    machine.take_interrupt(cpu(1));
                    thread::yield_now();
                }
            })
        };
        become_cpu(cpu(0));
        machine.call(cpu(0), &CpuMask::only(cpu(1)), &|| stopped.store(1, Ordering::Release));
        // Until its own call has been served.
        while !Arc::strong_count(&stopped).eq(&1) {
            machine.take_interrupt(cpu(0));
            thread::yield_now();
        }
        other.join().unwrap();
    });
}

/// The work of a CPU that has been told to start: the letter, and then the word decide whether it takes part.
fn arrive(word: &StartWord, letter: &AtomicU64, id: u32) -> bool {
    letter.swap(0, Ordering::AcqRel) != 0 && word.come_online(id).is_ok()
}

/// The work of the CPU that starts it, when it has waited long enough.
fn give_up(word: &StartWord, letter: &AtomicU64, id: u32) -> bool {
    let is_given_up = word.cancel(id).is_ok();
    if is_given_up {
        letter.store(0, Ordering::Release);
    }
    is_given_up
}

#[test]
fn a_late_cpu_is_online_or_given_up() {
    check(3, || {
        let shared = Arc::new((StartWord::new(), AtomicU64::new(0)));
        shared.0.begin(7);
        shared.1.store(1, Ordering::Release);
        let starting = {
            let shared = shared.clone();
            thread::spawn(move || arrive(&shared.0, &shared.1, 7))
        };
        let is_given_up = give_up(&shared.0, &shared.1, 7);
        let is_online = starting.join().unwrap();
        assert!(is_online != is_given_up);
        assert_eq!(shared.0.progress(7) == Progress::Online, is_online);
    });
}

/// The first candidate is late, is given up, and the next has its word and its letter: the late one never takes part,
/// whichever letter it finds, and the next one is online exactly where it is not given up.
#[test]
fn a_late_cpu_never_takes_the_next_ones_place() {
    check(3, || {
        let shared = Arc::new((StartWord::new(), AtomicU64::new(0)));
        let come = |id| {
            let shared = shared.clone();
            thread::spawn(move || arrive(&shared.0, &shared.1, id))
        };
        shared.0.begin(1);
        shared.1.store(1, Ordering::Release);
        let late = come(1);
        if !give_up(&shared.0, &shared.1, 1) {
            assert!(late.join().unwrap());
            return;
        }
        shared.0.begin(2);
        shared.1.store(2, Ordering::Release);
        let next = come(2);
        let is_given_up = give_up(&shared.0, &shared.1, 2);
        assert!(!late.join().unwrap());
        assert!(next.join().unwrap() != is_given_up);
    });
}

/// A table that an entry refers to, and a CPU that starts: whether it is listed as running, and whether it has answered
/// the call that asks it to flush.
struct Tables {
    entry: AtomicU64,
    old_table: UnsafeCell<()>,
    listed: AtomicU64,
    answered: AtomicU64,
    starts: Starts,
}

// SAFETY: the cell in it is loom's, which reports each access that another one races with.
unsafe impl Sync for Tables {}
// SAFETY: the threads of the model pass the value on whole, and loom's cell may move between them.
unsafe impl Send for Tables {}

const OLD: u64 = 1;
const NEW: u64 = 2;

impl Tables {
    fn new() -> Self {
        Self {
            entry: AtomicU64::new(OLD),
            old_table: UnsafeCell::new(()),
            listed: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            starts: Starts::new(),
        }
    }

    /// A walk: by what is cached, or by the entry.
    fn walk(&self, cached: &mut Option<u64>) {
        if *cached.get_or_insert_with(|| self.entry.load(Ordering::Relaxed)) == OLD {
            self.old_table.with(|_| ());
        }
    }

    /// The CPU that starts, and the one that starts it, which waits for it all the time and so is the same thread here.
    /// It walks before it is listed, and afterwards, and then serves a call.
    fn start(&self) {
        let start = self.starts.begin();
        let mut cached = None;
        self.walk(&mut cached);
        self.listed.store(1, Ordering::Release);
        fence(Ordering::SeqCst);
        cached = None;
        drop(start);
        self.walk(&mut cached);
        self.answered.store(1, Ordering::Release);
    }

    /// Changes the entry, flushes, and gives the old table to another use. Between both it waits as `wait` does.
    fn change(&self, wait: fn(&Starts)) {
        self.entry.store(NEW, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        wait(&self.starts);
        if self.listed.load(Ordering::Acquire) == 1 {
            while self.answered.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
        }
        self.old_table.with_mut(|_| ());
    }
}

/// One CPU starts another while a third one changes an entry and frees the table behind it.
fn change_while_a_cpu_starts(wait: fn(&Starts)) {
    check(3, move || {
        let tables = Arc::new(Tables::new());
        let starting = {
            let tables = tables.clone();
            thread::spawn(move || tables.start())
        };
        tables.change(wait);
        starting.join().unwrap();
    });
}

/// No walk of the CPU that starts reaches the table afterwards, whether the CPU is listed by then or not.
#[test]
fn a_table_outlives_the_walks_of_a_cpu_that_starts() {
    change_while_a_cpu_starts(|starts| starts.wait(thread::yield_now));
}

#[test]
#[should_panic = "Causality violation"]
fn a_flusher_that_does_not_wait_is_found() {
    change_while_a_cpu_starts(|_| ());
}
