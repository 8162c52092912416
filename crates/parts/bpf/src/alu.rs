//! Arithmetic and comparisons on numbers, as RFC 9669 defines them. The verifier computes constants with the functions
//! that the interpreter runs, so the two cannot differ.

use crate::operation::{Alu, Condition, Endian, Width};

/// Returns `left` op `right`. Division by zero is 0, and the remainder then is `left`; shifts take the amount modulo the
/// width.
pub(crate) const fn compute(alu: Alu, width: Width, left: u64, right: u64) -> u64 {
    match width {
        Width::Full => match alu {
            Alu::Add => left.wrapping_add(right),
            Alu::Sub => left.wrapping_sub(right),
            Alu::Mul => left.wrapping_mul(right),
            Alu::Div => match left.checked_div(right) {
                Some(quotient) => quotient,
                None => 0,
            },
            Alu::Or => left | right,
            Alu::And => left & right,
            Alu::Lsh => left.wrapping_shl(right as u32),
            Alu::Rsh => left.wrapping_shr(right as u32),
            Alu::Neg => left.wrapping_neg(),
            Alu::Mod => match left.checked_rem(right) {
                Some(rest) => rest,
                None => left,
            },
            Alu::Xor => left ^ right,
            Alu::Mov => right,
            Alu::Arsh => left.cast_signed().wrapping_shr(right as u32).cast_unsigned(),
        },
        Width::Half => {
            let (left, right) = (left as u32, right as u32);
            let result = match alu {
                Alu::Arsh => left.cast_signed().wrapping_shr(right).cast_unsigned(),
                Alu::Lsh => left.wrapping_shl(right),
                Alu::Rsh => left.wrapping_shr(right),
                // The lower half of the result depends on the lower halves of the operands alone.
                _ => compute(alu, Width::Full, left as u64, right as u64) as u32,
            };
            result as u64
        }
    }
}

/// Returns the lower `bits` of a number in an order of bytes.
pub(crate) const fn swap(order: Endian, bits: u8, number: u64) -> u64 {
    match (order, bits) {
        (Endian::Little, 16) => number as u16 as u64,
        (Endian::Little, 32) => number as u32 as u64,
        (Endian::Little, _) => number,
        (Endian::Big, 16) => (number as u16).swap_bytes() as u64,
        (Endian::Big, 32) => (number as u32).swap_bytes() as u64,
        (Endian::Big, _) => number.swap_bytes(),
    }
}

/// Tells whether the operands compare so.
pub(crate) const fn compare(condition: Condition, width: Width, left: u64, right: u64) -> bool {
    let (left, right) = match width {
        Width::Full => (left, right),
        Width::Half => (left as u32 as u64, right as u32 as u64),
    };
    let (signed_left, signed_right) = match width {
        Width::Full => (left.cast_signed(), right.cast_signed()),
        Width::Half => (left as i32 as i64, right as i32 as i64),
    };
    match condition {
        Condition::Eq => left == right,
        Condition::Ne => left != right,
        Condition::Gt => left > right,
        Condition::Ge => left >= right,
        Condition::Lt => left < right,
        Condition::Le => left <= right,
        Condition::Set => left & right != 0,
        Condition::SGt => signed_left > signed_right,
        Condition::SGe => signed_left >= signed_right,
        Condition::SLt => signed_left < signed_right,
        Condition::SLe => signed_left <= signed_right,
    }
}
