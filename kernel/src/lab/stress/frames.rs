//! `stress frames`: every CPU allocates, stamps, checks and frees blocks, and hands some to others to free.
//!
//! Movable blocks lie past the direct map where there is such memory, and are stamped through windows.
//!
//! A held block's first and last words hold its holder's stamp, and so does the descriptor of one that names its owner.
//! A stamp that changed means that two holders shared a frame; a frame that is gone at the end means that one was lost.
//! Both are what an allocator must never do.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arrayvec::ArrayVec;
use rhumb_frames::{Anywhere, Frame, Frames, Mobility, Owner, Request};
use rhumb_machine::{Counted, Machine, PhysAddr, Pinned};
use rhumb_monitor::Output;
use spin::mutex::SpinMutex;

use super::free_frames;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area, clock, work};
use crate::debug::random::Random;
use crate::lab::contents;
use crate::lab::failure::Failure;
use crate::lab::owners;
use crate::lab::sizes::order;

/// Blocks that a CPU holds at most: with large ones among them, some hundred MiB.
const HELD: usize = 192;
/// Blocks on their way to another CPU.
const PASSED: usize = 64;

/// The state that all CPUs share.
struct Shared {
    passed: SpinMutex<ArrayVec<Frame<Anywhere>, PASSED>>,
    stop: AtomicBool,
    /// Address of a block that had two holders, plus 1.
    shared_at: AtomicU64,
    allocations: AtomicU64,
    refusals: AtomicU64,
}

/// Runs for `seconds` on all CPUs.
pub fn frames(frames: &Frames<KernelMachine>, seconds: u64, out: &mut dyn Output) -> Result<(), Failure> {
    let before = free_frames(frames);
    let shared = Shared {
        passed: SpinMutex::new(ArrayVec::new_const()),
        stop: AtomicBool::new(false),
        shared_at: AtomicU64::new(0),
        allocations: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
    };
    let end = clock::now_ns() + seconds * 1_000_000_000;
    let share = |after_each: &mut dyn FnMut()| {
        let mut worker = Worker::new(&shared);
        while clock::now_ns() < end && !shared.stop.load(Relaxed) {
            worker.rounds(frames, 1000);
            after_each();
        }
        worker.give_all_back(frames);
    };
    // This CPU alone looks at the console.
    let mut look = || {
        shared.stop.fetch_or(out.interrupted(), Relaxed);
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    {
        let guard = MACHINE.pin();
        shared.passed.lock().drain(..).for_each(|frame| frames.free(guard.pinned(), frame));
    }
    let after = free_frames(frames);
    writeln!(
        out,
        "stress frames: {}, {}, {} refused, {after} of {} free again",
        Counted(cpu::online_count(), "CPU"),
        Counted(shared.allocations.load(Relaxed), "allocation"),
        shared.refusals.load(Relaxed),
        Counted(before, "frame")
    );
    match shared.shared_at.load(Relaxed) {
        0 => {}
        at => {
            return Err(Failure::because(format_args!(
                "the block at {} had two holders",
                PhysAddr::new(at - 1)
            )));
        }
    }
    if let Err(inconsistency) = frames.validate() {
        writeln!(out, "stress frames: {inconsistency}");
        return Err(Failure::because("the allocator's own books do not balance"));
    }
    if before != after {
        return Err(Failure::because(format_args!("{before} frames were free before, {after} are after")));
    }
    Ok(())
}

/// One CPU's share.
struct Worker<'a> {
    shared: &'a Shared,
    random: Random,
    held: ArrayVec<Frame<Anywhere>, HELD>,
    allocations: u64,
    refusals: u64,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared) -> Self {
        let seed = clock::ticks() ^ (area::cpu_now().index() as u64 + 1);
        Self { shared, random: Random::new(seed), held: ArrayVec::new_const(), allocations: 0, refusals: 0 }
    }

    fn rounds(&mut self, frames: &Frames<KernelMachine>, count: usize) {
        for _ in 0..count {
            let guard = MACHINE.pin();
            let pinned = guard.pinned();
            if self.random.below(HELD as u64) >= self.held.len() as u64 {
                self.allocate(frames, pinned);
            } else {
                self.let_go(frames, pinned);
            }
        }
    }

    fn allocate(&mut self, frames: &Frames<KernelMachine>, pinned: Pinned<'_>) {
        // Half of all requests are single frames, a quarter order 1, and so on; some large pages.
        let exponent = self.random.next().trailing_zeros().min(9) as u8;
        let order = order(exponent);
        let kind = Mobility::ALL[self.random.below(Mobility::COUNT as u64) as usize];
        // A few say whose they are, and so go past the caches.
        let owner = if self.random.below(8) == 0 { owners::STRESS.in_frames() } else { Owner::NONE };
        let request = Request::new(order).kind(kind).owner(owner);
        // Movable memory may lie past the direct map, and does where there is such memory.
        let got = match kind {
            Mobility::Movable => frames.alloc_anywhere(pinned, request),
            _ => frames.alloc(pinned, request).map(Frame::into_anywhere),
        };
        match got {
            Ok(mut frame) => {
                self.allocations += 1;
                stamp(&mut frame);
                if let Some(descriptor) = frames.descriptor_of(&frame).filter(|_| owner != Owner::NONE) {
                    descriptor.set_private(mark_of(&frame));
                }
                // The push cannot fail: `rounds` allocates only while there is room.
                if let Err(full) = self.held.try_push(frame) {
                    frames.free(pinned, full.element());
                }
            }
            Err(error) if error.is_exhaustion() => {
                self.refusals += 1;
                self.let_go(frames, pinned);
            }
            Err(_) => self.refusals += 1,
        }
    }

    /// Frees a block, or passes it on and frees one that was passed on.
    fn let_go(&mut self, frames: &Frames<KernelMachine>, pinned: Pinned<'_>) {
        if self.held.is_empty() {
            return;
        }
        let index = self.random.below(self.held.len() as u64) as usize;
        let mut frame = self.held.swap_remove(index);
        if self.random.below(4) == 0
            && let Some(mut passed) = self.shared.passed.try_lock()
        {
            let other = self.random.below(PASSED as u64) as usize;
            if other < passed.len() {
                frame = core::mem::replace(&mut passed[other], frame);
            } else if !passed.is_full() {
                passed.push(frame);
                return;
            }
        }
        if !is_stamped(&frame) || !is_described(frames, &frame) {
            self.shared.shared_at.store(frame.addr().get() + 1, Relaxed);
            self.shared.stop.store(true, Relaxed);
        }
        frames.free(pinned, frame);
    }

    fn give_all_back(&mut self, frames: &Frames<KernelMachine>) {
        let guard = MACHINE.pin();
        while let Some(frame) = self.held.pop() {
            if !is_stamped(&frame) || !is_described(frames, &frame) {
                self.shared.shared_at.store(frame.addr().get() + 1, Relaxed);
            }
            frames.free(guard.pinned(), frame);
        }
        self.shared.allocations.fetch_add(self.allocations, Relaxed);
        self.shared.refusals.fetch_add(self.refusals, Relaxed);
    }
}

/// Returns the places of the first and the last word of a block.
const fn ends(frame: &Frame<Anywhere>) -> [u64; 2] {
    [0, frame.order().bytes() - size_of::<u64>() as u64]
}

/// Returns a number that no other block has at the same time.
fn mark_of(frame: &Frame<Anywhere>) -> u64 {
    frame.addr().get() << 8 | u64::from(frame.order().get()) | 0x5a << 56
}

fn stamp(frame: &mut Frame<Anywhere>) {
    let mark = mark_of(frame);
    ends(frame).into_iter().for_each(|at| contents::write_word(frame, at, mark));
}

fn is_stamped(frame: &Frame<Anywhere>) -> bool {
    ends(frame).into_iter().all(|at| contents::read_word(frame, at) == mark_of(frame))
}

/// Tells whether the descriptor of an owned block still holds what its holder wrote.
fn is_described(frames: &Frames<KernelMachine>, frame: &Frame<Anywhere>) -> bool {
    let descriptor =
        frames.descriptor(frame.pfn()).filter(|found| found.owner() == owners::STRESS.in_frames());
    descriptor.is_none_or(|descriptor| descriptor.private() == mark_of(frame))
}
