//! `stress threads`: every CPU starts threads of all policies that compute, give way, sleep, wait, lock and allocate, and
//! joins them; each result is checked, and in the end all memory is back.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_frames::Request;
use rhumb_machine::{Counted, CpuMask, Machine};
use rhumb_monitor::Output;
use rhumb_sched::{Mutex, Nice, Policy, Priority, Turns, WaitError};

use crate::cpu::clock::Deadline;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area, work};
use crate::debug::random::Random;
use crate::lab::failure::Failure;
use crate::lab::taken::Taken;
use crate::mm;
use crate::task::thread::spawn;
use crate::task::{ThreadRef, WaitQueue, scheduler};

/// Threads that each CPU has at once.
const AT_ONCE: usize = 12;
const PATIENCE_NS: u64 = 20_000_000_000;

static MEETING: WaitQueue = WaitQueue::new();
/// Two numbers that are the same whenever the mutex is free.
static PAIR: Mutex<[u64; 2], KernelMachine> = Mutex::new([0; 2]);

/// The first thing that went wrong, plus 1: an index of [`WRONG`].
static FIRST_WRONG: AtomicU64 = AtomicU64::new(0);

const WRONG: [&str; 5] = [
    "a thread came back with another result",
    "a thread did not end",
    "two threads had one mutex",
    "a frame was written by another thread",
    "a sleep ended early, or otherwise than in time",
];

fn is_wrong(what: usize) {
    let _ = FIRST_WRONG.compare_exchange(0, what as u64 + 1, Relaxed, Relaxed);
}

/// Runs for `seconds` on all CPUs.
pub fn threads(seconds: u64, out: &mut dyn Output) -> Result<(), Failure> {
    let before = Taken::now()?;
    FIRST_WRONG.store(0, Relaxed);
    let (stop, ended, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let end = MACHINE.now_ns() + seconds * 1_000_000_000;
    let share = |after_each: &mut dyn FnMut()| {
        let mut random = Random::new(MACHINE.now_ns() ^ (area::cpu_now().index() as u64) << 32);
        while MACHINE.now_ns() < end && !stop.load(Relaxed) && FIRST_WRONG.load(Relaxed) == 0 {
            let (more, not) = round(&mut random);
            ended.fetch_add(more, Relaxed);
            refused.fetch_add(not, Relaxed);
            after_each();
        }
    };
    // This CPU alone looks at the console.
    let mut look = || {
        stop.fetch_or(out.interrupted(), Relaxed);
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    writeln!(
        out,
        "stress threads: {}, {}, {} refused",
        Counted(cpu::online_count(), "CPU"),
        Counted(ended.load(Relaxed), "thread"),
        refused.load(Relaxed)
    );
    match FIRST_WRONG.load(Relaxed) {
        0 => before.must_be_now(),
        wrong => Err(Failure::because(WRONG.get(wrong as usize - 1).unwrap_or(&WRONG[0]))),
    }
}

/// Starts some threads and joins them. Returns how many there were, and how many there was no memory for.
fn round(random: &mut Random) -> (u64, u64) {
    let online = cpu::online();
    let mut threads: [Option<(ThreadRef, u64)>; AT_ONCE] = [const { None }; AT_ONCE];
    let (mut ended, mut refused) = (0, 0);
    for place in &mut threads {
        let (seed, kind) = (random.next(), random.below(7));
        let one = CpuMask::only(area::cpu_now());
        let cpus = if random.below(4) == 0 { &one } else { &online };
        match spawn(format_args!("stress"), policy(random), cpus, move || body(kind, seed)) {
            Ok(thread) => *place = Some((thread, seed)),
            Err(_) => refused += 1,
        }
    }
    for (thread, seed) in threads.iter().flatten() {
        match scheduler().join(thread, Some(MACHINE.now_ns() + PATIENCE_NS)) {
            Ok(result) if result == mixed(*seed) => ended += 1,
            Ok(_) => is_wrong(0),
            Err(_) => is_wrong(1),
        }
    }
    (ended, refused)
}

fn policy(random: &mut Random) -> Policy {
    match random.below(4) {
        0 => {
            let turns = if random.below(2) == 0 { Turns::Fifo } else { Turns::RoundRobin };
            Priority::new(random.below(8) as u8)
                .map_or(Policy::default(), |priority| Policy::RealTime(priority, turns))
        }
        _ => Policy::Fair(Nice::new(random.below(40) as i8 - 20).unwrap_or(Nice::NORMAL)),
    }
}

fn mixed(seed: u64) -> u64 {
    seed.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn body(kind: u64, seed: u64) -> u64 {
    let us = seed % 512;
    match kind {
        0 => {}
        1 => (0..seed % 8).for_each(|_| scheduler().yield_now()),
        2 => sleep(us * 1000),
        3 => lock(),
        4 => {
            // Another thread of this kind wakes it, or time passes.
            let until = MACHINE.now_ns() + us * 1000;
            let mut has_looked = false;
            let _ =
                MEETING.wait_while(scheduler(), Some(until), |_| !core::mem::replace(&mut has_looked, true));
            MEETING.wake_one(scheduler());
        }
        5 => {
            let end = Deadline::after_ns(us * 1000);
            while !end.has_passed() {
                core::hint::spin_loop();
            }
        }
        _ => hold_a_frame(seed),
    }
    mixed(seed)
}

fn sleep(ns: u64) {
    let until = MACHINE.now_ns() + ns;
    let slept = scheduler().sleep_until(until);
    if slept != Ok(()) || MACHINE.now_ns() < until {
        is_wrong(4);
    }
}

/// Changes both numbers, with a look away in between.
fn lock() {
    let Ok(mut pair) = PAIR.lock(scheduler()) else { return is_wrong(2) };
    pair[0] += 1;
    scheduler().yield_now();
    pair[1] += 1;
    if pair[0] != pair[1] {
        is_wrong(2);
    }
}

/// Takes a frame, stamps it, gives way, and looks at the stamp.
fn hold_a_frame(seed: u64) {
    let Some(frames) = mm::frames::frames() else { return };
    let taken = frames.alloc(MACHINE.pin().pinned(), Request::FRAME);
    let Ok(frame) = taken else { return };
    let at = MACHINE.direct(frame.pfn().addr()).as_mut_ptr::<u64>();
    // SAFETY: the frame is this thread's, and lies in the direct map (I1).
    unsafe { at.write_volatile(seed) };
    let _: Result<(), WaitError> = scheduler().sleep_until(MACHINE.now_ns() + 20_000);
    // SAFETY: as above.
    if unsafe { at.read_volatile() } != seed {
        is_wrong(3);
    }
    frames.free(MACHINE.pin().pinned(), frame);
}
