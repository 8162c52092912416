//! [`Keys`]: scan codes of set 1 in, the bytes that a terminal would send out; US layout.
//!
//! | key | bytes |
//! |---|---|
//! | a character | its UTF-8; with Ctrl a letter's control code, with Alt after ESC |
//! | Enter, Backspace, Tab, Escape | CR, DEL, HT, ESC |
//! | arrows, Home, End | `CSI A` to `CSI D`, `CSI H`, `CSI F`; with a modifier `CSI 1 ; m A` |
//! | Insert, Delete, Page Up, Page Down | `CSI 2 ~`, `3`, `5`, `6`; with a modifier `CSI 3 ; m ~` |
//!
//! A modifier's number is 1, plus 1 for Shift, 2 for Alt, 4 for Ctrl, as xterm has it. The keypad types digits while Num
//! Lock is on, as it is first, and moves while it is off.

use core::fmt::Write;

use arrayvec::{ArrayString, ArrayVec};
use pc_keyboard::layouts::Us104Key;
use pc_keyboard::{DecodedKey, HandleControl, KeyCode, KeyState, PS2Keyboard, ScancodeSet1};

const ESCAPE: u8 = 0x1b;
const DELETE: char = '\x7f';
const BACKSPACE: char = '\x08';

/// The most bytes of one key: `ESC [ 3 ; 8 ~`.
pub const MOST_BYTES: usize = 8;

/// The bytes of one key.
pub type Typed = ArrayVec<u8, MOST_BYTES>;

/// A keyboard between two bytes.
pub struct Keys {
    decoder: PS2Keyboard<Us104Key, ScancodeSet1>,
}

impl Keys {
    /// Returns a keyboard with no key pressed.
    pub const fn new() -> Self {
        let decoder = PS2Keyboard::new(ScancodeSet1::new(), Us104Key, HandleControl::MapLettersToUnicode);
        Self { decoder }
    }

    /// Takes one byte of the keyboard; returns what the key that it presses types.
    pub fn take(&mut self, byte: u8) -> Typed {
        let none = Typed::new();
        // A byte that is no part of a scan code, an answer to a command for one, types nothing.
        let Ok(Some(event)) = self.decoder.add_byte(byte) else { return none };
        let (code, state) = (event.code, event.state);
        let Some(key) = self.decoder.process_keyevent(event) else { return none };
        if state == KeyState::Up {
            return none;
        }
        let modifiers = self.decoder.get_modifiers();
        let has_alt = modifiers.lalt || modifiers.ralt;
        let modifier =
            1 + u8::from(modifiers.is_shifted()) + 2 * u8::from(has_alt) + 4 * u8::from(modifiers.is_ctrl());
        match key {
            DecodedKey::Unicode(DELETE) if code != KeyCode::Backspace => tilde(3, modifier),
            DecodedKey::Unicode(character) => typed(character, code, has_alt),
            DecodedKey::RawKey(code) => moved(code, modifier),
        }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the bytes of a character.
fn typed(character: char, code: KeyCode, has_alt: bool) -> Typed {
    let character = match (character, code) {
        ('\n', _) => '\r',
        // Ctrl-H is a backspace, too, and stays what it is.
        (BACKSPACE, KeyCode::Backspace) => DELETE,
        (character, _) => character,
    };
    let mut bytes = Typed::new();
    bytes.extend(has_alt.then_some(ESCAPE));
    bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
    bytes
}

/// Returns the bytes of a key that types no character.
fn moved(code: KeyCode, modifier: u8) -> Typed {
    let letter = match code {
        KeyCode::ArrowUp | KeyCode::Numpad8 => 'A',
        KeyCode::ArrowDown | KeyCode::Numpad2 => 'B',
        KeyCode::ArrowRight | KeyCode::Numpad6 => 'C',
        KeyCode::ArrowLeft | KeyCode::Numpad4 => 'D',
        KeyCode::Home | KeyCode::Numpad7 => 'H',
        KeyCode::End | KeyCode::Numpad1 => 'F',
        KeyCode::Insert | KeyCode::Numpad0 => return tilde(2, modifier),
        KeyCode::Delete | KeyCode::NumpadPeriod => return tilde(3, modifier),
        KeyCode::PageUp | KeyCode::Numpad9 => return tilde(5, modifier),
        KeyCode::PageDown | KeyCode::Numpad3 => return tilde(6, modifier),
        _ => return Typed::new(),
    };
    match modifier {
        1 => sequence(format_args!("\x1b[{letter}")),
        _ => sequence(format_args!("\x1b[1;{modifier}{letter}")),
    }
}

fn tilde(number: u8, modifier: u8) -> Typed {
    match modifier {
        1 => sequence(format_args!("\x1b[{number}~")),
        _ => sequence(format_args!("\x1b[{number};{modifier}~")),
    }
}

fn sequence(text: core::fmt::Arguments<'_>) -> Typed {
    let mut line = ArrayString::<MOST_BYTES>::new();
    // The numbers have one digit each, so that the longest sequence has six bytes.
    let _ = line.write_fmt(text);
    line.bytes().collect()
}
