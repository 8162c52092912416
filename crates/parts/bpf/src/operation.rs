//! [`Operation`]: one decoded instruction.
//!
//! An instruction has eight bytes: opcode, two registers, a 16-bit offset, a 32-bit immediate (RFC 9669, section 3).
//! Decoding decides everything that one instruction says of itself: unknown opcodes, fields that must be zero, registers
//! that do not exist, jumps that go backwards. An [`Operation`] that exists is well-formed, so the verifier and the
//! interpreter match on it without a default.

use crate::error::Refusal;
use crate::helper::Helper;

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

/// An instruction's fields.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) opcode: u8,
    pub(crate) to: u8,
    pub(crate) from: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

impl Fields {
    /// Takes eight bytes apart.
    pub(crate) const fn of(bytes: [u8; INSTRUCTION_BYTES]) -> Self {
        let [opcode, registers, low, high, i0, i1, i2, i3] = bytes;
        Self {
            opcode,
            to: registers & 0xf,
            from: registers >> 4,
            offset: i16::from_le_bytes([low, high]),
            immediate: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    fn to(self) -> Result<Register, Refusal> {
        Register::new(self.to).ok_or(Refusal::NoSuchRegister(self.to))
    }

    fn from(self) -> Result<Register, Refusal> {
        Register::new(self.from).ok_or(Refusal::NoSuchRegister(self.from))
    }

    /// Returns the second operand: bit 3 of the opcode says which.
    fn operand(self) -> Result<Operand, Refusal> {
        if self.opcode & 0x08 == 0 {
            self.must_be_zero(self.from == 0)?;
            return Ok(Operand::Number(self.immediate));
        }
        self.must_be_zero(self.immediate == 0)?;
        self.from().map(Operand::Register)
    }

    fn must_be_zero(self, is_zero: bool) -> Result<(), Refusal> {
        if is_zero { Ok(()) } else { Err(Refusal::UnusedField(self.opcode)) }
    }

    fn ahead(self) -> Result<u16, Refusal> {
        u16::try_from(self.offset).map_err(|_| Refusal::JumpsBack)
    }
}

/// Decodes one instruction, and the one behind it where both are one. A load of a map is told by `map`: the number of
/// the map that a relocation names.
///
/// # Errors
/// The instruction is none, or one that programs may not use.
pub(crate) fn decode(fields: Fields, second: Option<Fields>, map: Option<u8>) -> Result<Operation, Refusal> {
    match fields.opcode & 0x07 {
        0x00 => load_number(fields, second, map),
        0x01..=0x03 => access(fields),
        0x04 => alu(fields, Width::Half),
        0x07 => alu(fields, Width::Full),
        0x05 => jump(fields, Width::Full),
        _ => jump(fields, Width::Half),
    }
}

/// The opcode of the one instruction that takes two places.
pub(crate) const LOAD_NUMBER: u8 = 0x18;
/// The source register of [`LOAD_NUMBER`] where the number is a map's.
const IS_MAP: u8 = 1;

fn load_number(fields: Fields, second: Option<Fields>, map: Option<u8>) -> Result<Operation, Refusal> {
    if fields.opcode != LOAD_NUMBER {
        return Err(Refusal::UnknownOpcode(fields.opcode));
    }
    let to = fields.to()?;
    let second = second.ok_or(Refusal::HalfInstruction)?;
    if second.opcode != 0 || second.to != 0 || second.from != 0 || second.offset != 0 {
        return Err(Refusal::HalfInstruction);
    }
    fields.must_be_zero(fields.offset == 0)?;
    match (map, fields.from) {
        (Some(map), 0 | IS_MAP) => Ok(Operation::LoadMap { to, map }),
        (None, 0) => {
            let number = u64::from(fields.immediate.cast_unsigned())
                | u64::from(second.immediate.cast_unsigned()) << 32;
            Ok(Operation::LoadNumber { to, number })
        }
        (None, IS_MAP) => Err(Refusal::MapByNumber),
        _ => Err(Refusal::UnusedField(fields.opcode)),
    }
}

fn access(fields: Fields) -> Result<Operation, Refusal> {
    const MEMORY: u8 = 0x60;
    const ATOMIC: u8 = 0xc0;
    const ATOMIC_ADD: i32 = 0x00;
    const FETCH: i32 = 0x01;
    let Fields { opcode, offset, immediate, .. } = fields;
    let (mode, class, size) = (opcode & 0xe0, opcode & 0x07, Size::of_opcode(opcode));
    match (mode, class) {
        (MEMORY, 0x01) => {
            fields.must_be_zero(immediate == 0)?;
            Ok(Operation::Load { size, to: fields.to()?, from: fields.from()?, offset })
        }
        (MEMORY, 0x02) => {
            fields.must_be_zero(fields.from == 0)?;
            Ok(Operation::Store { size, to: fields.to()?, offset, value: Operand::Number(immediate) })
        }
        (MEMORY, 0x03) => {
            fields.must_be_zero(immediate == 0)?;
            Ok(Operation::Store { size, to: fields.to()?, offset, value: Operand::Register(fields.from()?) })
        }
        (ATOMIC, 0x03) if size == Size::Double && immediate & !FETCH == ATOMIC_ADD => {
            Ok(Operation::Add { to: fields.to()?, offset, value: fields.from()?, fetch: immediate == FETCH })
        }
        (ATOMIC, 0x03) => Err(Refusal::UnknownAtomic),
        _ => Err(Refusal::UnknownOpcode(opcode)),
    }
}

fn alu(fields: Fields, width: Width) -> Result<Operation, Refusal> {
    let opcode = fields.opcode;
    fields.must_be_zero(fields.offset == 0)?;
    let to = fields.to()?;
    let alu = match opcode & 0xf0 {
        0x00 => Alu::Add,
        0x10 => Alu::Sub,
        0x20 => Alu::Mul,
        0x30 => Alu::Div,
        0x40 => Alu::Or,
        0x50 => Alu::And,
        0x60 => Alu::Lsh,
        0x70 => Alu::Rsh,
        0x80 => {
            fields.must_be_zero(opcode & 0x08 == 0 && fields.from == 0 && fields.immediate == 0)?;
            Alu::Neg
        }
        0x90 => Alu::Mod,
        0xa0 => Alu::Xor,
        0xb0 => Alu::Mov,
        0xc0 => Alu::Arsh,
        0xd0 if width == Width::Half => {
            fields.must_be_zero(fields.from == 0)?;
            let order = if opcode & 0x08 == 0 { Endian::Little } else { Endian::Big };
            return match fields.immediate {
                16 | 32 | 64 => Ok(Operation::Swap { order, to, bits: fields.immediate as u8 }),
                _ => Err(Refusal::UnusedField(opcode)),
            };
        }
        _ => return Err(Refusal::UnknownOpcode(opcode)),
    };
    Ok(Operation::Alu { alu, width, to, by: fields.operand()? })
}

fn jump(fields: Fields, width: Width) -> Result<Operation, Refusal> {
    let opcode = fields.opcode;
    let condition = match (opcode & 0xf0, width) {
        (0x00, Width::Full) if opcode & 0x08 == 0 => {
            fields.must_be_zero(fields.to == 0 && fields.from == 0 && fields.immediate == 0)?;
            return Ok(Operation::Jump { ahead: fields.ahead()? });
        }
        (0x80, Width::Full) if opcode & 0x08 == 0 => {
            fields.must_be_zero(fields.to == 0 && fields.offset == 0)?;
            return match fields.from {
                0 => Helper::numbered(fields.immediate)
                    .map(Operation::Call)
                    .ok_or(Refusal::UnknownHelper(fields.immediate)),
                _ => Err(Refusal::CallsProgram),
            };
        }
        (0x90, Width::Full) if opcode & 0x08 == 0 => {
            let zero = fields.to == 0 && fields.from == 0 && fields.offset == 0 && fields.immediate == 0;
            fields.must_be_zero(zero)?;
            return Ok(Operation::Exit);
        }
        (0x10, _) => Condition::Eq,
        (0x20, _) => Condition::Gt,
        (0x30, _) => Condition::Ge,
        (0x40, _) => Condition::Set,
        (0x50, _) => Condition::Ne,
        (0x60, _) => Condition::SGt,
        (0x70, _) => Condition::SGe,
        (0xa0, _) => Condition::Lt,
        (0xb0, _) => Condition::Le,
        (0xc0, _) => Condition::SLt,
        (0xd0, _) => Condition::SLe,
        _ => return Err(Refusal::UnknownOpcode(opcode)),
    };
    Ok(Operation::JumpIf {
        condition,
        width,
        left: fields.to()?,
        right: fields.operand()?,
        ahead: fields.ahead()?,
    })
}
