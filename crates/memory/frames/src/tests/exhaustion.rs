//! The last resort: what other CPUs keep is called back before a request that may wait fails, and only then.

use std::boxed::Box;
use std::vec::Vec;

use rhumb_machine::{Order, Pinned};

use super::machine::*;
use crate::{AllocClass, AllocError, Frame, Frames, Recall, Request};

const BASE: u64 = 1 << 20;
const CPUS: usize = 4;
const FRAMES: u64 = 24 * 512 + 77;

/// Plays the other CPUs: each drains, and those in `busy` only the second time.
struct Play {
    frames: &'static Frames<TestMachine>,
    calls: std::sync::atomic::AtomicUsize,
    busy: usize,
}

impl Recall for Play {
    fn drain_others(&self, me: Pinned<'_>) {
        let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for cpu in (0..CPUS).filter(|&cpu| cpu != me.cpu().index()) {
            be_cpu(cpu);
            let cache = self.frames.zones.cache(cpu_id(cpu)).unwrap();
            if call == 0 && cpu == self.busy {
                cache.gate.alone(|| self.frames.drain(pinned()));
            } else {
                self.frames.drain(pinned());
            }
        }
        be_cpu(me.cpu().index());
    }
}

fn cpu_id(cpu: usize) -> rhumb_machine::CpuId {
    rhumb_machine::CpuId::new(cpu).unwrap()
}

fn prepare(busy: usize) -> (&'static Frames<TestMachine>, &'static Play) {
    let frames: &'static Frames<_> = Box::leak(Box::new(frames_over(CPUS, &[(BASE, BASE + FRAMES, 0)])));
    fill_caches(frames);
    (frames, play(frames, busy))
}

fn play(frames: &'static Frames<TestMachine>, busy: usize) -> &'static Play {
    let play: &'static Play = Box::leak(Box::new(Play { frames, calls: 0.into(), busy }));
    frames.set_recall(play);
    play
}

/// Every CPU but the first keeps some of each order.
fn fill_caches(frames: &Frames<TestMachine>) {
    for cpu in 1..CPUS {
        be_cpu(cpu);
        for order in (0..=8).filter_map(Order::new) {
            let held: Vec<_> = (0..8).map(|_| frames.alloc(pinned(), Request::new(order)).unwrap()).collect();
            held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        }
    }
    be_cpu(0);
    assert!(frames.zones.held_by_others(cpu_id(0)) > 100);
}

fn take_all(frames: &Frames<TestMachine>, request: Request) -> Vec<Frame> {
    let all = core::iter::from_fn(|| frames.alloc(pinned(), request).ok()).collect();
    assert_eq!(frames.alloc(pinned(), request).unwrap_err(), AllocError::Exhausted(Order::BASE));
    all
}

#[test]
fn one_cpu_finds_every_last_frame() {
    for busy in [0, 2] {
        let (frames, play) = prepare(busy);
        let held = take_all(frames, Request::FRAME);
        assert_eq!(held.len() as u64, FRAMES);
        assert!(play.calls.load(std::sync::atomic::Ordering::Relaxed) > 0);
        assert_eq!(frames.free_frames(), 0);
        held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        frames.drain(pinned());
        assert_eq!(frames.free_frames(), FRAMES);
        assert_eq!(frames.free_large_blocks(), 24);
        frames.validate().unwrap();
    }
}

#[test]
fn a_cpu_in_the_middle_of_an_operation_is_asked_again() {
    let frames: &'static Frames<_> = Box::leak(Box::new(frames_over(CPUS, &[(BASE, BASE + FRAMES, 0)])));
    fill_caches(frames);
    let mut held = take_all(frames, Request::FRAME);
    for cpu in [1, 3] {
        be_cpu(cpu);
        frames.drain(pinned());
    }
    be_cpu(0);
    held.append(&mut take_all(frames, Request::FRAME));
    let kept = frames.zones.held_by_others(cpu_id(0));
    assert_eq!((held.len() as u64 + kept, frames.free_frames()), (FRAMES, kept));
    assert!(kept > 0);
    // All that is left is with a CPU that keeps it the first time.
    let play = play(frames, 2);
    held.push(frames.alloc(pinned(), Request::FRAME).unwrap());
    assert_eq!(play.calls.load(std::sync::atomic::Ordering::Relaxed), 2);
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}

#[test]
fn a_class_that_may_not_wait_calls_nobody() {
    for class in [AllocClass::Spare, AllocClass::Atomic, AllocClass::Emergency] {
        let (frames, play) = prepare(0);
        let held = take_all(frames, Request::FRAME.class(class));
        assert!((held.len() as u64) < FRAMES);
        assert_eq!(play.calls.load(std::sync::atomic::Ordering::Relaxed), 0);
        held.into_iter().for_each(|frame| frames.free(pinned(), frame));
        frames.validate().unwrap();
    }
}

#[test]
fn nobody_is_called_while_there_is_memory_or_when_nobody_keeps_any() {
    let (frames, play) = prepare(0);
    let calls = || play.calls.load(std::sync::atomic::Ordering::Relaxed);
    let held: Vec<_> = (0..FRAMES / 4).map(|_| frames.alloc(pinned(), Request::FRAME).unwrap()).collect();
    assert_eq!(calls(), 0);
    // No such block can be there: one call, after which the others keep nothing.
    for _ in 0..3 {
        let error = frames.alloc(pinned(), Request::HUGE).unwrap_err();
        assert_eq!((error, calls()), (AllocError::Exhausted(Order::HUGE), 1));
    }
    held.into_iter().for_each(|frame| frames.free(pinned(), frame));
    frames.validate().unwrap();
}
