//! [`KeyDecoder`]: bytes of a terminal in, keys out.
//!
//! Understands ASCII controls as emacs and readline name them, CSI and SS3 sequences of the usual terminals
//! (xterm, rxvt, the Linux and the FreeBSD console, tmux), ESC as the Meta prefix, and UTF-8. CR, LF and CR LF each
//! give one [`Key::Enter`]. A sequence it does not know is swallowed whole: it never leaves its tail behind as text.
//! Sources: ECMA-48 (sections 5.4, 8.3), xterm's ctlseqs.

/// A pressed key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// A character to insert.
    Char(char),
    /// End of the line.
    Enter,
    /// Complete the word.
    Tab,
    /// Delete before the cursor (Backspace, Ctrl-H).
    Backspace,
    /// Delete under the cursor.
    Delete,
    /// Ctrl-D: end of input on an empty line, else [`Key::Delete`].
    EndOrDelete,
    /// One character back (Ctrl-B).
    Left,
    /// One character on (Ctrl-F).
    Right,
    /// One word back (Meta-B, Ctrl-Left).
    WordLeft,
    /// One word on (Meta-F, Ctrl-Right).
    WordRight,
    /// Start of the line (Ctrl-A).
    Home,
    /// End of the line (Ctrl-E).
    End,
    /// Older line (Ctrl-P).
    Up,
    /// Newer line (Ctrl-N).
    Down,
    /// Delete to the end of the line (Ctrl-K).
    KillToEnd,
    /// Delete to the start of the line (Ctrl-U).
    KillToStart,
    /// Delete back to white space (Ctrl-W).
    KillBlankWord,
    /// Delete one word back (Meta-Backspace).
    KillWordLeft,
    /// Delete one word on (Meta-D, Ctrl-Delete).
    KillWordRight,
    /// Insert what was deleted last (Ctrl-Y).
    Yank,
    /// Swap two characters (Ctrl-T).
    Transpose,
    /// Clear the screen (Ctrl-L).
    ClearScreen,
    /// Search the history backwards (Ctrl-R).
    Search,
    /// Leave the search (Ctrl-G).
    Cancel,
    /// Abandon the line (Ctrl-C).
    Interrupt,
    /// Nothing that has a meaning here.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ground,
    /// After CR: a LF belongs to it.
    AfterReturn,
    Escape,
    /// Within CSI: its first two parameters so far.
    Csi {
        parameters: [u16; 2],
        index: u8,
    },
    /// The Linux console's function keys are `ESC [ [ letter`.
    CsiBracket,
    Ss3,
    /// Within a character of several bytes, of which `have` have come.
    Utf8 {
        bytes: [u8; 4],
        have: u8,
        want: u8,
    },
}

/// The state between two bytes.
#[derive(Debug)]
pub struct KeyDecoder(State);

const ESCAPE: u8 = 0x1b;

impl KeyDecoder {
    /// Makes a decoder at the start of the input.
    pub const fn new() -> Self {
        Self(State::Ground)
    }

    /// Takes one byte; tells the key that it completes, if it does.
    pub fn decode(&mut self, byte: u8) -> Option<Key> {
        let state = core::mem::replace(&mut self.0, State::Ground);
        match state {
            State::AfterReturn if byte == b'\n' => None,
            State::Ground | State::AfterReturn => self.ground(byte),
            State::Utf8 { .. } if byte & 0xc0 != 0x80 => self.ground(byte),
            State::Utf8 { bytes, have, want } => self.utf8(bytes, have, want, byte),
            // A control within a sequence ends it, so that no Ctrl-C is swallowed.
            _ if byte < 0x20 => self.ground(byte),
            State::Escape => self.escape(byte),
            State::Csi { parameters, index } => self.csi(parameters, index, byte),
            State::CsiBracket => Some(Key::Unknown),
            State::Ss3 if byte.is_ascii_digit() => {
                self.0 = State::Ss3;
                None
            }
            // The keypad's Enter.
            State::Ss3 if byte == b'M' => Some(Key::Enter),
            State::Ss3 => Some(letter(byte)),
        }
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Interrupt,
            0x04 => Key::EndOrDelete,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x07 => Key::Cancel,
            0x08 | 0x7f => Key::Backspace,
            b'\t' => Key::Tab,
            b'\n' => Key::Enter,
            0x0b => Key::KillToEnd,
            0x0c => Key::ClearScreen,
            b'\r' => {
                self.0 = State::AfterReturn;
                Key::Enter
            }
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x12 => Key::Search,
            0x14 => Key::Transpose,
            0x15 => Key::KillToStart,
            0x17 => Key::KillBlankWord,
            0x19 => Key::Yank,
            ESCAPE => {
                self.0 = State::Escape;
                return None;
            }
            0x20..0x7f => Key::Char(char::from(byte)),
            0xc2..0xf5 => {
                let want = if byte < 0xe0 { 2 } else { 3 + u8::from(byte >= 0xf0) };
                self.0 = State::Utf8 { bytes: [byte, 0, 0, 0], have: 1, want };
                return None;
            }
            _ => Key::Unknown,
        })
    }

    fn utf8(&mut self, mut bytes: [u8; 4], have: u8, want: u8, byte: u8) -> Option<Key> {
        bytes[usize::from(have)] = byte;
        let have = have + 1;
        if have < want {
            self.0 = State::Utf8 { bytes, have, want };
            return None;
        }
        let decoded =
            core::str::from_utf8(&bytes[..usize::from(want)]).ok().and_then(|text| text.chars().next());
        Some(decoded.map_or(Key::Unknown, Key::Char))
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            b'[' => {
                self.0 = State::Csi { parameters: [0; 2], index: 0 };
                return None;
            }
            b'O' => {
                self.0 = State::Ss3;
                return None;
            }
            b'b' | b'B' => Key::WordLeft,
            b'f' | b'F' => Key::WordRight,
            b'd' | b'D' => Key::KillWordRight,
            0x7f => Key::KillWordLeft,
            _ => Key::Unknown,
        })
    }

    fn csi(&mut self, mut parameters: [u16; 2], mut index: u8, byte: u8) -> Option<Key> {
        match byte {
            b'0'..=b'9' => {
                if let Some(parameter) = parameters.get_mut(usize::from(index)) {
                    *parameter = parameter.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                }
            }
            b';' => index = index.saturating_add(1),
            b'[' if parameters == [0; 2] && index == 0 => {
                self.0 = State::CsiBracket;
                return None;
            }
            b'~' | b'@'..=b'Z' | b'\\'..=b'z' => return csi_key(parameters, byte),
            // Private markers, intermediates, and anything odd: read on to the final byte.
            _ => {}
        }
        self.0 = State::Csi { parameters, index };
        None
    }
}

impl Default for KeyDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the key of a whole CSI sequence. A second parameter above 1 says that a modifier was held.
fn csi_key(parameters: [u16; 2], last: u8) -> Option<Key> {
    let has_modifier = parameters[1] > 1;
    Some(match (last, parameters[0]) {
        (b'~', 1 | 7) => Key::Home,
        (b'~', 4 | 8) => Key::End,
        (b'~', 3) if has_modifier => Key::KillWordRight,
        (b'~', 3) => Key::Delete,
        // Marks around pasted text: the text between them is like any other.
        (b'~', 200 | 201) => return None,
        (b'C', _) if has_modifier => Key::WordRight,
        (b'D', _) if has_modifier => Key::WordLeft,
        (b'c', _) => Key::WordRight,
        (b'd', _) => Key::WordLeft,
        _ => letter(last),
    })
}

/// Returns the key of a final letter, the same after CSI and SS3.
fn letter(last: u8) -> Key {
    match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => Key::Unknown,
    }
}
