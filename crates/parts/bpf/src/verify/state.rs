//! [`State`]: the kinds of the values in registers and on the stack, between two instructions.

use super::range::Range;
use super::value::Value;
use crate::error::Refusal;
use crate::limits::STACK_BYTES;
use crate::operation::{Operand, Register, Size};

const SLOTS: usize = STACK_BYTES / 8;

/// Eight bytes of the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    /// Bytes of numbers: a bit for each one that was written.
    Bytes(u8),
    /// A value that was stored whole.
    Whole(Value),
}

impl Slot {
    /// Returns the bytes that may be read as numbers.
    const fn readable(self) -> u8 {
        match self {
            Self::Bytes(written) => written,
            Self::Whole(Value::Number(_)) => u8::MAX,
            Self::Whole(_) => 0,
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) if left.join(right) != Value::None => {
                Self::Whole(left.join(right))
            }
            _ => Self::Bytes(self.readable() & other.readable()),
        }
    }
}

/// Registers and stack.
#[derive(Clone, Debug)]
pub(crate) struct State {
    registers: [Value; Register::COUNT],
    stack: [Slot; SLOTS],
}

impl State {
    /// Returns the state in which a program begins.
    pub(crate) fn at_start() -> Self {
        let mut registers = [Value::None; Register::COUNT];
        registers[Register::FIRST_ARGUMENT.index()] = Value::Context(0);
        registers[Register::FRAME.index()] = Value::Stack(0);
        Self { registers, stack: [Slot::Bytes(0); SLOTS] }
    }

    /// Makes this what both states have in common.
    pub(crate) fn join(&mut self, other: &Self) {
        for (here, there) in self.registers.iter_mut().zip(&other.registers) {
            *here = here.join(*there);
        }
        for (here, there) in self.stack.iter_mut().zip(&other.stack) {
            *here = here.join(*there);
        }
    }

    /// Returns the kinds of the registers, in their order.
    #[cfg(test)]
    pub(crate) const fn registers(&self) -> &[Value; Register::COUNT] {
        &self.registers
    }

    /// Returns the kinds of the words of the stack that were stored whole, each with its first byte.
    #[cfg(test)]
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, Value)> {
        self.stack.iter().enumerate().filter_map(|(slot, value)| match value {
            Slot::Whole(value) => Some((8 * slot, *value)),
            Slot::Bytes(_) => None,
        })
    }

    /// Returns a register's value.
    ///
    /// # Errors
    /// It has none on some path.
    pub(crate) fn get(&self, register: Register) -> Result<Value, Refusal> {
        match self.registers[register.index()] {
            Value::None => Err(Refusal::Uninitialised(register.index() as u8)),
            value => Ok(value),
        }
    }

    /// Returns the number in a register.
    ///
    /// # Errors
    /// It has no value, or a pointer.
    pub(crate) fn number(&self, register: Register) -> Result<Range, Refusal> {
        match self.get(register)? {
            Value::Number(range) => Ok(range),
            _ => Err(Refusal::LeaksPointer(register.index() as u8)),
        }
    }

    /// Returns the number that an operand is.
    ///
    /// # Errors
    /// As [`State::number`].
    pub(crate) fn operand(&self, operand: Operand) -> Result<Range, Refusal> {
        match operand {
            Operand::Register(register) => self.number(register),
            Operand::Number(number) => Ok(Range::only(i64::from(number).cast_unsigned())),
        }
    }

    /// Gives a register a value.
    ///
    /// # Errors
    /// It is r10.
    pub(crate) fn set(&mut self, register: Register, value: Value) -> Result<(), Refusal> {
        if register == Register::FRAME {
            return Err(Refusal::WritesFrame);
        }
        self.registers[register.index()] = value;
        Ok(())
    }

    /// Forgets the values of r1 to r5, as a call does.
    pub(crate) fn forget_arguments(&mut self) {
        self.registers[1..=5].fill(Value::None);
    }

    /// Makes all copies of the result of one lookup what has been found out.
    pub(crate) fn resolve(&mut self, lookup: u32, found: Value) {
        let is_it = |value: Value| matches!(value, Value::InMapOrNull { lookup: same, .. } if same == lookup);
        for value in self.registers.iter_mut().filter(|value| is_it(**value)) {
            *value = found;
        }
        for slot in &mut self.stack {
            if let Slot::Whole(value) = slot
                && is_it(*value)
            {
                *value = found;
            }
        }
    }

    /// Reads the stack `offset` bytes from its end.
    ///
    /// # Errors
    /// Out of bounds, misaligned, or not written on some path; part of a pointer.
    pub(crate) fn load_stack(&self, offset: i64, size: Size) -> Result<Value, Refusal> {
        let (slot, mask) = place(offset, size)?;
        let slot = self.stack[slot];
        match slot {
            Slot::Whole(value) if size == Size::Double => Ok(value),
            slot if slot.readable() & mask == mask => Ok(Value::Number(Range::up_to(size.largest()))),
            _ => Err(Refusal::UninitialisedStack),
        }
    }

    /// Writes the stack `offset` bytes from its end.
    ///
    /// # Errors
    /// Out of bounds or misaligned.
    pub(crate) fn store_stack(&mut self, offset: i64, size: Size, value: Value) -> Result<(), Refusal> {
        let (slot, mask) = place(offset, size)?;
        let slot = &mut self.stack[slot];
        *slot = match size {
            Size::Double => Slot::Whole(value),
            // Of a pointer that is overwritten in part, the rest is no number.
            _ => Slot::Bytes(slot.readable() | mask),
        };
        Ok(())
    }
}

/// Returns the slot of an access, and a bit for each of its bytes.
fn place(offset: i64, size: Size) -> Result<(usize, u8), Refusal> {
    let at = offset.checked_add(STACK_BYTES as i64).and_then(|at| usize::try_from(at).ok());
    let bytes = size.bytes() as usize;
    let at = at.filter(|at| at + bytes <= STACK_BYTES).ok_or(Refusal::OutOfBounds)?;
    if !at.is_multiple_of(bytes) {
        return Err(Refusal::Misaligned);
    }
    let mask = (u8::MAX >> (8 - bytes)) << (at % 8);
    Ok((at / 8, mask))
}
