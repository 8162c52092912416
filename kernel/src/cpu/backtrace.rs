//! Backtraces: the chain of callers, by name.
//!
//! Follows the chain of frame pointers: at each `rbp` lies the caller's `rbp`, above it the return address. Nothing of
//! it is trusted: every word is read through [`probe`], each frame must lie above the one before (or on the main stack,
//! behind an interrupt stack), and the depth is bounded. Names come from the symbol table that the build puts behind
//! the read-only data.

use core::fmt::{self, Write};
use core::mem::offset_of;

use rhumb_code::PartInfo;
use rhumb_machine::{Machine, VirtAddr};
use rhumb_symbols::SymbolTable;
use spin::Once;

use super::area::{self, stack_at};
use super::machine::MACHINE;
use super::stacks::Part;
use super::{once, probe};
use crate::arch::idt::{self, TrapFrame};
use crate::layout::{Stack, image};

/// Says whose part of executable memory an address lies in.
pub type CodeNamer = fn(VirtAddr) -> Option<PartInfo>;

static CODE_NAMER: Once<CodeNamer> = Once::new();

/// Lets code outside of the image be named. Once.
pub fn name_code_by(namer: CodeNamer) {
    once::fill(&CODE_NAMER, namer);
}

/// Names the function that an address outside of the image lies in, and its offset there.
pub type FunctionNamer = fn(VirtAddr) -> Option<(&'static str, u64)>;

static FUNCTION_NAMER: Once<FunctionNamer> = Once::new();

/// Lets functions outside of the image be named. Once.
pub fn name_functions_by(namer: FunctionNamer) {
    once::fill(&FUNCTION_NAMER, namer);
}

/// Deeper than any sane stack; ends a loop that a smashed stack may form.
const MAX_FRAMES: usize = 64;

/// Where a function will return to, and the frame pointer of the function that it returns to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "kasan"), allow(dead_code))]
pub struct Caller {
    pub return_to: u64,
    pub rbp: u64,
}

/// Returns the nearest caller of the function with frame pointer `rbp` whose name begins with none of `prefixes`.
#[cfg_attr(not(feature = "kasan"), allow(dead_code))]
pub fn first_caller_outside(rbp: u64, prefixes: &[&str]) -> Option<Caller> {
    let table = symbols()?;
    let mut frame = rbp;
    for _ in 0..MAX_FRAMES {
        let return_to = probe::read_word(VirtAddr::new(frame.wrapping_add(8))).ok()?;
        let caller = probe::read_word(VirtAddr::new(frame)).ok()?;
        let name = table.lookup(return_to.wrapping_sub(1))?.name;
        if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            return Some(Caller { return_to, rbp: caller });
        }
        frame = caller;
    }
    None
}

/// Writes the code at `rip` and its callers, on a line each.
pub fn write(out: &mut dyn Write, rip: u64, rbp: u64) -> fmt::Result {
    writeln!(out, "backtrace:")?;
    line(out, 0, rip, rip)?;
    let (mut frame, mut depth) = (rbp, 1);
    while depth < MAX_FRAMES {
        if frame == 0 || !frame.is_multiple_of(8) {
            return Ok(());
        }
        let (Ok(caller), Ok(return_to)) =
            (probe::read_word(VirtAddr::new(frame)), probe::read_word(VirtAddr::new(frame.wrapping_add(8))))
        else {
            return writeln!(out, "  (the stack at {frame:#x} cannot be read)");
        };
        if return_to == 0 {
            return Ok(());
        }
        // A call's return address may be the first of the next function: look up the call itself.
        line(out, depth, return_to, return_to - 1)?;
        if idt::is_trap_return(VirtAddr::new(return_to)) {
            // Above the frame of the dispatcher lies what the stub pushed: the code that was interrupted.
            let at = frame.wrapping_add(16 + offset_of!(TrapFrame, rip) as u64);
            if let Ok(interrupted) = probe::read_word(VirtAddr::new(at)) {
                depth += 1;
                line(out, depth, interrupted, interrupted)?;
            }
        }
        if caller != 0 && !may_follow(frame, caller) {
            return Ok(());
        }
        frame = caller;
        depth += 1;
    }
    writeln!(out, "  ... more than {MAX_FRAMES} frames")
}

/// Tells whether a frame at `caller` can be the caller's of one at `frame`: it lies above it, or on the stack that an
/// interrupt stack of the same CPU was switched to from.
fn may_follow(frame: u64, caller: u64) -> bool {
    let stack_of = |frame| stack_at(VirtAddr::new(frame)).map(|(cpu, stack, _)| (cpu, stack));
    match (stack_of(frame), stack_of(caller)) {
        (Some((cpu, Stack::Interrupt(_))), Some((caller_cpu, Stack::Main | Stack::Thread))) => {
            cpu == caller_cpu
        }
        _ => caller > frame,
    }
}

/// Calls `each` with the return addresses of the code that asks, innermost first, until it says no. For code on one of
/// this CPU's stacks: nothing is probed, a chain that leaves them ends.
pub fn for_each_caller(mut each: impl FnMut(VirtAddr) -> bool) {
    let guard = MACHINE.pin();
    let here = area::here(guard.pinned());
    let own = &here.stacks;
    let mut frame: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    for _ in 0..MAX_FRAMES {
        let link = VirtAddr::new(frame);
        let is_on_a_stack = |word: VirtAddr| matches!(own.at(word), Some((_, Part::Pages)));
        if !frame.is_multiple_of(8) || !is_on_a_stack(link) || !is_on_a_stack(link.plus(8)) {
            return;
        }
        // SAFETY: both words lie on a mapped stack and are aligned; they are the frame that some function pushed.
        let (caller, return_to) = unsafe { (*link.as_ptr::<u64>(), *link.plus(8).as_ptr::<u64>()) };
        if return_to == 0 || !each(VirtAddr::new(return_to)) || caller <= frame {
            return;
        }
        frame = caller;
    }
}

/// Returns the function that a return address lies in.
pub fn name_of(return_to: VirtAddr) -> Option<&'static str> {
    // A call's return address may be the first of the next function: look up the call itself.
    let call = return_to.get().wrapping_sub(1);
    let of_the_image = symbols().and_then(|symbols| symbols.lookup(call)).map(|symbol| symbol.name);
    of_the_image.or_else(|| FUNCTION_NAMER.get()?(VirtAddr::new(call)).map(|(name, _)| name))
}

fn line(out: &mut dyn Write, depth: usize, address: u64, lookup: u64) -> fmt::Result {
    write!(out, "  {depth:2} {address:#018x}")?;
    match (symbols().and_then(|table| table.lookup(lookup)), code_at(lookup)) {
        (Some(symbol), _) => writeln!(out, "  {}+{:#x}", symbol.name, symbol.offset + (address - lookup)),
        (None, Some(place)) => writeln!(out, "  {}", place.plus(address - lookup)),
        (None, None) => writeln!(out, "  ?"),
    }
}

/// A place in executable memory: its part, and the function there, each with the offset in it.
struct CodePlace {
    part: PartInfo,
    offset: u64,
    function: Option<(&'static str, u64)>,
}

impl CodePlace {
    /// Returns the same place, so many bytes further on.
    fn plus(self, bytes: u64) -> Self {
        let function = self.function.map(|(name, offset)| (name, offset + bytes));
        Self { offset: self.offset + bytes, function, ..self }
    }
}

impl fmt::Display for CodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function {
            Some((function, offset)) => write!(f, "{function}+{offset:#x} [{}]", self.part.name),
            None => write!(f, "[{}]+{:#x}", self.part.name, self.offset),
        }
    }
}

/// Returns the place in executable memory that `address` is.
fn code_at(address: u64) -> Option<CodePlace> {
    let part = CODE_NAMER.get()?(VirtAddr::new(address))?;
    let offset = address.saturating_sub(part.range.start().get());
    let function = FUNCTION_NAMER.get().and_then(|name| name(VirtAddr::new(address)));
    Some(CodePlace { part, offset, function })
}

/// The function at an address, with the offset in it.
pub struct Name(pub u64);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (symbols().and_then(|table| table.lookup(self.0)), code_at(self.0)) {
            (Some(symbol), _) => write!(f, "{}+{:#x}", symbol.name, symbol.offset),
            (None, Some(place)) => place.fmt(f),
            (None, None) => write!(f, "{:#x}", self.0),
        }
    }
}

/// The table, once it was found sound.
static SYMBOLS: Once<SymbolTable<'static>> = Once::new();

/// Looks at the whole symbol table once, so that a lookup need not.
pub fn check_symbols() {
    if let Ok(table) = SymbolTable::parse(image::symbols()) {
        SYMBOLS.call_once(|| table);
    }
}

/// Returns the kernel's symbols; `None` where the image carries none (it was not built by `cargo xtask`).
pub fn symbols() -> Option<SymbolTable<'static>> {
    SYMBOLS.get().copied().or_else(|| SymbolTable::parse(image::symbols()).ok())
}
