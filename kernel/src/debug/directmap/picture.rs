//! `directmap`: all RAM by page size and permission, a character for each block.
//!
//! A block is 2 MiB, or as much more as lets the picture fit on a screen. Of several page sizes with one permission the
//! smallest shows, because a reader looks for small pages.

use rhumb_machine::{Machine, PageSize, PhysAddr, PhysRange};
use rhumb_monitor::{CommandError, Human, Output};
use rhumb_pagetable::{CacheMode, Leaf, Leaves};

use super::mapped_ram;
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::layout;
use crate::mm::{direct_map, protect, tables};

const ROW: u64 = 64;
const MOST_CELLS: u64 = 24 * ROW;

const LEGEND: &str = "   1 GiB  2 MiB  4 KiB\n   \
                      G      M      k      read-write\n   \
                      R      r      :      read-only\n   \
                      X      x      ;      read-only, executable\n   \
                      U      u      ,      another cache mode\n   \
                      P      p      '      written while a protection key is open\n   \
                      .  out of the map    *  several of these    blank  no RAM\n";

pub fn picture(boot: &Boot, out: &mut dyn Output) -> Result<(), CommandError> {
    let ram = mapped_ram(boot);
    let cell_bytes = cell_bytes(&ram);
    let pages = direct_map::with(|map| map.pages()).unwrap_or(boot.direct_map.pages);
    writeln!(out, "a character is {}; the map has {pages}", Human(cell_bytes));
    writeln!(out, "{}", protect::Status);
    out.write_str(LEGEND);
    let mut next_row = 0;
    for piece in &ram {
        let row_bytes = cell_bytes * ROW;
        let rows = piece.start().get() / row_bytes..piece.end().get().div_ceil(row_bytes);
        for row in rows.start.max(next_row)..rows.end {
            if out.interrupted() {
                return Err(CommandError::Interrupted);
            }
            write_row(out, &ram, PhysAddr::new(row * row_bytes), cell_bytes);
        }
        next_row = rows.end;
    }
    Ok(())
}

/// Returns how much memory a character shows: 2 MiB, doubled until RAM takes few enough characters.
fn cell_bytes(ram: &[PhysRange]) -> u64 {
    let bytes: u64 = ram.iter().map(|piece| piece.bytes()).sum();
    let mut cell = PageSize::Size2M.bytes();
    while bytes.div_ceil(cell) > MOST_CELLS {
        cell *= 2;
    }
    cell
}

fn write_row(out: &mut dyn Output, ram: &[PhysRange], start: PhysAddr, cell_bytes: u64) {
    let mut text = [b' '; ROW as usize];
    let mut used = 0;
    for (index, place) in text.iter_mut().enumerate() {
        let cell = PhysRange::of_length(start.plus(index as u64 * cell_bytes), cell_bytes);
        *place = character(ram, cell.unwrap_or_default());
        if *place != b' ' {
            used = index + 1;
        }
    }
    writeln!(out, "{:012x} {}", start.get(), text[..used].escape_ascii());
}

/// Returns the pages of one block.
fn character(ram: &[PhysRange], cell: PhysRange) -> u8 {
    let mut seen: Option<u8> = None;
    let mut note = |found: u8| {
        seen = Some(match seen {
            None => found,
            Some(before) => joined(before, found),
        });
    };
    for piece in ram.iter().map(|piece| piece.intersection(cell)).filter(|piece| !piece.is_empty()) {
        let mut next = MACHINE.direct(piece.start());
        let virt = layout::range(next, piece.bytes());
        for leaf in Leaves::new(tables::reader(), tables::root(), virt) {
            if leaf.virt > next {
                note(b'.');
            }
            note(character_of(&leaf));
            next = leaf.virt.plus(leaf.size.bytes());
        }
        if next < virt.end() {
            note(b'.');
        }
    }
    seen.unwrap_or(b' ')
}

fn character_of(leaf: &Leaf) -> u8 {
    let row = if leaf.entry.key().is_some() {
        b"Pp'"
    } else if leaf.cache != CacheMode::WriteBack {
        b"Uu,"
    } else if leaf.permissions.executable {
        b"Xx;"
    } else if leaf.permissions.writable {
        b"GMk"
    } else {
        b"Rr:"
    };
    row[match leaf.size {
        PageSize::Size1G => 0,
        PageSize::Size2M => 1,
        PageSize::Size4K => 2,
    }]
}

/// Returns one character for two: the smaller page, if the permissions are the same.
fn joined(one: u8, other: u8) -> u8 {
    if one == other {
        return one;
    }
    let place = |of: u8| ROWS.iter().find_map(|row| Some((row, row.iter().position(|&c| c == of)?)));
    match (place(one), place(other)) {
        (Some((row, first)), Some((other_row, second))) if row == other_row => row[first.max(second)],
        _ => b'*',
    }
}

const ROWS: [&[u8; 3]; 5] = [b"GMk", b"Rr:", b"Xx;", b"Uu,", b"Pp'"];
