//! Stacks of threads: those of threads that have ended wait for the next ones; a leaf where `unsafe` lives.
//!
//! A thread ends with interrupts off, on another thread's stack, where its own cannot be unmapped. So the CPU keeps it, in
//! a list whose links are at the tops of the stacks themselves: keeping one needs no memory, and takes constant time. A
//! CPU keeps [`MOST_KEPT`] of them; its worker gives back the rest.
//!
//! Most threads start and end without a page table being touched, because the last stack that was kept is the first to
//! be used again.

use core::cell::Cell;
use core::ptr;

use rhumb_machine::{IrqOff, Machine, MemoryUse, PageSize, VirtAddr, VirtRange};
use rhumb_sync::Lock;

use crate::cpu::kasan;
use crate::cpu::machine::MACHINE;
use crate::layout::Stack;
use crate::mm::stacks::KernelStack;

/// Stacks that a CPU keeps: 128 KiB.
pub const MOST_KEPT: usize = 8;

/// Pages of the stack of a thread.
pub const PAGES: u64 = Stack::Thread.bytes() / PageSize::Size4K.bytes();

/// A kept stack, at its own top.
struct Link {
    stack: KernelStack,
    below: *mut Link,
}

/// The stacks that one CPU keeps.
pub struct Kept {
    list: Lock<Chain>,
}

struct Chain {
    first: Cell<*mut Link>,
    count: Cell<usize>,
}

// SAFETY: the links lead to stacks that the chain alone has.
unsafe impl Send for Chain {}

impl Kept {
    pub const fn new() -> Self {
        Self { list: Lock::new(Chain { first: Cell::new(ptr::null_mut()), count: Cell::new(0) }) }
    }

    /// Keeps a stack that no code uses any more, and tells whether there are too many now.
    pub fn keep(&self, stack: KernelStack, irq_off: IrqOff<'_>) -> TooMany {
        let range = stack.range();
        // The marks of its last thread's variables may be left there.
        kasan::set_memory_use(range, MemoryUse::Allowed);
        let place = place_of_link(range).as_mut_ptr::<Link>();
        let chain = self.list.lock(irq_off);
        // SAFETY: the place is at the top of a mapped stack of which this has the handle, and is aligned.
        unsafe { place.write(Link { stack, below: chain.first.get() }) };
        chain.first.set(place);
        chain.count.set(chain.count.get() + 1);
        TooMany(chain.count.get() > MOST_KEPT)
    }

    /// Takes the stack that was kept last, if more than `least` are kept.
    pub fn take(&self, least: usize, irq_off: IrqOff<'_>) -> Option<KernelStack> {
        let chain = self.list.lock(irq_off);
        let first = chain.first.get();
        if first.is_null() || chain.count.get() <= least {
            return None;
        }
        // SAFETY: the chain has links that `keep` wrote, each until it is taken here.
        let Link { stack, below } = unsafe { first.read() };
        chain.first.set(below);
        chain.count.set(chain.count.get() - 1);
        Some(stack)
    }

    /// Tells whether there are more than a CPU keeps.
    pub fn are_too_many(&self, irq_off: IrqOff<'_>) -> bool {
        self.list.lock(irq_off).count.get() > MOST_KEPT
    }

    /// Gives back all but `least`. A stack at a time is taken with interrupts off.
    pub fn give_back(&self, least: usize) {
        loop {
            let taken = {
                let guard = MACHINE.irq_off();
                self.take(least, guard.irq_off())
            };
            match taken {
                Some(stack) => stack.free(),
                None => return,
            }
        }
    }
}

/// The answer whether a CPU keeps too many stacks.
#[must_use = "its worker is to give some back"]
pub struct TooMany(pub bool);

/// Returns where the link of a stack is while it is kept.
fn place_of_link(range: VirtRange) -> VirtAddr {
    const BYTES: u64 = (size_of::<Link>() as u64).next_multiple_of(64);
    VirtAddr::new(range.end().get() - BYTES)
}
