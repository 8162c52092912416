//! The allocators tell the checker, and the checker knows.

use rhumb_frames::Request;
use rhumb_kasan::State;
use rhumb_machine::{Machine, Order, PageSize, VirtAddr};

use super::Test;
use crate::cpu::kasan::checker;
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::mm::frames::frames;

pub const TESTS: &[Test] = &[Test { name: "kasan::frames_are_told", run: frames_are_told }];

/// Blocks of several orders: all of a block is allowed while it is held, and forbidden after.
fn frames_are_told(_: &'static Boot) -> Result<(), Failure> {
    let checker = checker().ok_or_else(|| Failure::because("there is no checker"))?;
    let frames = frames().ok_or_else(|| Failure::because("there is no allocator"))?;
    for order in [0, 1, 5, 9].into_iter().filter_map(Order::new) {
        let guard = MACHINE.pin();
        let Ok(frame) = frames.alloc(guard.pinned(), Request::new(order)) else { continue };
        let start = MACHINE.direct(frame.addr());
        if checker.shadow.state(start).is_none() {
            // RAM past what is watched.
            frames.free(guard.pinned(), frame);
            continue;
        }
        let all = |state| {
            let granules = (0..order.bytes()).step_by(PageSize::Size4K.bytes() as usize / 2);
            granules
                .map(|offset| start.plus(offset))
                .all(|at: VirtAddr| checker.shadow.state(at) == Some(state))
        };
        let held = all(State::Accessible);
        frames.free(guard.pinned(), frame);
        ensure!(held, "not all of a block of order {} may be touched by its holder", order.get());
        ensure!(all(State::FreeFrame), "a free block of order {} may be touched", order.get());
    }
    Ok(())
}
