//! Accesses to memory, and the arguments of helpers.

use super::range::Range;
use super::state::State;
use super::value::Value;
use crate::context;
use crate::error::Refusal;
use crate::helper::{Argument, Helper, Returned};
use crate::map::Map;
use crate::operation::{Operand, Register, Size};

/// Returns the kind of what lies at `from` + `offset`.
pub(crate) fn load(
    state: &State,
    maps: &[Map],
    from: Register,
    offset: i16,
    size: Size,
) -> Result<Value, Refusal> {
    match pointer(state, from)? {
        Value::Context(start) => {
            let at = start.checked_add(offset.into()).ok_or(Refusal::OutOfBounds)?;
            if !(0..8 * context::WORDS as i64).contains(&at) {
                return Err(Refusal::OutOfBounds);
            }
            if size != Size::Double || at % 8 != 0 {
                return Err(Refusal::Misaligned);
            }
            Ok(Value::NUMBER)
        }
        Value::Stack(start) => {
            state.load_stack(start.checked_add(offset.into()).ok_or(Refusal::OutOfBounds)?, size)
        }
        Value::InMap { map, offset: start } => {
            check_in_value(maps, map, start, offset, size)?;
            Ok(Value::Number(Range::up_to(size.largest())))
        }
        _ => Err(Refusal::NoPointer(from.index() as u8)),
    }
}

/// Stores at `to` + `offset`.
pub(crate) fn store(
    state: &mut State,
    maps: &[Map],
    to: Register,
    offset: i16,
    size: Size,
    value: Operand,
) -> Result<(), Refusal> {
    match pointer(state, to)? {
        Value::Context(_) => Err(Refusal::WritesContext),
        Value::Stack(start) => {
            let value = match value {
                Operand::Register(register) if size == Size::Double => state.get(register)?,
                _ => Value::Number(state.operand(value)?),
            };
            state.store_stack(start.checked_add(offset.into()).ok_or(Refusal::OutOfBounds)?, size, value)
        }
        Value::InMap { map, offset: start } => {
            if size != Size::Double {
                return Err(Refusal::PartialStore);
            }
            state.operand(value)?;
            check_in_value(maps, map, start, offset, size)
        }
        _ => Err(Refusal::NoPointer(to.index() as u8)),
    }
}

/// Adds atomically at `to` + `offset`.
pub(crate) fn add(
    state: &State,
    maps: &[Map],
    to: Register,
    offset: i16,
    value: Register,
) -> Result<(), Refusal> {
    let Value::InMap { map, offset: start } = pointer(state, to)? else {
        return Err(Refusal::AtomicElsewhere);
    };
    state.number(value)?;
    check_in_value(maps, map, start, offset, Size::Double)
}

/// Returns the pointer in a register.
fn pointer(state: &State, register: Register) -> Result<Value, Refusal> {
    let number = register.index() as u8;
    match state.get(register)? {
        Value::InMapOrNull { .. } => Err(Refusal::MaybeNull(number)),
        Value::Number(_) | Value::Handle(_) | Value::None => Err(Refusal::NoPointer(number)),
        pointer => Ok(pointer),
    }
}

/// Checks an access to a map's value.
fn check_in_value(maps: &[Map], map: u8, start: Range, offset: i16, size: Size) -> Result<(), Refusal> {
    let bytes = maps.get(usize::from(map)).map_or(0, |map| map.layout().value_bytes());
    // Offsets are those of a pointer of 64 bits: one before the value is a very large one.
    let moved = |at: u64| at.checked_add_signed(offset.into());
    let end = moved(start.most).and_then(|at| at.checked_add(size.bytes()));
    if moved(start.least).is_none() || end.is_none_or(|end| end > bytes) {
        return Err(Refusal::OutOfBounds);
    }
    let is_aligned = start.is_aligned(size.bytes()) && i64::from(offset) % size.bytes() as i64 == 0;
    if is_aligned { Ok(()) } else { Err(Refusal::Misaligned) }
}

/// Checks the arguments of a call, and gives r0 its result.
pub(crate) fn call(state: &mut State, at: usize, maps: &[Map], helper: Helper) -> Result<(), Refusal> {
    let mut called = None;
    for (number, &argument) in (1..).zip(helper.arguments()) {
        let Some(register) = Register::new(number) else { return Err(Refusal::BadArgument(number)) };
        let value = state.get(register)?;
        let bad = Refusal::BadArgument(number);
        match (argument, value) {
            (Argument::Map | Argument::MapOfValues, Value::Handle(map)) => {
                let found = maps.get(usize::from(map)).ok_or(bad)?;
                if argument == Argument::MapOfValues && !found.is_seen() {
                    return Err(bad);
                }
                called = Some((map, found));
            }
            (Argument::Key, pointer) => {
                let layout = called.ok_or(bad)?.1.layout();
                let (size, count) = match layout.key_bytes {
                    4 => (Size::Word, 1),
                    _ => (Size::Double, layout.key_words),
                };
                check_readable(state, maps, register, pointer, size, count)?;
            }
            (Argument::Value, pointer) => {
                let words = called.ok_or(bad)?.1.layout().value_words;
                check_readable(state, maps, register, pointer, Size::Double, words)?;
            }
            (Argument::Number, Value::Number(_)) => {}
            (Argument::Zero, Value::Number(range)) if range.constant() == Some(0) => {}
            (Argument::Number | Argument::Zero, pointer) if pointer.is_pointer() => {
                return Err(Refusal::LeaksPointer(number));
            }
            _ => return Err(bad),
        }
    }
    state.forget_arguments();
    let result = match (helper.returned(), called) {
        (Returned::ValueOrNull, Some((map, _))) => Value::InMapOrNull { map, lookup: at as u32 },
        _ => Value::NUMBER,
    };
    state.set(Register::RESULT, result)
}

/// Checks that `count` numbers of a size lie at a pointer.
fn check_readable(
    state: &State,
    maps: &[Map],
    register: Register,
    pointer: Value,
    size: Size,
    count: usize,
) -> Result<(), Refusal> {
    let number = register.index() as u8;
    if !matches!(pointer, Value::Stack(_) | Value::InMap { .. }) {
        return Err(match pointer {
            Value::InMapOrNull { .. } => Refusal::MaybeNull(number),
            _ => Refusal::BadArgument(number),
        });
    }
    for index in 0..count as i16 {
        match load(state, maps, register, index * size.bytes() as i16, size)? {
            Value::Number(_) => {}
            _ => return Err(Refusal::LeaksPointer(number)),
        }
    }
    Ok(())
}
