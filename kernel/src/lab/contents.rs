//! The contents of frames that lie anywhere: through the direct map where it shows them, else through a window.

use rhumb_frames::{Anywhere, Frame};
use rhumb_machine::{Machine, impossible};

use crate::cpu::machine::MACHINE;
use crate::mm::windows::windows;

/// Writes `bytes` at `offset` of a frame.
pub fn write(frame: &mut Frame<Anywhere>, offset: u64, bytes: &[u8]) {
    if frame.is_high() {
        let written = windows().map(|windows| windows.copy_to(frame, offset, bytes));
        if !matches!(written, Some(Ok(()))) {
            impossible!("no window onto {}: {:?}", frame.pfn(), written);
        }
        return;
    }
    let to = at(frame, offset, bytes.len());
    // SAFETY: the block is ours, all of the bytes are in it, and the direct map shows it.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

/// Reads into `bytes` from `offset` of a frame on.
pub fn read(frame: &Frame<Anywhere>, offset: u64, bytes: &mut [u8]) {
    if frame.is_high() {
        let read = windows().map(|windows| windows.copy_from(frame, offset, bytes));
        if !matches!(read, Some(Ok(()))) {
            impossible!("no window onto {}: {:?}", frame.pfn(), read);
        }
        return;
    }
    let from = at(frame, offset, bytes.len());
    // SAFETY: the block is ours, all of the bytes are in it, and the direct map shows it.
    unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
}

/// Writes one word.
pub fn write_word(frame: &mut Frame<Anywhere>, offset: u64, word: u64) {
    write(frame, offset, &word.to_le_bytes());
}

/// Reads one word.
pub fn read_word(frame: &Frame<Anywhere>, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    read(frame, offset, &mut bytes);
    u64::from_le_bytes(bytes)
}

/// Returns where the direct map shows `bytes` bytes of a frame.
fn at(frame: &Frame<Anywhere>, offset: u64, bytes: usize) -> *mut u8 {
    assert!(offset + bytes as u64 <= frame.order().bytes(), "past the end of a frame");
    MACHINE.direct(frame.addr()).plus(offset).as_mut_ptr()
}
