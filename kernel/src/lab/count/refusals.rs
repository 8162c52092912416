//! The common part of operations that take something and give it back: a request may be refused, which must not go
//! unnoticed.

use core::hint::black_box;

use crate::lab::failure::{Failure, ensure};

/// Requests of an operation that were refused, or did something else than they must.
pub struct Refusals(u32);

impl Refusals {
    /// None so far.
    pub const NONE: Self = Self(0);

    /// Counts `outcome`, if it is one.
    #[inline(always)]
    pub fn note<T, E>(&mut self, outcome: &Result<T, E>) {
        self.0 += u32::from(outcome.is_err());
    }

    /// Gives back what was taken, as a caller does that had it for a while.
    #[inline(always)]
    pub fn give_back<T, E>(&mut self, taken: Result<T, E>, give: impl FnOnce(T)) {
        match taken {
            Ok(value) => give(black_box(value)),
            Err(_) => self.0 += 1,
        }
    }

    /// Counts `count` more.
    #[inline(always)]
    pub fn add(&mut self, count: u32) {
        self.0 += count;
    }

    /// Ends an operation: an error says how many refusals there were.
    pub fn must_be_none(self) -> Result<(), Failure> {
        ensure!(self.0 == 0, "{} requests were refused, or did something else than they must", self.0);
        Ok(())
    }
}
