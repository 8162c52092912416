//! [`Range`]: what is known of a number, and arithmetic on that.
//!
//! The bounds are unsigned. Where an operation may wrap around, nothing is known of the result but its alignment.

use crate::alu;
use crate::operation::{Alu, Condition, Endian, Width};

/// The numbers from `least` to `most` that are multiples of 2^`zeros`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) least: u64,
    pub(crate) most: u64,
    /// Lower bits that are 0; 64 where the number is 0.
    zeros: u8,
}

const HALF: u64 = u32::MAX as u64;

impl Range {
    /// All numbers.
    pub(crate) const ANY: Self = Self { least: 0, most: u64::MAX, zeros: 0 };

    /// Returns the range of one number.
    pub(crate) const fn only(number: u64) -> Self {
        Self { least: number, most: number, zeros: number.trailing_zeros() as u8 }
    }

    /// Returns the numbers up to `most`.
    pub(crate) const fn up_to(most: u64) -> Self {
        Self { least: 0, most, zeros: 0 }
    }

    /// Returns the number, if there is one only.
    pub(crate) const fn constant(self) -> Option<u64> {
        if self.least == self.most { Some(self.least) } else { None }
    }

    /// Tells whether all numbers are multiples of `unit`, a power of two.
    pub(crate) const fn is_aligned(self, unit: u64) -> bool {
        self.zeros as u32 >= unit.trailing_zeros()
    }

    /// Tells whether a number may be in the range.
    #[cfg(test)]
    pub(crate) fn contains(self, number: u64) -> bool {
        (self.least..=self.most).contains(&number) && number.trailing_zeros() >= u32::from(self.zeros)
    }

    /// Returns the least range that holds both.
    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
            zeros: self.zeros.min(other.zeros),
        }
    }

    fn between(least: u64, most: u64, zeros: u8) -> Self {
        if least == most { Self::only(least) } else { Self { least, most, zeros } }
    }

    /// Returns the range of the results.
    pub(crate) fn compute(alu: Alu, width: Width, left: Self, right: Self) -> Self {
        if let (Some(left), Some(right)) = (left.constant(), right.constant()) {
            return Self::only(alu::compute(alu, width, left, right));
        }
        match width {
            Width::Full => Self::full(alu, left, right),
            Width::Half => {
                let (left, right) = (left.lower_half(), right.lower_half());
                match alu {
                    // Both depend on the sign of 32 bits.
                    Alu::Arsh => Self::up_to(HALF),
                    // A shift by 32 or more is one by less.
                    Alu::Lsh | Alu::Rsh if right.constant().is_none_or(|amount| amount >= 32) => {
                        Self::up_to(HALF)
                    }
                    _ => Self::full(alu, left, right).lower_half(),
                }
            }
        }
    }

    /// Returns the range of the lower 32 bits.
    fn lower_half(self) -> Self {
        if self.most <= HALF { self } else { Self::between(0, HALF, self.zeros.min(32)) }
    }

    fn full(alu: Alu, left: Self, right: Self) -> Self {
        let zeros = left.zeros.min(right.zeros);
        let wrapped = |zeros| Self { least: 0, most: u64::MAX, zeros };
        match alu {
            Alu::Mov => right,
            Alu::Add => match left.most.checked_add(right.most) {
                Some(most) => Self::between(left.least + right.least, most, zeros),
                None => wrapped(zeros),
            },
            Alu::Sub => match left.least.checked_sub(right.most) {
                Some(least) => Self::between(least, left.most - right.least, zeros),
                None => wrapped(zeros),
            },
            Alu::Mul => {
                let zeros = left.zeros.saturating_add(right.zeros).min(63);
                match left.most.checked_mul(right.most) {
                    Some(most) => Self::between(left.least * right.least, most, zeros),
                    None => wrapped(zeros),
                }
            }
            Alu::And => Self::between(0, left.most.min(right.most), left.zeros.max(right.zeros).min(63)),
            Alu::Or | Alu::Xor => {
                let bits = u64::BITS - (left.most | right.most).leading_zeros();
                Self::between(0, u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0), zeros)
            }
            Alu::Lsh => match right.constant() {
                Some(amount) if left.most.leading_zeros() as u64 >= amount & 63 => {
                    let amount = (amount & 63) as u32;
                    let zeros = left.zeros.saturating_add(amount as u8).min(63);
                    Self::between(left.least << amount, left.most << amount, zeros)
                }
                Some(amount) => wrapped(left.zeros.saturating_add((amount & 63) as u8).min(63)),
                None => wrapped(left.zeros.min(63)),
            },
            Alu::Rsh => Self::shifted_right(left, right),
            Alu::Arsh if left.most <= u64::MAX >> 1 => Self::shifted_right(left, right),
            Alu::Div => match right.constant() {
                Some(by @ 1..) => Self::between(left.least / by, left.most / by, 0),
                _ => Self::up_to(left.most),
            },
            Alu::Mod => match right.constant() {
                Some(0) => left,
                Some(by) => Self::up_to(left.most.min(by - 1)),
                None => Self::up_to(left.most),
            },
            Alu::Neg => wrapped(left.zeros.min(63)),
            Alu::Arsh => Self::ANY,
        }
    }

    fn shifted_right(left: Self, right: Self) -> Self {
        match right.constant() {
            Some(amount) => {
                let amount = (amount & 63) as u32;
                let zeros = left.zeros.saturating_sub(amount as u8);
                Self::between(left.least >> amount, left.most >> amount, zeros)
            }
            None => Self::up_to(left.most),
        }
    }

    /// Returns the range of the lower `bits` in an order of bytes.
    pub(crate) fn swap(self, order: Endian, bits: u8) -> Self {
        match self.constant() {
            Some(number) => Self::only(alu::swap(order, bits, number)),
            None => Self::up_to(u64::MAX >> (64 - u32::from(bits))),
        }
    }

    /// Returns the numbers of the range that compare so with `right`, or do not where `holds` is false; `None` where there
    /// are none.
    pub(crate) fn narrow(self, condition: Condition, width: Width, right: u64, holds: bool) -> Option<Self> {
        if let Some(number) = self.constant() {
            return (alu::compare(condition, width, number, right) == holds).then_some(self);
        }
        // Of a number that 32 bits do not hold, their comparison says nothing that bounds could say.
        let right = match width {
            Width::Full => right,
            Width::Half if self.most <= HALF => right & HALF,
            Width::Half => return Some(self),
        };
        let (least, most) = match (condition, holds) {
            (Condition::Eq, true) | (Condition::Ne, false) => (right, right),
            (Condition::Eq, false) | (Condition::Ne, true) => {
                let least = self.least + u64::from(self.least == right);
                (least, self.most - u64::from(self.most == right))
            }
            (Condition::Gt, true) | (Condition::Le, false) => (right.checked_add(1)?, u64::MAX),
            (Condition::Ge, true) | (Condition::Lt, false) => (right, u64::MAX),
            (Condition::Lt, true) | (Condition::Ge, false) => (0, right.checked_sub(1)?),
            (Condition::Le, true) | (Condition::Gt, false) => (0, right),
            _ => (0, u64::MAX),
        };
        let (least, most) = (self.least.max(least), self.most.min(most));
        (least <= most).then(|| Self::between(least, most, self.zeros))
    }
}
