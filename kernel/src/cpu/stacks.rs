//! The stacks of each CPU: where they lie, for traps and for reports, which ask in any context.
//!
//! Their addresses are areas of the kernel map. A CPU's own area has a word for each of its stacks, which is written
//! once, before the CPU starts, and one for the stack of the thread that it runs. A lookup reads these words and takes no
//! lock: see [`stack_at`](super::area::stack_at).

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_machine::{PageSize, VirtAddr, VirtRange, impossible};

use crate::layout::{self, Stack};

/// Where the stacks of one CPU begin.
pub struct Stacks {
    own: [AtomicU64; Stack::ALL.len()],
    /// The stack of the thread that it runs, where that is none of its own, and the number of its pages, which fits into
    /// the low bits of the address of a page.
    thread: AtomicU64,
}

/// The part of a stack that an address lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The stack itself.
    Pages,
    /// The page below it, which is never mapped.
    Guard,
}

impl Stacks {
    /// Returns those of a CPU that has none yet.
    pub const fn new() -> Self {
        Self { own: [const { AtomicU64::new(0) }; Stack::ALL.len()], thread: AtomicU64::new(0) }
    }

    /// Keeps where a stack begins. It stays there.
    ///
    /// # Safety
    /// Its CPU has no such stack yet, and will run on this one: so many pages are mapped there permanently, writable, with
    /// an absent page below, and no other code uses them.
    pub unsafe fn set(&self, stack: Stack, start: VirtAddr) {
        self.word(stack).store(start.get(), Release);
    }

    /// Notes the stack of the thread that this CPU runs from now on.
    pub fn note_thread(&self, stack: VirtRange) {
        let is_own = self.own[0].load(Relaxed) == stack.start().get();
        let pages = stack.bytes() / PageSize::Size4K.bytes();
        self.thread.store(if is_own { 0 } else { stack.start().get() | pages }, Relaxed);
    }

    /// Returns the addresses of a stack, without its guard; `None` where the CPU does not have it yet.
    pub fn range(&self, stack: Stack) -> Option<VirtRange> {
        match (self.word(stack).load(Acquire), stack) {
            (0, _) => None,
            (word, Stack::Thread) => {
                let page = PageSize::Size4K.bytes();
                Some(layout::range(VirtAddr::new(word & !(page - 1)), (word & (page - 1)) * page))
            }
            (start, _) => Some(layout::range(VirtAddr::new(start), stack.bytes())),
        }
    }

    /// Returns one past the highest byte of a stack, where it begins to grow down from.
    pub fn top(&self, stack: Stack) -> VirtAddr {
        self.of_one_that_runs(stack).end()
    }

    /// Returns the middle of a stack, where what comes during a report grows down from.
    pub fn middle(&self, stack: Stack) -> VirtAddr {
        let range = self.of_one_that_runs(stack);
        range.start().plus(range.bytes() / 2)
    }

    /// Returns the stack that has `address`, and the part.
    pub fn at(&self, address: VirtAddr) -> Option<(Stack, Part)> {
        Stack::ALL.into_iter().chain([Stack::Thread]).find_map(|stack| {
            let pages = self.range(stack)?;
            let guard = VirtAddr::new(pages.start().get() - PageSize::Size4K.bytes());
            if pages.contains(address) {
                Some((stack, Part::Pages))
            } else if guard <= address && address < pages.start() {
                Some((stack, Part::Guard))
            } else {
                None
            }
        })
    }

    fn of_one_that_runs(&self, stack: Stack) -> VirtRange {
        self.range(stack).unwrap_or_else(
            || impossible!("a CPU has its {} before it starts", stack.name() => VirtRange::default()),
        )
    }

    fn word(&self, stack: Stack) -> &AtomicU64 {
        match stack {
            Stack::Main => &self.own[0],
            Stack::Thread => &self.thread,
            Stack::Interrupt(stack) => &self.own[1 + stack.index() as usize],
        }
    }
}
