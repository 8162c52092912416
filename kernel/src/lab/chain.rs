//! Blocks in a chain through their first words: a list of any length that takes no memory of its own.

use rhumb_frames::{Anywhere, Frame, FrameFault, Frames};
use rhumb_machine::{PhysAddr, Pinned};

use super::contents;
use crate::cpu::machine::KernelMachine;
use crate::lab::sizes::order;

/// Blocks of any orders; the newest comes out first. Dropped with blocks in it, it loses them.
#[derive(Default)]
pub struct Chain {
    /// Address and order of the newest, or 0.
    newest: u64,
    frames: u64,
}

/// Marks a link: physical address 0 with order 0 is one, too.
const LINK: u64 = 1 << 11;

impl Chain {
    /// Returns how many frames are in it.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Puts a block in. Its first word is overwritten.
    pub fn push(&mut self, mut frame: Frame<Anywhere>) {
        let (addr, order) = (frame.addr(), frame.order());
        contents::write_word(&mut frame, 0, self.newest);
        self.newest = addr.get() | u64::from(order.get()) | LINK;
        self.frames += order.frames();
        let _ = frame.into_pfn();
    }

    /// Takes the newest out; `None` where there is none.
    ///
    /// # Errors
    /// The allocator does not know the block as one in use: it is lost, and all behind it.
    pub fn pop(&mut self, frames: &Frames<KernelMachine>) -> Option<Result<Frame<Anywhere>, FrameFault>> {
        if self.newest == 0 {
            return None;
        }
        let addr = PhysAddr::new(self.newest & !0xfff);
        let order = order((self.newest & 0x1f) as u8);
        // SAFETY: the chain held the block with this order.
        let popped = unsafe { frames.from_pfn_anywhere(addr.pfn(), order) };
        self.newest = popped.as_ref().map_or(0, |frame| contents::read_word(frame, 0));
        self.frames -= order.frames();
        Some(popped)
    }

    /// Frees all blocks. Returns how many of them the allocator did not know: these are lost.
    pub fn free(mut self, frames: &Frames<KernelMachine>, pinned: Pinned<'_>) -> u64 {
        let mut unknown = 0;
        while let Some(popped) = self.pop(frames) {
            match popped {
                Ok(frame) => frames.free(pinned, frame),
                Err(_) => unknown += 1,
            }
        }
        unknown
    }
}
