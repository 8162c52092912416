//! The effect of each instruction on a state.

use super::access;
use super::range::Range;
use super::state::State;
use super::value::Value;
use crate::error::Refusal;
use crate::map::Map;
use crate::operation::{Alu, Condition, Operand, Operation, Register, Width};

/// Where a path goes on.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Flow {
    /// At the next instruction.
    Next,
    /// That many instructions behind it.
    Jump(u16),
    /// At either, with these states; `None` where no value leads there.
    Either {
        /// How far the jump goes.
        ahead: u16,
        /// The state where the condition holds.
        jump: Option<State>,
        /// The state where it does not.
        next: Option<State>,
    },
    /// Nowhere.
    Exit,
}

impl State {
    /// Does one instruction.
    ///
    /// # Errors
    /// The program may not do it in this state.
    pub(crate) fn step(&mut self, at: usize, operation: &Operation, maps: &[Map]) -> Result<Flow, Refusal> {
        match *operation {
            Operation::Alu { alu, width, to, by } => self.alu(alu, width, to, by)?,
            Operation::Swap { order, to, bits } => {
                let swapped = self.number(to)?.swap(order, bits);
                self.set(to, Value::Number(swapped))?;
            }
            Operation::LoadNumber { to, number } => self.set(to, Value::Number(Range::only(number)))?,
            Operation::LoadMap { to, map } => self.set(to, Value::Handle(map))?,
            Operation::Second => return Err(Refusal::JumpsInside),
            Operation::Load { size, to, from, offset } => {
                let loaded = access::load(self, maps, from, offset, size)?;
                self.set(to, loaded)?;
            }
            Operation::Store { size, to, offset, value } => {
                access::store(self, maps, to, offset, size, value)?;
            }
            Operation::Add { to, offset, value, fetch } => {
                access::add(self, maps, to, offset, value)?;
                if fetch {
                    self.set(value, Value::NUMBER)?;
                }
            }
            Operation::Jump { ahead } => return Ok(Flow::Jump(ahead)),
            Operation::JumpIf { condition, width, left, right, ahead } => {
                let (jump, next) = self.branch(condition, width, left, right)?;
                return Ok(Flow::Either { ahead, jump, next });
            }
            Operation::Call(helper) => access::call(self, at, maps, helper)?,
            Operation::Exit => {
                self.number(Register::RESULT)?;
                return Ok(Flow::Exit);
            }
        }
        Ok(Flow::Next)
    }

    fn alu(&mut self, alu: Alu, width: Width, to: Register, by: Operand) -> Result<(), Refusal> {
        if let (Alu::Mov, Width::Full, Operand::Register(from)) = (alu, width, by) {
            let value = self.get(from)?;
            return self.set(to, value);
        }
        // A move reads nothing of `to`, which may have no value yet.
        let left = if alu == Alu::Mov { Value::NUMBER } else { self.get(to)? };
        if left.is_pointer() {
            let moved = self.move_pointer(alu, width, to, left, by)?;
            return self.set(to, moved);
        }
        // A number plus a pointer is a pointer, too.
        if let (Alu::Add, Width::Full, Value::Number(_), Operand::Register(from)) = (alu, width, left, by)
            && self.get(from)?.is_pointer()
        {
            let pointer = self.get(from)?;
            let moved = self.move_pointer(alu, width, from, pointer, Operand::Register(to))?;
            return self.set(to, moved);
        }
        let Value::Number(left) = left else { return Err(Refusal::LeaksPointer(to.index() as u8)) };
        let right = if alu == Alu::Neg { Range::only(0) } else { self.operand(by)? };
        self.set(to, Value::Number(Range::compute(alu, width, left, right)))
    }

    /// Returns a pointer that is moved by a number.
    fn move_pointer(
        &self,
        alu: Alu,
        width: Width,
        register: Register,
        pointer: Value,
        by: Operand,
    ) -> Result<Value, Refusal> {
        let number = register.index() as u8;
        let refused = Refusal::PointerArithmetic(number);
        if !matches!((alu, width), (Alu::Add | Alu::Sub, Width::Full)) {
            return Err(refused);
        }
        let by = match by {
            Operand::Register(register) if self.get(register)?.is_pointer() => return Err(refused),
            by => self.operand(by)?,
        };
        let by_constant = || {
            let by = by.constant().ok_or(refused)?.cast_signed();
            // Offsets past any region are refused here, so that their sums stay far from the ends of 64 bits.
            let by = if alu == Alu::Sub { by.checked_neg() } else { Some(by) };
            by.filter(|by| (-FARTHEST..=FARTHEST).contains(by)).ok_or(Refusal::OutOfBounds)
        };
        let in_bounds = |at: i64| {
            if (-FARTHEST..=FARTHEST).contains(&at) { Ok(at) } else { Err(Refusal::OutOfBounds) }
        };
        match pointer {
            Value::Context(at) => in_bounds(at + by_constant()?).map(Value::Context),
            Value::Stack(at) => in_bounds(at + by_constant()?).map(Value::Stack),
            Value::InMap { map, offset } => {
                Ok(Value::InMap { map, offset: Range::compute(alu, Width::Full, offset, by) })
            }
            Value::InMapOrNull { .. } => Err(Refusal::MaybeNull(number)),
            _ => Err(refused),
        }
    }

    /// Returns the states behind a comparison: where it holds, and where not.
    fn branch(
        &mut self,
        condition: Condition,
        width: Width,
        left: Register,
        right: Operand,
    ) -> Result<(Option<Self>, Option<Self>), Refusal> {
        if let Value::InMapOrNull { map, lookup } = self.get(left)? {
            return self.branch_on_null(condition, width, left, right, map, lookup);
        }
        let number = self.number(left)?;
        let right = self.operand(right)?;
        let side = |holds: bool| {
            let narrowed = match right.constant() {
                Some(right) => number.narrow(condition, width, right, holds)?,
                None => number,
            };
            let mut state = self.clone();
            state.set(left, Value::Number(narrowed)).ok()?;
            Some(state)
        };
        Ok((side(true), side(false)))
    }

    /// Returns the states behind a comparison of the result of a lookup with 0.
    fn branch_on_null(
        &mut self,
        condition: Condition,
        width: Width,
        left: Register,
        right: Operand,
        map: u8,
        lookup: u32,
    ) -> Result<(Option<Self>, Option<Self>), Refusal> {
        let is_null = |holds: bool| holds == (condition == Condition::Eq);
        let is_comparison = matches!(condition, Condition::Eq | Condition::Ne) && width == Width::Full;
        if !is_comparison || self.operand(right)?.constant() != Some(0) {
            return Err(Refusal::MaybeNull(left.index() as u8));
        }
        let side = |holds: bool| {
            let mut state = self.clone();
            let found = match is_null(holds) {
                true => Value::Number(Range::only(0)),
                false => Value::InMap { map, offset: Range::only(0) },
            };
            state.resolve(lookup, found);
            Some(state)
        };
        Ok((side(true), side(false)))
    }
}

/// The farthest that a pointer to the context or the stack may be moved, in bytes.
const FARTHEST: i64 = 1 << 20;
