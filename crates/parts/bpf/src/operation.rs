//! [`Operation`]: one decoded instruction.
//!
//! An [`Operation`] that exists is well-formed, because `decode` has refused all others. So the verifier and the
//! interpreter match on it without a default.

mod decode;

use crate::helper::Helper;
pub(crate) use decode::{Fields, LOAD_NUMBER, decode};

/// Bytes of an instruction.
pub const INSTRUCTION_BYTES: usize = 8;

/// A register, r0 to r10.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Register(u8);

impl Register {
    /// The result of a call, and of the program.
    pub const RESULT: Self = Self(0);
    /// The first argument of a call; the context, as a program begins.
    pub const FIRST_ARGUMENT: Self = Self(1);
    /// The end of the stack; read-only.
    pub const FRAME: Self = Self(10);
    /// How many there are.
    pub const COUNT: usize = 11;

    /// Returns the register of this number, if it exists.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// Returns its number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The second operand of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// A register's value.
    Register(Register),
    /// A number, sign-extended where 64 bits are wanted.
    Number(i32),
}

/// The bits that an operation works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// The lower 32 bits; the upper ones of the result are 0.
    Half,
    /// All 64 bits.
    Full,
}

/// Bytes that an access moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Size {
    Byte,
    Half,
    Word,
    Double,
}

impl Size {
    /// Returns how many bytes that are.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
            Self::Double => 8,
        }
    }

    /// Returns the largest number of this size.
    pub const fn largest(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }

    const fn of_opcode(opcode: u8) -> Self {
        match opcode & 0x18 {
            0x00 => Self::Word,
            0x08 => Self::Half,
            0x10 => Self::Byte,
            _ => Self::Double,
        }
    }
}

/// Arithmetic of two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Neg,
    Mod,
    Xor,
    Mov,
    Arsh,
}

/// The condition of a jump: how the first operand compares with the second. The names are the assembler's: `JSet` is "has
/// a bit in common", `S` is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Condition {
    Eq,
    Gt,
    Ge,
    Set,
    Ne,
    SGt,
    SGe,
    Lt,
    Le,
    SLt,
    SLe,
}

/// The byte order that a value is brought into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Endian {
    Little,
    Big,
}

/// An instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `to` becomes `to` op `by`.
    Alu {
        /// The arithmetic.
        alu: Alu,
        /// The bits that it is done on.
        width: Width,
        /// The first operand, and the result.
        to: Register,
        /// The second operand.
        by: Operand,
    },
    /// `to` is cut to `bits` and brought into an order.
    Swap {
        /// The order.
        order: Endian,
        /// The register.
        to: Register,
        /// 16, 32 or 64.
        bits: u8,
    },
    /// `to` becomes a number of 64 bits; takes the place of two instructions.
    LoadNumber {
        /// The register.
        to: Register,
        /// The number.
        number: u64,
    },
    /// `to` becomes a handle to a map; takes the place of two instructions.
    LoadMap {
        /// The register.
        to: Register,
        /// The map's place in its object.
        map: u8,
    },
    /// The second place of an instruction that takes two.
    Second,
    /// `to` becomes what lies at `from` + `offset`.
    Load {
        /// How many bytes.
        size: Size,
        /// The register that gets the value; its other bits are 0.
        to: Register,
        /// The register with the pointer.
        from: Register,
        /// The distance from there.
        offset: i16,
    },
    /// A value is stored at `to` + `offset`.
    Store {
        /// How many bytes.
        size: Size,
        /// The register with the pointer.
        to: Register,
        /// The distance from there.
        offset: i16,
        /// The value.
        value: Operand,
    },
    /// A register is added to 64 bits of a map's value, as one step of memory.
    Add {
        /// The register with the pointer.
        to: Register,
        /// The distance from there.
        offset: i16,
        /// The register that is added; gets the old value where `fetch` says so.
        value: Register,
        /// Whether the old value is wanted.
        fetch: bool,
    },
    /// Goes on `ahead` instructions further on.
    Jump {
        /// How many instructions are left out.
        ahead: u16,
    },
    /// Goes on `ahead` instructions further on where the operands compare so.
    JumpIf {
        /// The comparison.
        condition: Condition,
        /// The bits that are compared.
        width: Width,
        /// The first operand.
        left: Register,
        /// The second operand.
        right: Operand,
        /// How many instructions are left out.
        ahead: u16,
    },
    /// Calls a helper: arguments in r1 to r5, the result in r0.
    Call(Helper),
    /// Ends the program.
    Exit,
}
