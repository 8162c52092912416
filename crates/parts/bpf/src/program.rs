//! [`Program`]: a verified program, and the interpreter that runs it.
//!
//! A register holds 64 bits. A pointer among them is no address: its upper 16 bits name a region, the others say how far
//! inside.
//!
//! ```text
//!    63     48 47    40 39             0
//!   |    0    |         number          |
//!   |    1    |         byte            |   the context, read-only
//!   |    2    |         byte            |   the stack; r10 is its end
//!   |    3    |  map    |       0       |   a handle to a map
//!   |    4    |  map    |      byte     |   the values of a map
//! ```
//! The interpreter checks each access against its region, in safe code, although the verifier has proved it: a program
//! that passed by a fault of the verifier ends with a [`Fault`], or reads and writes its own maps.
//!
//! Why not `rbpf`'s interpreter: see the crate's README.

mod shadow;

use alloc::vec::Vec;

use rhumb_machine::IrqOff;
use rhumb_sync::atomic::Relaxed;

use crate::alu;
use crate::context::{Context, WORDS};
use crate::helper::Helper;
use crate::limits::STACK_BYTES;
use crate::map::{Key, Map};
use crate::name::Name;
use crate::operation::{Operand, Operation, Register, Size};
use shadow::Shadow;

const REGION_SHIFT: u32 = 48;
const MAP_SHIFT: u32 = 40;
const CONTEXT: u64 = 1;
const STACK: u64 = 2;
const HANDLE: u64 = 3;
const VALUES: u64 = 4;

/// The kernel around a program.
pub trait Environment {
    /// Returns the time since boot.
    fn now_ns(&self) -> u64;

    /// Returns the address in the kernel's code that led to the event, 0 where it is not known.
    fn call_site(&self) -> u64;
}

/// A check at run time that failed. The verifier has proved that none does, so this is a fault of the verifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The number of the instruction.
    pub instruction: u32,
}

/// A program that the verifier has let pass.
#[derive(Debug)]
pub struct Program {
    pub(crate) name: Name,
    /// The event in the name of its section, or nothing.
    pub(crate) event: Name,
    pub(crate) operations: Vec<Operation>,
}

impl Program {
    /// Returns its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the event that it is written for, as its section says; empty where it does not.
    pub const fn event(&self) -> &Name {
        &self.event
    }

    /// Returns how many instructions it has.
    pub fn instructions(&self) -> usize {
        self.operations.len()
    }

    /// Runs it, and returns r0. `maps` are those of its object.
    ///
    /// Cost: some 34 machine instructions for each of the program's, helpers included; 700 bytes of stack.
    ///
    /// # Errors
    /// [`Fault`]: see there.
    pub(crate) fn run(
        &self,
        maps: &[Map],
        context: &Context,
        environment: &impl Environment,
        irq_off: IrqOff<'_>,
    ) -> Result<u64, Fault> {
        self.run_and_see(maps, context, environment, irq_off, |_, _, _| ())
    }

    /// Runs it, and shows `see` the registers and the stack before each instruction.
    #[inline(always)]
    pub(crate) fn run_and_see(
        &self,
        maps: &[Map],
        context: &Context,
        environment: &impl Environment,
        irq_off: IrqOff<'_>,
        mut see: impl FnMut(usize, &[u64; Register::COUNT], &[u8; STACK_BYTES]),
    ) -> Result<u64, Fault> {
        let mut run = Run {
            registers: [0; Register::COUNT],
            stack: [0; STACK_BYTES],
            context: context.words(),
            maps,
            environment,
            irq_off,
            call_site: None,
            shadow: Shadow::new(),
        };
        run.registers[Register::FIRST_ARGUMENT.index()] = CONTEXT << REGION_SHIFT;
        run.registers[Register::FRAME.index()] = STACK << REGION_SHIFT | STACK_BYTES as u64;
        let mut at = 0;
        // `at` grows in each turn.
        while let Some(operation) = self.operations.get(at) {
            see(at, &run.registers, &run.stack);
            match run.step(operation) {
                Some(Next::Ahead(ahead)) => at += 1 + usize::from(ahead),
                Some(Next::Exit) => return Ok(run.registers[Register::RESULT.index()]),
                None => break,
            }
        }
        Err(Fault { instruction: at as u32 })
    }
}

/// Where the program goes on.
enum Next {
    /// That many instructions behind the next one.
    Ahead(u16),
    Exit,
}

/// A program as it runs.
struct Run<'a, E> {
    registers: [u64; Register::COUNT],
    stack: [u8; STACK_BYTES],
    context: &'a [u64; WORDS],
    maps: &'a [Map],
    environment: &'a E,
    irq_off: IrqOff<'a>,
    /// The place in the kernel's code that led to the event, once the program has asked for it.
    call_site: Option<u64>,
    shadow: Shadow,
}

impl<'a, E: Environment> Run<'a, E> {
    /// Does one instruction; `None` where a check fails.
    #[inline]
    fn step(&mut self, operation: &Operation) -> Option<Next> {
        match *operation {
            Operation::Alu { alu, width, to, by } => {
                let result = alu::compute(alu, width, self.get(to), self.operand(by));
                self.set(to, result);
            }
            Operation::Swap { order, to, bits } => self.set(to, alu::swap(order, bits, self.get(to))),
            Operation::LoadNumber { to, number } => {
                self.set(to, number);
                return Some(Next::Ahead(1));
            }
            Operation::LoadMap { to, map } => {
                self.set(to, HANDLE << REGION_SHIFT | u64::from(map) << MAP_SHIFT);
                return Some(Next::Ahead(1));
            }
            Operation::Second => return None,
            Operation::Load { size, to, from, offset } => {
                let loaded = self.load(self.get(from).wrapping_add_signed(offset.into()), size)?;
                self.set(to, loaded);
            }
            Operation::Store { size, to, offset, value } => {
                let pointer = self.get(to).wrapping_add_signed(offset.into());
                self.store(pointer, size, self.operand(value))?;
            }
            Operation::Add { to, offset, value, fetch } => {
                let pointer = self.get(to).wrapping_add_signed(offset.into());
                let (map, place) = self.place(pointer)?;
                let old = map.word(place)?.fetch_add(self.get(value), Relaxed);
                if fetch {
                    self.set(value, old);
                }
            }
            Operation::Jump { ahead } => return Some(Next::Ahead(ahead)),
            Operation::JumpIf { condition, width, left, right, ahead } => {
                let jumps = alu::compare(condition, width, self.get(left), self.operand(right));
                return Some(Next::Ahead(if jumps { ahead } else { 0 }));
            }
            Operation::Call(helper) => {
                let result = self.call(helper)?;
                self.set(Register::RESULT, result);
            }
            Operation::Exit => return Some(Next::Exit),
        }
        Some(Next::Ahead(0))
    }

    #[inline(always)]
    fn get(&self, register: Register) -> u64 {
        self.registers[register.index()]
    }

    #[inline(always)]
    fn set(&mut self, register: Register, value: u64) {
        self.registers[register.index()] = value;
    }

    #[inline(always)]
    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Register(register) => self.get(register),
            Operand::Number(number) => i64::from(number).cast_unsigned(),
        }
    }

    fn load(&self, pointer: u64, size: Size) -> Option<u64> {
        let offset = (pointer & ((1 << REGION_SHIFT) - 1)) as usize;
        match pointer >> REGION_SHIFT {
            CONTEXT if size == Size::Double && offset.is_multiple_of(8) => {
                self.context.get(offset / 8).copied()
            }
            STACK => {
                self.shadow.read_stack(offset, size)?;
                let bytes = self.stack.get(offset..)?;
                Some(match size {
                    Size::Byte => u64::from(*bytes.first()?),
                    Size::Half => u64::from(u16::from_le_bytes(*bytes.first_chunk()?)),
                    Size::Word => u64::from(u32::from_le_bytes(*bytes.first_chunk()?)),
                    Size::Double => u64::from_le_bytes(*bytes.first_chunk()?),
                })
            }
            _ => {
                let within = pointer & 7 & !(size.bytes() - 1);
                if within != pointer & 7 {
                    return None;
                }
                let (map, place) = self.place(pointer - within)?;
                Some(map.word(place)?.load(Relaxed) >> (8 * within) & size.largest())
            }
        }
    }

    fn store(&mut self, pointer: u64, size: Size, value: u64) -> Option<()> {
        let offset = (pointer & ((1 << REGION_SHIFT) - 1)) as usize;
        if pointer >> REGION_SHIFT == STACK {
            self.shadow.write_stack(offset, size);
            let bytes = self.stack.get_mut(offset..)?;
            match size {
                Size::Byte => *bytes.first_mut()? = value as u8,
                Size::Half => *bytes.first_chunk_mut()? = (value as u16).to_le_bytes(),
                Size::Word => *bytes.first_chunk_mut()? = (value as u32).to_le_bytes(),
                Size::Double => *bytes.first_chunk_mut()? = value.to_le_bytes(),
            }
            return Some(());
        }
        if size != Size::Double {
            return None;
        }
        let (map, place) = self.place(pointer)?;
        map.word(place)?.store(value, Relaxed);
        Some(())
    }

    /// Returns the map and the word that a pointer into the values of a map names.
    fn place(&self, pointer: u64) -> Option<(&'a Map, usize)> {
        if pointer >> REGION_SHIFT != VALUES || !pointer.is_multiple_of(8) {
            return None;
        }
        let map = self.maps.get((pointer >> MAP_SHIFT & 0xff) as usize)?;
        let place = (pointer & ((1 << MAP_SHIFT) - 1)) as usize / 8;
        self.shadow.use_value(map, place)?;
        // Programs do not see the buckets of a histogram.
        map.is_seen().then_some((map, place))
    }

    /// Returns the pointer to a word of a map's values.
    fn pointer_to(map: u64, place: usize) -> u64 {
        (VALUES << REGION_SHIFT) | (map << MAP_SHIFT) | (8 * place as u64)
    }

    fn call(&mut self, helper: Helper) -> Option<u64> {
        let [first, second, third] = [1, 2, 3].map(|number| self.registers[number]);
        match helper {
            Helper::Time => Some(self.environment.now_ns()),
            Helper::CallSite => {
                // A walk through the stack: a program that asks for each of its instructions takes it once.
                let site = self.call_site.unwrap_or_else(|| self.environment.call_site());
                self.call_site = Some(site);
                self.call_site
            }
            Helper::Cpu => Some(self.irq_off.cpu().index() as u64),
            Helper::Lookup => {
                let (number, map) = self.map(first)?;
                let key = map.is_seen().then(|| self.key(map, second))??;
                let place = map.find(&key).and_then(|slot| map.place(slot, self.irq_off.cpu()));
                self.shadow.give_value(map, place);
                Some(place.map_or(0, |place| Self::pointer_to(number, place)))
            }
            Helper::Update => {
                let (_, map) = self.map(first)?;
                let key = map.is_seen().then(|| self.key(map, second))??;
                let slot = map.find_or_add(&key, self.irq_off);
                let place = slot.and_then(|slot| map.place(slot, self.irq_off.cpu()));
                let Some(place) = place else { return Some(FAILED) };
                for word in 0..map.layout().value_words {
                    let value = self.load(third.wrapping_add(8 * word as u64), Size::Double)?;
                    map.word(place + word)?.store(value, Relaxed);
                }
                Some(0)
            }
            Helper::Add => {
                let (_, map) = self.map(first)?;
                let key = self.key(map, second)?;
                Some(if map.add(&key, third, self.irq_off) { 0 } else { FAILED })
            }
        }
    }

    /// Returns the map behind a handle, and its number.
    fn map(&self, handle: u64) -> Option<(u64, &'a Map)> {
        if handle >> REGION_SHIFT != HANDLE {
            return None;
        }
        let number = handle >> MAP_SHIFT & 0xff;
        Some((number, self.maps.get(number as usize)?))
    }

    /// Reads a key of `map`.
    fn key(&self, map: &Map, pointer: u64) -> Option<Key> {
        let mut key = Key::default();
        if map.layout().key_bytes == 4 {
            key[0] = self.load(pointer, Size::Word)?;
            return Some(key);
        }
        for (word, at) in key.iter_mut().take(map.layout().key_words).zip((0..).step_by(8)) {
            *word = self.load(pointer.wrapping_add(at), Size::Double)?;
        }
        Some(key)
    }
}

/// The result of a helper that failed: -1.
const FAILED: u64 = u64::MAX;
