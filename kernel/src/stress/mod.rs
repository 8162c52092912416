//! Stress tests: all CPUs at once, for as long as asked, each step checked.

mod direct_map;
mod frames;
mod movable;
mod objects;
mod random;
mod unmapped;

pub use direct_map::direct_map;
pub use frames::frames;
pub use movable::movable;
pub use objects::objects;
pub use random::Random;
pub use unmapped::unmapped;

use rhumb_frames::Frames;
use rhumb_machine::Machine;

use crate::machine::{KernelMachine, MACHINE};
use crate::mm;
use crate::monitor::objects::reclaim_everywhere;
use crate::smp::work;

/// Counts the free frames, with what caches of frames and of objects hold for later given back first: else that would
/// come back during a test, or be taken.
fn free_frames(frames: &Frames<KernelMachine>) -> u64 {
    if let Some(slabs) = mm::objects::slabs() {
        reclaim_everywhere(slabs);
    }
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        frames.drain(guard.pinned());
    });
    frames.free_frames()
}
