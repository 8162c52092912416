//! Pixels: each against what the font and the format say it must be.

extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::pixel::Rgb;
use crate::{Colour, Style};

/// Returns the pixel of `colour` by the arithmetic of whole numbers, written down once more.
fn encoded(description: &Description, colour: Rgb) -> u32 {
    let one = |channel: Channel, value: u8| {
        let most = f64::from((1u32 << channel.bits) - 1);
        ((f64::from(value) / 255.0 * most).round() as u32) << channel.shift
    };
    description.channels.iter().zip(colour).map(|(&channel, value)| one(channel, value)).sum()
}

fn mixed(under: u8, over: u8, covered: u8) -> u8 {
    let part = f64::from(covered) / 255.0;
    (f64::from(under) * (1.0 - part) + f64::from(over) * part).round() as u8
}

/// Returns every visible pixel of a screen's text, drawn the plain way: all of it, pixel by pixel.
fn expected(screen: &Screen, description: &Description) -> Vec<Vec<u32>> {
    let mode = Mode::new(description, []).unwrap();
    let font = mode.font();
    let black = encoded(description, [0; 3]);
    let mut pixels = std::vec![std::vec![black; mode.width()]; mode.height()];
    for row in 0..screen.grid().rows() {
        for (column, &cell) in screen.grid().row(row).iter().enumerate() {
            let at = screen.grid().cursor();
            let cell = if (at.row, at.column) == (row, column) { cell.inverse() } else { cell };
            let Style { text, background } = cell.style();
            for (y, coverage) in font.rows(cell.character()).enumerate() {
                for (x, &covered) in coverage.iter().enumerate() {
                    let colour: Vec<u8> = background
                        .rgb()
                        .into_iter()
                        .zip(text.rgb())
                        .map(|(under, over)| mixed(under, over, covered))
                        .collect();
                    pixels[row * font.height() + y][column * font.width() + x] =
                        encoded(description, [colour[0], colour[1], colour[2]]);
                }
            }
        }
    }
    pixels
}

/// Returns the pixels that video memory holds.
fn held(memory: &Memory, description: &Description) -> Vec<Vec<u32>> {
    let bytes = usize::from(description.bits_per_pixel).div_ceil(8);
    let rows = (0..description.height as usize).map(|row| row * description.pitch_bytes as usize);
    rows.map(|first| {
        let row = &memory.bytes[first..first + description.width as usize * bytes];
        row.chunks(bytes)
            .map(|pixel| pixel.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
            .collect()
    })
    .collect()
}

fn formats() -> Vec<Description> {
    let base = description(640, 480);
    let short = |bits, channels| Description { bits_per_pixel: bits, channels, pitch_bytes: 1280, ..base };
    std::vec![
        base,
        Description { pitch_bytes: 4096, ..base },
        Description { channels: [channel(0, 8), channel(8, 8), channel(16, 8)], ..base },
        Description { channels: [channel(20, 10), channel(10, 10), channel(0, 10)], ..base },
        Description { bits_per_pixel: 24, pitch_bytes: 1920, ..base },
        Description { bits_per_pixel: 24, pitch_bytes: 1923, ..base },
        short(16, [channel(11, 5), channel(5, 6), channel(0, 5)]),
        short(15, [channel(10, 5), channel(5, 5), channel(0, 5)]),
        Description { pitch_bytes: 1285, ..short(16, [channel(11, 5), channel(5, 6), channel(0, 5)]) },
    ]
}

#[test]
fn every_format_has_exactly_its_pixels() {
    for description in formats() {
        let mode = Mode::new(&description, []).unwrap();
        let (mut screen, mut memory) = (screen(mode), Memory::of(&mode));
        screen.write(
            "Rhumb \x1b[31mred\x1b[0m \x1b[7minverse\x1b[27m \x1b[1;32;44mbright\x1b[m \u{e9}\u{4e2d}\n> ",
        );
        draw(&mut screen, &mut memory);
        assert!(held(&memory, &description) == expected(&screen, &description), "{description:?}");
        // Between the rows nothing is written.
        let row = description.width as usize * mode.format().bytes();
        let between =
            memory.bytes.chunks(description.pitch_bytes as usize).flat_map(|chunk| chunk.iter().skip(row));
        assert!(between.clone().all(|&byte| byte == 0xa5), "{description:?}");
    }
}

#[test]
fn every_size_draws_all_of_itself() {
    for (width, height) in [(320, 200), (641, 483), (1280, 1024), (1920, 1400), (3840, 2160)] {
        let (description, mode) = (description(width, height), mode(width, height));
        let (mut screen, mut memory) = (screen(mode), Memory::of(&mode));
        for line in 0..200 {
            screen.write(&std::format!("line {line} {}\n", "x".repeat(line % 97)));
        }
        draw(&mut screen, &mut memory);
        assert!(held(&memory, &description) == expected(&screen, &description), "{width}x{height}");
    }
}

#[test]
fn nothing_is_drawn_twice_and_scrolling_draws_differences_alone() {
    let mode = mode(1024, 768);
    let (mut screen, mut memory) = (screen(mode), Memory::of(&mode));
    screen.write(&"same\n".repeat(100));
    draw(&mut screen, &mut memory);
    memory.written = 0;
    assert_eq!(screen.draw(&mut memory), Progress::Done);
    assert_eq!(memory.written, 0);
    let cell = mode.font().width() * mode.font().height() * 4;
    // All rows scroll, and every row looks as it did; the cursor stays.
    screen.write("same\n");
    draw(&mut screen, &mut memory);
    assert_eq!(memory.written, 0);
    screen.write("xy");
    draw(&mut screen, &mut memory);
    assert_eq!(memory.written, 3 * cell, "two characters, and the cursor's new place");
}

#[test]
fn a_step_is_bounded() {
    for (width, height) in [(640, 480), (3840, 2160), (16_384, 1200)] {
        let mode = mode(width, height);
        let (mut screen, mut memory) = (screen(mode), Memory::of(&mode));
        screen.write(&"#".repeat(40_000));
        // First all pixels are blanked, in 64 KiB at a time, then text is drawn, in 4096 pixels at a time.
        let mut blank_steps = height.div_ceil((64 << 10) / (width * 4));
        while screen.draw(&mut memory) == Progress::More {
            let most = if blank_steps > 0 { 64 << 10 } else { 4096 * 4 };
            assert!(memory.written <= most, "{width}x{height}: {} bytes", memory.written);
            blank_steps = blank_steps.saturating_sub(1);
            memory.written = 0;
        }
    }
}

#[test]
fn text_before_there_is_a_framebuffer_is_no_mistake() {
    let mut screen = std::boxed::Box::new(Screen::new());
    screen.write("lost\x1b[2J\x1b[31m\n\n\t");
    let mode = mode(640, 480);
    let mut memory = Memory::of(&mode);
    assert_eq!(screen.draw(&mut memory), Progress::Done);
    assert_eq!(memory.written, 0);
}

#[test]
fn colours_have_their_numbers() {
    assert_eq!(Colour::new(0x17).number(), 7);
    assert_eq!(Style::PLAIN.inverse(), Style { text: Colour::BLACK, background: Colour::GREY });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Writing and drawing in any order ends with the same pixels as drawing once.
    #[test]
    fn steps_between_writes_change_nothing(
        pieces in prop::collection::vec(("[ -~\\n\\t\\x08\\r]{0,60}", 0..40usize, any::<bool>()), 1..40),
    ) {
        let description = description(322, 203);
        let mode = Mode::new(&description, []).unwrap();
        let (mut screen, mut memory) = (screen(mode), Memory::of(&mode));
        for (text, steps, homes) in pieces {
            screen.write(&text);
            if homes {
                screen.write("\x1b[2;3H\x1b[42m");
            }
            for _ in 0..steps {
                screen.draw(&mut memory);
            }
        }
        draw(&mut screen, &mut memory);
        prop_assert!(held(&memory, &description) == expected(&screen, &description));
    }
}
