//! Who called whom, by name.
//!
//! Follows the chain of frame pointers: at each `rbp` stands the caller's `rbp`, above it the return address. Nothing of it is
//! trusted: every word is read through [`probe`], each frame must lie above the one before, and the depth is bounded. Names come
//! from the symbol table that the build puts behind the read-only data.

use core::fmt::{self, Write};

use rhumb_machine::VirtAddr;
use rhumb_symbols::SymbolTable;

use crate::arch::probe;
use crate::mm::layout::image;

/// Deeper than any sane stack; ends a loop that a smashed stack may form.
const MAX_FRAMES: usize = 64;

/// Writes the code at `rip` and its callers, one a line.
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
        if caller != 0 && caller <= frame {
            return Ok(());
        }
        frame = caller;
        depth += 1;
    }
    writeln!(out, "  ... more than {MAX_FRAMES} frames")
}

fn line(out: &mut dyn Write, depth: usize, address: u64, lookup: u64) -> fmt::Result {
    write!(out, "  {depth:2} {address:#018x}")?;
    match symbols().and_then(|table| table.lookup(lookup)) {
        Some(symbol) => writeln!(out, "  {}+{:#x}", symbol.name, symbol.offset + (address - lookup)),
        None => writeln!(out, "  ?"),
    }
}

/// The kernel's symbols; `None` where the image carries none (it was not built by `cargo xtask`).
pub fn symbols() -> Option<SymbolTable<'static>> {
    SymbolTable::parse(image::symbols()).ok()
}
