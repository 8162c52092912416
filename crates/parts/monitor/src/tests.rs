//! The screen that a person sees: keys go in, a terminal (the `vt100` crate) shows it.

extern crate std;

use std::cell::Cell;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::*;

mod commands;
mod editing;
mod printing;
mod random;

/// A terminal behind a console, whose content can be seen.
struct Screen {
    terminal: vt100::Parser,
    bells: usize,
    /// Everything written, for tests of text instead of looks.
    text: String,
    is_interrupted: Cell<bool>,
}

impl Screen {
    fn new() -> Self {
        Self::sized(24, 80)
    }

    fn sized(rows: u16, columns: u16) -> Self {
        Self {
            terminal: vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0),
            bells: 0,
            text: String::new(),
            is_interrupted: Cell::new(false),
        }
    }

    /// Returns the rows of the screen, without blanks at the end of rows and of the screen.
    fn rows(&self) -> Vec<String> {
        let contents = self.terminal.screen().contents();
        contents.lines().map(|line| line.trim_end().to_string()).collect()
    }

    /// Returns the row of the cursor, and its column.
    fn cursor(&self) -> (String, usize) {
        let (row, column) = self.terminal.screen().cursor_position();
        let width = self.terminal.screen().size().1.get();
        let text = self.terminal.screen().rows(0, width).nth(usize::from(row)).unwrap_or_default();
        (text, usize::from(column))
    }
}

impl Output for Screen {
    fn write_str(&mut self, text: &str) {
        self.text.push_str(text);
        self.bells += text.matches('\x07').count();
        self.terminal.process(text.replace('\n', "\r\n").as_bytes());
    }

    fn interrupted(&self) -> bool {
        self.is_interrupted.get()
    }
}

/// The context of the tests' commands.
#[derive(Default)]
struct House {
    ran: Vec<String>,
    regions: Vec<String>,
}

fn note(name: &str, house: &mut House, arguments: Arguments<'_>) {
    house.ran.push(std::format!("{name} {arguments}").trim_end().to_string());
}

const MEMORY: &[Command<House>] = &[
    Command {
        name: "meminfo",
        usage: "",
        summary: "memory, as /proc/meminfo shows it",
        help: "kB are units of 1024 bytes.\n",
        complete: Complete::Nothing,
        run: |house, arguments, out| {
            note("meminfo", house, arguments);
            meminfo_line(out, "MemTotal", 16 << 20);
            meminfo_line(out, "MemFree", 8 << 20);
            meminfo_line(out, "DirectMap1G", 32 << 30);
            Ok(())
        },
    },
    Command {
        name: "maps",
        usage: "[audit|short]",
        summary: "every kernel range",
        help: "",
        complete: Complete::Words(&["audit", "short"]),
        run: |house, mut arguments, _| {
            note("maps", house, arguments);
            let word = arguments.optional(|rest| rest.one_of("MODE", &["audit", "short"]))?;
            arguments.end()?;
            match word {
                Some("audit") => Err(CommandError::failed("2 frames are writable and executable")),
                _ => Ok(()),
            }
        },
    },
    Command {
        name: "memmap",
        usage: "",
        summary: "the firmware's map",
        help: "",
        complete: Complete::Nothing,
        run: |house, arguments, out| {
            note("memmap", house, arguments);
            out.write_str("no newline at the end");
            Ok(())
        },
    },
];

const WALKING: &[Command<House>] = &[
    Command {
        name: "walk",
        usage: "ADDR",
        summary: "the page walk, level by level",
        help: "",
        complete: Complete::With(|house, before, candidates| {
            if before.is_empty() {
                candidates.offer_all(house.regions.iter().map(String::as_str));
            }
        }),
        run: |house, mut arguments, out| {
            note("walk", house, arguments);
            let address = arguments.virt_addr("ADDR")?;
            arguments.end()?;
            writeln!(out, "{address}: 2 memory reads");
            Ok(())
        },
    },
    Command {
        name: "count-up",
        usage: "N",
        summary: "prints the numbers below N",
        help: "",
        complete: Complete::Nothing,
        run: |house, mut arguments, out| {
            let most = arguments.number("N")?;
            for number in 0..most {
                if out.interrupted() {
                    house.ran.push(std::format!("stopped at {number}"));
                    return Err(CommandError::Interrupted);
                }
                writeln!(out, "line {number}");
            }
            Ok(())
        },
    },
];

fn commands() -> Commands<House> {
    let mut commands = Commands::new(&[MEMORY, WALKING]);
    commands.set_aliases(&[
        Alias { words: "maps broken audit", meaning: "maps audit" },
        Alias { words: "maps broken", meaning: "maps" },
        Alias { words: "memmap lines", meaning: "count-up" },
    ]);
    commands
}

/// A person at a prompt.
struct Session {
    monitor: Monitor<House>,
    house: House,
    screen: Screen,
    last: Progress,
}

impl Session {
    fn new() -> Self {
        Self::on(Screen::new(), Mode::Interactive)
    }

    fn on(mut screen: Screen, mode: Mode) -> Self {
        let mut monitor = Monitor::new("rhumb> ", commands(), mode);
        monitor.set_columns(usize::from(screen.terminal.screen().size().1.get()));
        monitor.start(&mut screen);
        let regions = ["kernel", "kmap", "direct"].map(String::from).to_vec();
        Self { monitor, house: House { regions, ..House::default() }, screen, last: Progress::Waiting }
    }

    /// Types keys.
    fn keys(&mut self, keys: impl AsRef<[u8]>) -> &mut Self {
        for &byte in keys.as_ref() {
            self.last = self.monitor.feed(byte, &mut self.house, &mut self.screen);
        }
        self
    }

    /// Returns the row of the cursor with `_` put where the cursor is; the cell under it follows.
    fn seen(&self) -> String {
        let (row, column) = self.screen.cursor();
        let row: Vec<char> = row.chars().collect();
        let at = |range: core::ops::Range<usize>| {
            range.map(|index| row.get(index).copied().unwrap_or(' ')).collect::<String>()
        };
        std::format!("{}_{}", at(0..column), at(column..row.len())).trim_end().to_string()
    }

    #[track_caller]
    fn sees(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.seen(), expected);
        self
    }
}
