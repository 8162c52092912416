//! User space: a working set of its own that competes for the TLB between a kernel's operations.

use std::hint::black_box;

use crate::backing::{Backing, Pages, Refusal};
use crate::size::PAGE;

/// Touches of user space after each batch of operations.
const TOUCHES: u64 = 256;

/// The size of user space's working set. It lies in pages of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum UserSpace {
    /// None: the kernel has the TLB for itself.
    Idle,
    /// 512 pages: they fit the second level of each TLB of the last ten years, and leave half of it, or more.
    Small,
    /// 16,384 pages: more than any TLB has room for.
    Large,
}

impl UserSpace {
    pub(crate) const ALL: [Self; 3] = [Self::Idle, Self::Small, Self::Large];

    const fn bytes(self) -> u64 {
        match self {
            Self::Idle => 0,
            Self::Small => 2 << 20,
            Self::Large => 64 << 20,
        }
    }

    /// Returns the end of a comparison's name.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Idle => "",
            Self::Small => "/competing-2m",
            Self::Large => "/competing-64m",
        }
    }

    /// Returns the condition, in a few words.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Small => "uses 2 MiB in pages of 4 KiB",
            Self::Large => "uses 64 MiB in pages of 4 KiB",
        }
    }
}

/// A working set.
#[derive(Debug)]
pub(crate) struct Rival {
    memory: Backing,
    state: u64,
}

impl Rival {
    /// Takes the memory; `None` for [`UserSpace::Idle`].
    ///
    /// # Errors
    /// The system has no memory.
    pub(crate) fn new(user_space: UserSpace) -> Result<Option<Self>, Refusal> {
        if user_space == UserSpace::Idle {
            return Ok(None);
        }
        Ok(Some(Self { memory: Backing::new(Pages::Kib, user_space.bytes(), 0)?, state: 1 }))
    }

    /// Touches random pages.
    pub(crate) fn touch(&mut self) {
        let pages = self.memory.range().bytes() / PAGE;
        for _ in 0..TOUCHES {
            // Knuth's linear congruential generator; its upper bits are good.
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let page = (self.state >> 33) % pages;
            black_box(self.memory.word(page * PAGE + (self.state >> 27) % 64 * 64));
        }
    }
}
