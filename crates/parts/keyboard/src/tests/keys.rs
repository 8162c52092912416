//! Keys: the scan codes of set 1, and what a terminal would send.

extern crate std;

use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use crate::Keys;

/// Presses keys; returns what was typed.
fn typed(bytes: &[u8]) -> String {
    let mut keys = Keys::new();
    let typed: Vec<u8> = bytes.iter().flat_map(|&byte| keys.take(byte)).collect();
    String::from_utf8(typed).unwrap()
}

const SHIFT: u8 = 0x2a;
const CTRL: u8 = 0x1d;
const ALT: u8 = 0x38;
const UP: u8 = 0x80;

#[test]
fn characters() {
    assert_eq!(typed(&[0x13, 0x93, 0x23, 0xa3, 0x39, 0xb9, 0x02, 0x82]), "rh 1");
    assert_eq!(typed(&[SHIFT, 0x13, 0x93, 0x02, SHIFT | UP, 0x13, 0x2b]), "R!r\\");
    assert_eq!(typed(&[0x1c, 0x9c, 0x0e, 0x8e, 0x0f, 0x01]), "\r\x7f\t\x1b");
    // Held down, a key repeats.
    assert_eq!(typed(&[0x1e, 0x1e, 0x1e, 0x9e]), "aaa");
    assert_eq!(typed(&[0x3a, 0xba, 0x1e, 0x9e, 0x3a, 0xba, 0x1e]), "Aa", "caps lock");
}

#[test]
fn control_and_alt() {
    assert_eq!(typed(&[CTRL, 0x2e, 0xae, 0x26, 0xa6, CTRL | UP, 0x2e]), "\x03\x0cc");
    assert_eq!(typed(&[CTRL, 0x20]), "\x04", "the end of the input");
    assert_eq!(typed(&[0xe0, CTRL, 0x1e, 0xe0, CTRL | UP]), "\x01", "the right one, too");
    assert_eq!(typed(&[ALT, 0x30, 0xb0, 0x21, 0xa1, 0x0e]), "\x1bb\x1bf\x1b\x7f");
}

#[test]
fn keys_that_move() {
    let extended = |codes: &[u8]| typed(&codes.iter().flat_map(|&code| [0xe0, code]).collect::<Vec<_>>());
    assert_eq!(extended(&[0x48, 0xc8, 0x50, 0xd0, 0x4d, 0x4b]), "\x1b[A\x1b[B\x1b[C\x1b[D");
    assert_eq!(extended(&[0x47, 0x4f, 0x53, 0x52, 0x49, 0x51]), "\x1b[H\x1b[F\x1b[3~\x1b[2~\x1b[5~\x1b[6~");
    assert_eq!(typed(&[CTRL, 0xe0, 0x4d, 0xe0, 0x4b, 0xe0, 0x53]), "\x1b[1;5C\x1b[1;5D\x1b[3;5~");
    assert_eq!(typed(&[0x1c, 0xe0, 0x1c]), "\r\r", "both Enter keys");
    // F1 and Print Screen have no meaning here.
    assert_eq!(typed(&[0x3b, 0xbb, 0xe0, 0x2a, 0xe0, 0x37]), "");
}

#[test]
fn the_keypad() {
    assert_eq!(typed(&[0x47, 0x48, 0x4c, 0x52, 0x53, 0x4e, 0x4a]), "7850.+-");
    let num_lock = [0x45, 0xc5];
    let keypad = [0x47, 0x48, 0x4f, 0x53];
    assert_eq!(typed(&[&num_lock[..], &keypad].concat()), "\x1b[H\x1b[A\x1b[F\x1b[3~");
}

#[test]
fn answers_to_commands_are_no_keys() {
    assert_eq!(typed(&[0xfa, 0x1e, 0xfe, 0x9e, 0xaa, 0x30]), "ab");
}

proptest! {
    #[test]
    fn any_bytes_type_text(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut keys = Keys::new();
        for byte in bytes {
            let typed = keys.take(byte);
            prop_assert!(core::str::from_utf8(&typed).is_ok());
        }
    }
}
