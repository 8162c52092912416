//! How deeply interrupts are off on a CPU.
//!
//! Guards may be dropped in any order, so a guard cannot keep the state that it found: the guard that is dropped last
//! need not be the one that found interrupts on. The CPU keeps one word instead: how many guards live, and whether
//! interrupts were on before the first. Only the end of the last guard turns them on.
//!
//! ```text
//!   bit 63                     62 ........ 0
//!   on before the first guard  guards alive      0: none, and interrupts are as other code left them
//! ```
//!
//! It is one word so that each step is one store: a non-maskable interrupt between load and store raises and lowers the
//! word evenly, and leaves it as it was.

/// Whether a CPU takes maskable interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IrqState {
    /// It takes them.
    On,
    /// It does not.
    Off,
}

/// The guards that keep interrupts off on one CPU. A [`crate::Machine`] keeps one for each of its CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IrqDepth(u64);

impl IrqDepth {
    /// No guard.
    pub const NONE: Self = Self(0);

    const WERE_ON: u64 = 1 << 63;

    /// Returns the depth that [`IrqDepth::bits`] gave, for machines that keep it in an atomic.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the depth as a word.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns how many guards live. 63 bits do not overflow, also where a caller forgets guards in a loop.
    #[inline(always)]
    pub const fn guards(self) -> u64 {
        self.0 & !Self::WERE_ON
    }

    /// Adds a guard. `found` is how the guard found interrupts; it counts for the first guard alone.
    #[inline(always)]
    #[must_use]
    pub const fn enter(self, found: IrqState) -> Self {
        match (self.0, found) {
            (0, IrqState::On) => Self(Self::WERE_ON | 1),
            (guards, _) => Self(guards + 1),
        }
    }

    /// Takes a guard away, and says how interrupts are to be from now on: on only where the guard was the last one and
    /// the first found them on. Where there is no guard, nothing changes.
    #[inline(always)]
    #[must_use]
    pub const fn leave(self) -> (Self, IrqState) {
        match self.guards() {
            0 | 1 if self.0 & Self::WERE_ON != 0 => (Self::NONE, IrqState::On),
            0 | 1 => (Self::NONE, IrqState::Off),
            _ => (Self(self.0 - 1), IrqState::Off),
        }
    }
}
