//! Text: wrapping, scrolling, escape sequences, against the terminal emulator `vt100` as a model.

extern crate std;

use core::num::NonZero;
use std::format;
use std::string::String;

use proptest::prelude::*;

use super::*;
use crate::grid::{MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Position};
use crate::{Colour, Style};

const WIDTH: usize = 7;

fn of_columns(columns: usize, rows: usize) -> std::boxed::Box<Screen> {
    let mode = mode((columns * WIDTH) as u32, (rows * 16) as u32);
    assert_eq!(mode.font().width(), WIDTH);
    let screen = screen(mode);
    assert_eq!((screen.grid().columns(), screen.grid().rows()), (columns, rows));
    screen
}

fn size(number: usize) -> NonZero<u16> {
    NonZero::new(number as u16).unwrap()
}

fn cursor(screen: &Screen) -> (usize, usize) {
    let Position { row, column } = screen.grid().cursor();
    (row, column)
}

#[test]
fn a_line_wraps_at_any_width() {
    for columns in 46..100 {
        let mut screen = of_columns(columns, 13);
        let line: String = ('!'..='~').cycle().take(columns * 2 + 5).collect();
        screen.write(&line);
        assert_eq!(row(&screen, 0), line[..columns]);
        assert_eq!(row(&screen, 1), line[columns..2 * columns]);
        assert_eq!(row(&screen, 2), line[2 * columns..]);
        assert_eq!(cursor(&screen), (2, 5));
        // A line that is exactly as wide takes one row.
        screen.write("\x1b[H\x1b[2J");
        screen.write(&line[..columns]);
        assert_eq!(cursor(&screen), (0, columns - 1));
        screen.write("\nnext");
        assert_eq!(row(&screen, 1), "next");
    }
}

#[test]
fn no_sequence_swallows_text_behind_its_end() {
    let many = format!("\x1b[{}", "99999999999;".repeat(100));
    for begun in ["\x1b", "\x1b[", "\x1b[3", "\x1b]0;title", "\x1bP1$r", "\x1b^", "\x1b(", many.as_str()] {
        let mut screen = of_columns(50, 13);
        screen.write(begun);
        screen.end_sequence();
        screen.write("kernel panic");
        assert_eq!(row(&screen, 0), "kernel panic", "after {begun:?}");
    }
}

#[test]
fn scrolling_keeps_the_last_rows() {
    let mut screen = of_columns(50, 13);
    (0..1000).for_each(|line| screen.write(&format!("line {line}\n")));
    (0..12).for_each(|at| assert_eq!(row(&screen, at), format!("line {}", 988 + at)));
    assert_eq!((row(&screen, 12), cursor(&screen)), (String::new(), (12, 0)));
}

#[test]
fn tabs_backspaces_and_returns() {
    let mut screen = of_columns(50, 13);
    screen.write("a\tb\t\tc\x08d\r>");
    assert_eq!(row(&screen, 0), ">       b               d");
    assert_eq!(cursor(&screen), (0, 1));
    screen.write("\r\x08\x08X");
    assert_eq!(cursor(&screen), (0, 1));
    screen.write(&"\t".repeat(20));
    assert_eq!(cursor(&screen), (0, 49));
}

#[test]
fn what_the_line_editor_sends() {
    let mut screen = of_columns(80, 13);
    screen.write("noise\nrhumb> hel\rrhumb> helpx\x1b[K\r\x1b[10C");
    assert_eq!(row(&screen, 1), "rhumb> helpx");
    assert_eq!(cursor(&screen), (1, 10));
    screen.write("\r\x1b[K");
    assert_eq!(row(&screen, 1), "");
    screen.write("\x1b[H\x1b[2Jrhumb> \x07\x05");
    assert_eq!((row(&screen, 0), cursor(&screen)), (String::from("rhumb>"), (0, 7)));
}

#[test]
fn colours() {
    let mut screen = of_columns(50, 13);
    screen.write("\x1b[31mr\x1b[1mR\x1b[22;44mb\x1b[7mi\x1b[27;38;5;12mp\x1b[38;2;1;2;3;48;5;200mq\x1b[97;100mw\x1b[39;49mx\x1b[35m\x1b[my");
    let styles: Vec<Style> = screen.grid().row(0).iter().take(9).map(|cell| cell.style()).collect();
    let style = |text, background| Style { text: Colour::new(text), background: Colour::new(background) };
    assert_eq!(
        styles,
        [
            style(1, 0),
            style(9, 0),
            style(1, 4),
            style(4, 1),
            style(12, 4),
            style(12, 4),
            style(15, 8),
            style(7, 0),
            style(7, 0)
        ]
    );
}

#[test]
fn erasing_takes_the_background() {
    let mut screen = of_columns(50, 13);
    screen.write("abc\x1b[42m\x1b[2D\x1b[K");
    let backgrounds: Vec<u8> =
        screen.grid().row(0).iter().map(|cell| cell.style().background.number()).collect();
    assert_eq!((backgrounds[0], backgrounds[1], backgrounds[49]), (0, 2, 2));
    screen.write("\x1bc");
    assert_eq!((row(&screen, 0), cursor(&screen)), (String::new(), (0, 0)));
}

#[test]
fn wide_and_combining_characters_keep_the_columns() {
    let mut screen = of_columns(50, 13);
    screen.write("a\u{4e2d}b\u{301}c\u{200d}");
    assert_eq!(cursor(&screen), (0, 5));
    screen.write("\x1b[1;50H\u{4e2d}");
    assert_eq!(cursor(&screen), (1, 2), "a wide character does not begin in the last column");
}

#[test]
fn large_screens_are_used_as_far_as_there_is_room() {
    let mode = mode(16_384, 4000);
    let mut screen = screen(mode);
    let rows = MAX_CELLS / MAX_COLUMNS;
    assert_eq!((screen.grid().columns(), screen.grid().rows()), (MAX_COLUMNS, rows));
    screen.write(&"x".repeat(MAX_COLUMNS * rows + 1));
    assert_eq!(cursor(&screen), (rows - 1, 1));
    let high = super::mode(2048, 16_384);
    screen.set_mode(high);
    assert_eq!(screen.grid().rows(), MAX_ROWS);
}

/// Sequences and texts that come up, and odd ones.
///
/// A cursor behind a full row is at its last column here, as on xterm; the model has it one further. So what depends on
/// the column follows a move to one that both have.
fn piece() -> impl Strategy<Value = String> {
    let count = prop_oneof![Just(String::new()), (0..70u32).prop_map(|count| format!("{count}"))];
    let moved = prop_oneof![
        (count.clone(), "[ABCDGd]").prop_map(|(count, last)| format!("\x1b[{count}{last}")),
        (0..3u8, "[JK]").prop_map(|(part, last)| format!("\x1b[{part}{last}")),
        Just(String::from("\x08")),
        "[ -~]{1,9}",
    ];
    prop_oneof![
        4 => "[ -~]{0,60}",
        2 => prop_oneof![Just("\n"), Just("\r"), Just("\x07"), Just("\n\n\n")].prop_map(String::from),
        4 => (1..70u8, moved).prop_map(|(column, moved)| format!("\r\x1b[{column}C{moved}")),
        1 => (count.clone(), count).prop_map(|(row, column)| format!("\x1b[{row};{column}H")),
        1 => (0..50u8).prop_map(|number| format!("\x1b[{number}m")),
        1 => "\\x1b\\]0;[a-z]{0,5}\\x07",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn shows_what_a_terminal_shows(
        columns in 46..100usize,
        rows in 13..20usize,
        pieces in prop::collection::vec(piece(), 0..60),
    ) {
        let mut screen = of_columns(columns, rows);
        let mut model = vt100::Parser::new(size(rows), size(columns), 0);
        for piece in pieces {
            screen.write(&piece);
            model.process(piece.replace('\n', "\r\n").as_bytes());
            let model = model.screen();
            let texts: Vec<String> = model.rows(0, columns as u16).collect();
            for (at, text) in texts.iter().enumerate() {
                prop_assert_eq!(&row(&screen, at), text.trim_end(), "row {} after {:?}", at, piece);
            }
            let (model_row, model_column) = model.cursor_position();
            let model_column = usize::from(model_column).min(columns - 1);
            prop_assert_eq!(cursor(&screen), (usize::from(model_row), model_column), "after {:?}", piece);
        }
    }

    #[test]
    fn no_text_makes_it_panic(pieces in prop::collection::vec(any::<String>(), 0..40), raw in "[\\x00-\\x1f;0-9A-z\\[]{0,200}") {
        let mut screen = of_columns(46, 13);
        for piece in pieces {
            screen.write(&piece);
        }
        screen.write(&raw);
    }
}
