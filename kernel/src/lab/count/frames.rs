//! The frame allocator: pairs from the CPU's magazine, and what a refill costs.

use rhumb_frames::{Frame, Frames, Request};
use rhumb_machine::{Machine, Order, PinGuard};

use super::Operation;
use super::refusals::Refusals;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::mm;

regions! {
    16: Pair<0>, "frames/pair/4k", "allocate and free one block, from this CPU's magazine";
    17: Pair<9>, "frames/pair/2m", "allocate and free one block, from this CPU's magazine";
    18: Refill, "frames/refill", "allocate one frame with this CPU's magazine empty";
    19: Drain, "frames/drain", "give back what a refill took";
}

fn allocator() -> Result<&'static Frames<KernelMachine>, Failure> {
    mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))
}

/// One block taken and given back, as a caller does that is pinned already.
struct Pair<const ORDER: u8> {
    frames: &'static Frames<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
    order: Order,
    refusals: Refusals,
}

impl<const ORDER: u8> Operation for Pair<ORDER> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let order = Order::new(ORDER).ok_or_else(|| Failure::because("there is no such order"))?;
        Ok(Self { frames: allocator()?, guard: MACHINE.pin(), order, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        let pinned = self.guard.pinned();
        let taken = self.frames.alloc(pinned, Request::new(self.order));
        self.refusals.give_back(taken, |frame| self.frames.free(pinned, frame));
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// The first frame after the CPU's magazine was emptied.
struct Refill {
    frames: &'static Frames<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
    taken: Option<Frame>,
    refusals: Refusals,
}

impl Operation for Refill {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { frames: allocator()?, guard: MACHINE.pin(), taken: None, refusals: Refusals::NONE })
    }

    fn before(&mut self) {
        self.frames.drain(self.guard.pinned());
    }

    #[inline(always)]
    fn run(&mut self) {
        self.taken = self.frames.alloc(self.guard.pinned(), Request::FRAME).ok();
    }

    fn after(&mut self) {
        match self.taken.take() {
            Some(frame) => self.frames.free(self.guard.pinned(), frame),
            None => self.refusals.add(1),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// Emptying the CPU's magazine after a refill.
struct Drain {
    frames: &'static Frames<KernelMachine>,
    guard: PinGuard<'static, KernelMachine>,
}

impl Operation for Drain {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { frames: allocator()?, guard: MACHINE.pin() })
    }

    fn before(&mut self) {
        let pinned = self.guard.pinned();
        self.frames.drain(pinned);
        if let Ok(frame) = self.frames.alloc(pinned, Request::FRAME) {
            self.frames.free(pinned, frame);
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        self.frames.drain(self.guard.pinned());
    }
}
