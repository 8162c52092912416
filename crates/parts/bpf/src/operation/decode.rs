//! Decoding: eight bytes of a file become an [`Operation`], or are refused.
//!
//! An instruction has eight bytes: opcode, two registers, a 16-bit offset, a 32-bit immediate (RFC 9669, section 3).
//! Decoding decides everything that one instruction says of itself: unknown opcodes, fields that must be zero, registers
//! that do not exist, jumps that go backwards.

use super::{Alu, Condition, Endian, INSTRUCTION_BYTES, Operand, Operation, Register, Size, Width};
use crate::error::Refusal;
use crate::helper::Helper;

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

    /// Returns the number of 64 bits that this instruction and the one behind it hold.
    pub(crate) const fn number_with(self, second: Self) -> u64 {
        self.immediate.cast_unsigned() as u64 | (second.immediate.cast_unsigned() as u64) << 32
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
        (None, 0) => Ok(Operation::LoadNumber { to, number: fields.number_with(second) }),
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
