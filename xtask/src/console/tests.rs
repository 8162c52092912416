//! Keys that a person types, and what QEMU does at them.

use super::{Keys, Stop};

/// Returns the part of `keys` that the guest gets, and how they end the machine.
fn typed(keys: &[u8]) -> (Vec<u8>, Option<Stop>) {
    let (mut state, mut typed) = (Keys::default(), Vec::new());
    let stop = keys.iter().find_map(|&key| state.take(key, &mut typed));
    (typed, stop)
}

#[test]
fn keys_are_those_of_qemu() {
    assert_eq!(typed(b"ax\x03\x04"), (b"ax\x03\x04".to_vec(), None));
    assert_eq!(typed(b"u\x01xy"), (b"u".to_vec(), Some(Stop::Quit)));
    assert_eq!(typed(b"\x01\x01x"), (b"\x01x".to_vec(), None));
    assert_eq!(typed(b"\x01ax\x01zx"), (b"\x01xx".to_vec(), None));
}
