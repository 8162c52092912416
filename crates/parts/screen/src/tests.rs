//! Texts, pixels and hostile descriptions.

extern crate std;

mod modes;
mod pixels;
mod text;

use std::string::String;
use std::vec::Vec;

use rhumb_machine::PhysAddr;

use crate::{Channel, Description, Mode, Progress, Screen, VideoMemory};

const fn channel(shift: u8, bits: u8) -> Channel {
    Channel { shift, bits }
}

/// A screen of 32-bit pixels, as PCs have it.
fn description(width: u32, height: u32) -> Description {
    Description {
        address: PhysAddr::new(0xc000_0000),
        pitch_bytes: width * 4,
        width,
        height,
        bits_per_pixel: 32,
        channels: [channel(16, 8), channel(8, 8), channel(0, 8)],
    }
}

fn mode(width: u32, height: u32) -> Mode {
    Mode::new(&description(width, height), []).unwrap()
}

/// Video memory that begins with old contents, and that counts.
struct Memory {
    bytes: Vec<u8>,
    written: usize,
}

impl Memory {
    fn of(mode: &Mode) -> Self {
        Self { bytes: std::vec![0xa5; mode.memory().bytes() as usize], written: 0 }
    }
}

impl VideoMemory for Memory {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.written += bytes.len();
    }
}

/// Returns a screen on the heap: it is larger than a test's stack should hold.
fn screen(mode: Mode) -> std::boxed::Box<Screen> {
    let mut screen = std::boxed::Box::new(Screen::new());
    screen.set_mode(mode);
    screen
}

/// Draws all; returns how many steps it took.
fn draw(screen: &mut Screen, memory: &mut Memory) -> usize {
    let mut steps = 0;
    while screen.draw(memory) == Progress::More {
        steps += 1;
        assert!(steps < 100_000, "drawing does not end");
    }
    steps
}

/// Returns the text of a row without the blanks at its end.
fn row(screen: &Screen, row: usize) -> String {
    let text: String = screen.grid().row(row).iter().map(|cell| cell.character()).collect();
    text.trim_end().into()
}
