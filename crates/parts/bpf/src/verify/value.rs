//! [`Value`]: the kind of one value.

use super::range::Range;

/// The kind of a value in a register, or in a word of the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// Nothing that may be read: never written, or different kinds on different paths.
    None,
    /// A number.
    Number(Range),
    /// A pointer so many bytes into the context.
    Context(i64),
    /// A pointer so many bytes from the end of the stack.
    Stack(i64),
    /// A handle to a map.
    Handle(u8),
    /// A pointer into a value of a map.
    InMap {
        /// The map.
        map: u8,
        /// Bytes from the value's beginning.
        offset: Range,
    },
    /// The result of a lookup: a pointer to the beginning of a value, or 0.
    InMapOrNull {
        /// The map.
        map: u8,
        /// The number of the instruction that looked it up: what is found out of one copy holds for all.
        lookup: u32,
    },
}

impl Value {
    /// A number of which nothing is known.
    pub(crate) const NUMBER: Self = Self::Number(Range::ANY);

    /// Tells whether it is a pointer or a handle.
    pub(crate) const fn is_pointer(self) -> bool {
        !matches!(self, Self::None | Self::Number(_))
    }

    /// Returns what both are.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => Self::Number(left.join(right)),
            (Self::InMap { map, offset }, Self::InMap { map: same, offset: other }) if map == same => {
                Self::InMap { map, offset: offset.join(other) }
            }
            (left, right) if left == right => left,
            _ => Self::None,
        }
    }
}
